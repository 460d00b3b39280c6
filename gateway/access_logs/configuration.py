"""The logging of a bucket: put and shown.

S3's log service is who writes the logs: the target bucket's policy must allow it
(`logging.s3.amazonaws.com`) to put objects under the prefix, also when both buckets have one owner.
It is asked when logging is set, and again whenever logs are written.
"""

from typing import Any

from dc.names.model import Bucket
from gateway.access_logs.delivery import LOGGING
from gateway.access_logs.permission import may_deliver
from gateway.context import Context
from gateway.errors import S3Error
from gateway.model.structs import struct_of
from gateway.model.writer import output
from gateway.request import Request
from gateway.setting_checks import check_logging
from gateway.settings import put_setting, setting, setting_text


async def get_logging(_context: Context, request: Request, _asked: Any) -> Any:
    found = setting(request.bucket, LOGGING)
    return (
        None if found is None else output("GetBucketLogging", LoggingEnabled=found.LoggingEnabled)
    )


async def put_logging(context: Context, request: Request, asked: Any) -> None:
    status = asked.BucketLoggingStatus
    wanted = status.LoggingEnabled
    if wanted is None:
        if setting_text(request.bucket, LOGGING):
            await put_setting(context, request, LOGGING, None)
        return
    directory = context.names.directory
    target = directory.bucket(wanted.TargetBucket)
    if target is None:
        raise S3Error("InvalidTargetBucketForLogging")
    _check_target(request.bucket, target)
    if wanted.TargetObjectKeyFormat is None:
        # What it means is shown, as S3 does.
        simple = struct_of("SimplePrefix")()
        wanted.TargetObjectKeyFormat = struct_of("TargetObjectKeyFormat")(SimplePrefix=simple)
    check_logging(status)
    for grant in wanted.TargetGrants or ():
        if grant.Grantee is None or target.owner != grant.Grantee.ID:
            message = "Grants in logs are not implemented, but to the target bucket's owner."
            raise S3Error("NotImplemented", message)
    # The owner of the bucket may do anything with what is in it: that needs no grant.
    wanted.TargetGrants = None
    if not may_deliver(directory, request.bucket, target, wanted.TargetPrefix):
        message = (
            "The target bucket's policy does not allow logging.s3.amazonaws.com to put objects."
        )
        raise S3Error("AccessDenied", message)
    await put_setting(context, request, LOGGING, status)


def _check_target(bucket: Bucket, target: Bucket) -> None:
    """What would make logs of logs, or what cannot be written."""
    if target.id == bucket.id:
        raise S3Error("InvalidArgument", "The target bucket must be another bucket.")
    if setting_text(target, LOGGING):
        raise S3Error("InvalidArgument", "The target bucket must not have logging itself.")
    if setting_text(target, "encryption"):
        raise S3Error("InvalidArgument", "The target bucket must have no default encryption.")
