"""Settings of buckets that are put, shown and taken away as they are: what they do is elsewhere.

Each is checked as S3 checks it before it is stored, so that what follows a setting need not doubt
it. One that says what this gateway cannot do (keys of a KMS, MFA) is refused.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from gateway.context import Context
from gateway.errors import S3Error
from gateway.model.writer import output
from gateway.request import Request
from gateway.settings import put_setting, setting, setting_text
from gateway.versioning import ENABLED, state_of

Handler = Callable[[Context, Request, Any], Awaitable[Any]]

_LOCK_DAYS_MAX = 36_500
_LOCK_YEARS_MAX = 100


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
    if wanted.ObjectLockEnabled is None:
        raise S3Error("MalformedXML")
    if wanted.Rule is not None:
        _check_retention(wanted.Rule.DefaultRetention)
    if state_of(request.bucket) != ENABLED:
        message = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration"
        raise S3Error("InvalidBucketState", message)
    await put_setting(context, request, "object-lock", wanted)


def _check_retention(wanted: Any) -> None:
    if wanted is None or wanted.Mode is None or (wanted.Days is None) == (wanted.Years is None):
        raise S3Error("MalformedXML")
    if wanted.Days is not None:
        good = 1 <= wanted.Days <= _LOCK_DAYS_MAX
    else:
        good = 1 <= wanted.Years <= _LOCK_YEARS_MAX
    if not good:
        message = "Default retention period must be a positive integer value, at most 100 years."
        raise S3Error("InvalidRetentionPeriod", message)


# -- encryption, ownership, public access ---------------------------------------------------------


def check_encryption(wanted: Any) -> None:
    """One rule, which encrypts with AES256 (there are no keys of a KMS), blocks SSE-C, or both."""
    if len(wanted.Rules) != 1:
        raise S3Error("MalformedXML")
    rule = wanted.Rules[0]
    blocked = rule.BlockedEncryptionTypes
    default = rule.ApplyServerSideEncryptionByDefault
    if default is None:
        if blocked is None:
            raise S3Error("MalformedXML")
        return
    if default.SSEAlgorithm != "AES256":
        message = f"{default.SSEAlgorithm} is not implemented: there is no KMS here. Use AES256."
        raise S3Error("NotImplemented", message)
    if default.KMSMasterKeyID is not None:
        message = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms"
        raise S3Error("InvalidArgument", message)


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
