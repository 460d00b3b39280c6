"""Settings of buckets that are put, shown and taken away as they are: what they do is elsewhere.

Each is checked as S3 checks it before it is stored. One that says what this gateway cannot do (keys
of a KMS, MFA) is refused.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from gateway.context import Context
from gateway.errors import S3Error
from gateway.model.writer import output
from gateway.request import Request
from gateway.setting_checks import check_object_lock
from gateway.settings import put_setting, setting, setting_text
from gateway.versioning import ENABLED, state_of

Handler = Callable[[Context, Request, Any], Awaitable[Any]]


def put(name: str, member: str, check: Callable[[Any], None] | None = None) -> Handler:
    """Stores what the input's `member` holds, if `check` does not object."""

    async def handler(context: Context, request: Request, asked: Any) -> None:
        wanted = getattr(asked, member)
        if check is not None:
            check(wanted)
        await put_setting(context, request, name, wanted)

    return handler


def get(name: str, operation: str, absent: str, member: str = "") -> Handler:
    """Shows a setting, as the output's `member` or as the output; the error `absent` without."""

    async def handler(_context: Context, request: Request, _asked: Any) -> Any:
        found = setting(request.bucket, name)
        if found is None:
            raise S3Error(absent, extra={"BucketName": request.bucket.name})
        return output(operation, **{member: found}) if member else found

    return handler


def delete(name: str) -> Handler:
    """Takes a setting away; that there is none is no error."""

    async def handler(context: Context, request: Request, _asked: Any) -> None:
        if setting_text(request.bucket, name):
            await put_setting(context, request, name, None)

    return handler


# -- versioning and object lock -------------------------------------------------------------------


async def get_versioning(_context: Context, request: Request, _asked: Any) -> Any:
    return output("GetBucketVersioning", Status=state_of(request.bucket) or None)


async def put_versioning(context: Context, request: Request, asked: Any) -> None:
    wanted = asked.VersioningConfiguration
    if wanted.Status is None:
        raise S3Error("IllegalVersioningConfigurationException")
    if wanted.MFADelete == "Enabled":
        raise S3Error("NotImplemented", "MFA delete is not implemented.")
    if wanted.Status == "Suspended" and setting_text(request.bucket, "object-lock"):
        message = "An Object Lock configuration is present on this bucket, so the versioning state "
        raise S3Error("InvalidBucketState", f"{message}cannot be changed.")
    await put_setting(context, request, "versioning", wanted.Status)


async def put_object_lock(context: Context, request: Request, asked: Any) -> None:
    wanted = asked.ObjectLockConfiguration
    check_object_lock(wanted)
    if state_of(request.bucket) != ENABLED:
        message = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration"
        raise S3Error("InvalidBucketState", message)
    await put_setting(context, request, "object-lock", wanted)


# -- public access -------------------------------------------------------------------------------


async def put_public_access_block(context: Context, request: Request, asked: Any) -> None:
    """What is not said is false, and is shown so."""
    wanted = asked.PublicAccessBlockConfiguration
    for name in wanted.__struct_fields__:
        if getattr(wanted, name) is None:
            setattr(wanted, name, False)
    await put_setting(context, request, "public-access-block", wanted)


# -- what is always off ---------------------------------------------------------------------------


async def get_accelerate(_context: Context, request: Request, _asked: Any) -> Any:
    found = setting(request.bucket, "accelerate")
    return (
        None if found is None else output("GetBucketAccelerateConfiguration", Status=found.Status)
    )


def check_accelerate(wanted: Any) -> None:
    """There is nothing to accelerate with: it can be told to be off only."""
    if wanted.Status is None:
        raise S3Error("MalformedXML")
    if wanted.Status != "Suspended":
        raise S3Error("NotImplemented", "Transfer acceleration is not implemented.")


async def get_request_payment(_context: Context, _request: Request, _asked: Any) -> Any:
    return output("GetBucketRequestPayment", Payer="BucketOwner")


async def put_request_payment(_context: Context, _request: Request, asked: Any) -> None:
    """Nobody pays: to say that the owner does is true, and to make others do it impossible."""
    if asked.RequestPaymentConfiguration.Payer != "BucketOwner":
        raise S3Error("NotImplemented", "Buckets whose requesters pay are not implemented.")
