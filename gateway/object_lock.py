"""The operations of object lock: retention and legal hold of a version."""

from datetime import UTC, datetime
from typing import Any

from dc.names.locks import HOLD, RETENTION, Retention, hold_of, retention_of, retention_text
from dc.names.model import Version
from gateway.context import Context
from gateway.dates import iso_ms
from gateway.errors import S3Error
from gateway.locks import is_lockable, may_bypass, until_in_future
from gateway.model.writer import output
from gateway.read import find_version
from gateway.request import Request


async def get_retention(context: Context, request: Request, asked: Any) -> Any:
    found = retention_of((await _version(context, request, asked)).registers)
    if found is None:
        raise S3Error("NoSuchObjectLockConfiguration")
    until = datetime.fromtimestamp(found.until / 1000, UTC)
    return output("GetObjectRetention", Retention={"Mode": found.mode, "RetainUntilDate": until})


async def put_retention(context: Context, request: Request, asked: Any) -> None:
    """Set a retention; an empty one takes it away."""
    wanted, text = asked.Retention, ""
    facts: dict[str, list[str]] = {}
    if (wanted.Mode is None) != (wanted.RetainUntilDate is None):
        raise S3Error("MalformedXML")
    if wanted.Mode is not None:
        ms = round(wanted.RetainUntilDate.timestamp() * 1000)
        until = until_in_future(ms, await context.names.stamp())
        text = retention_text(Retention(wanted.Mode, until))
        facts = {
            "s3:object-lock-mode": [wanted.Mode],
            "s3:object-lock-retain-until-date": [iso_ms(until)],
        }
    await _set(context, request, asked, {RETENTION: text}, facts)


async def get_hold(context: Context, request: Request, asked: Any) -> Any:
    status = hold_of((await _version(context, request, asked)).registers)
    if status is None:
        raise S3Error("NoSuchObjectLockConfiguration")
    return output("GetObjectLegalHold", LegalHold={"Status": status})


async def put_hold(context: Context, request: Request, asked: Any) -> None:
    if asked.LegalHold.Status is None:
        raise S3Error("MalformedXML")
    status = asked.LegalHold.Status
    facts = {"s3:object-lock-legal-hold": [status]}
    await _set(context, request, asked, {HOLD: status}, facts)


async def _set(
    context: Context,
    request: Request,
    asked: Any,
    values: dict[str, str],
    facts: dict[str, list[str]],
) -> None:
    version = await _version(context, request, asked, facts)
    bypass = may_bypass(request, version.key)
    await context.names.set_registers(
        version.bucket, version.key, version.vid, values, written=version.stamp, bypass=bypass
    )


async def _version(
    context: Context, request: Request, asked: Any, facts: dict[str, list[str]] | None = None
) -> Version:
    version = await find_version(context, request, asked.VersionId, facts)
    if not is_lockable(request.bucket):
        raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")
    return version
