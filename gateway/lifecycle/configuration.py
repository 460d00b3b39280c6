"""The lifecycle configuration of a bucket: put, shown, taken away."""

from typing import Any

from gateway.context import Context
from gateway.errors import S3Error
from gateway.lifecycle.rules import check
from gateway.model.writer import output
from gateway.request import Request
from gateway.settings import put_setting, setting

LIFECYCLE = "lifecycle"
"""The name of the register."""
_ID_BYTES = 24
_MINIMUM_SIZE = "all_storage_classes_128K"
"""Of objects that transitions move, of which there are none: what S3 says when asked nothing."""


async def get_lifecycle(_context: Context, request: Request, _asked: Any) -> Any:
    found = setting(request.bucket, LIFECYCLE)
    if found is None:
        raise S3Error("NoSuchLifecycleConfiguration", extra={"BucketName": request.bucket.name})
    return output(
        "GetBucketLifecycleConfiguration",
        Rules=found.Rules,
        TransitionDefaultMinimumObjectSize=_MINIMUM_SIZE,
    )


async def put_lifecycle(context: Context, request: Request, asked: Any) -> Any:
    configuration = asked.LifecycleConfiguration
    if configuration is None:
        raise S3Error("MissingRequestBodyError")
    check(configuration.Rules, lambda: context.randomness.token(_ID_BYTES).hex())
    await put_setting(context, request, LIFECYCLE, configuration)
    return output(
        "PutBucketLifecycleConfiguration", TransitionDefaultMinimumObjectSize=_MINIMUM_SIZE
    )


async def delete_lifecycle(context: Context, request: Request, _asked: Any) -> Any:
    await put_setting(context, request, LIFECYCLE, None)
