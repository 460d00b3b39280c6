"""Settings of buckets: registers (docs/s3.md) as structures of the model, and back.

A setting is text. What it means is remembered by that text, so to ask for one on every request
costs a look into a dictionary; two buckets with the same text share the structure, which nobody
changes.

Another datacenter may have written it, of another release or with a will of its own. So it is
checked again when it is read, and what follows a setting need not doubt it. One that cannot be
read is InvalidBucketState, for whoever needs it, until the owner puts or deletes it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from dc.names.model import Bucket, Event
from gateway.context import Context
from gateway.errors import S3Error
from gateway.limits import SETTING_BYTES_MAX
from gateway.model.structs import read_json
from gateway.positions import position_line
from gateway.request import Request
from gateway.setting_checks import (
    check_encryption,
    check_logging,
    check_object_lock,
    check_ownership,
)
from gateway.web_settings import check_cors, check_website

_REMEMBERED = 256
SHAPES: Mapping[str, str] = {
    "accelerate": "AccelerateConfiguration",
    "cors": "CORSConfiguration",
    "encryption": "ServerSideEncryptionConfiguration",
    "lifecycle": "BucketLifecycleConfiguration",
    "logging": "BucketLoggingStatus",
    "notification": "NotificationConfiguration",
    "object-lock": "ObjectLockConfiguration",
    "ownership": "OwnershipControls",
    "public-access-block": "PublicAccessBlockConfiguration",
    "replication": "ReplicationConfiguration",
    "request-payment": "RequestPaymentConfiguration",
    "tags": "Tagging",
    "website": "WebsiteConfiguration",
}
"""The settings that are JSON of a structure. The others are texts as they are."""

_CHECKS: Mapping[str, Callable[[Any], None]] = {
    "cors": check_cors,
    "encryption": check_encryption,
    "logging": check_logging,
    "object-lock": check_object_lock,
    "ownership": check_ownership,
    "website": check_website,
}
"""What a setting may say. Of the others nothing is followed, or those that do check by themselves.
"""


def setting_text(bucket: Bucket, name: str) -> str:
    """The text of a setting, "" when it is not set."""
    register = bucket.registers.get(name)
    return "" if register is None else register.value


def setting(bucket: Bucket, name: str) -> Any:
    """The structure of a setting, None when it is not set. InvalidBucketState."""
    register = bucket.registers.get(name)
    if register is None or not register.value:
        return None
    found = _decoded(name, register.value)
    if found is None:
        message = f"The {name} configuration of the bucket cannot be read: put or delete it."
        raise S3Error("InvalidBucketState", message)
    return found


@lru_cache(maxsize=_REMEMBERED)
def _decoded(name: str, text: str) -> Any:
    found, check = read_json(SHAPES[name], text), _CHECKS.get(name)
    if found is not None and check is not None:
        try:
            check(found)
        except S3Error:
            return None
    return found


def encoded(value: Any) -> str:
    """The text of a structure."""
    return msgspec.json.encode(value).decode()


async def put_setting(
    context: Context, request: Request, name: str, value: Any, *, events: Sequence[Event] = ()
) -> None:
    """Set a setting of the request's bucket, to a text or a structure; None takes it away.
    InvalidRequest for one that is too large to travel."""
    text = value if isinstance(value, str) else "" if value is None else encoded(value)
    if len(text.encode()) > SETTING_BYTES_MAX:
        message = f"The configuration is too large: it may have {SETTING_BYTES_MAX} bytes."
        raise S3Error("InvalidRequest", message)
    bucket = request.bucket.id
    stamp = await context.names.set_bucket_registers(bucket, {name: text}, events=events)
    request.common += position_line(stamp, bucket, vid=name)
