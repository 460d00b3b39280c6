"""Settings of buckets: registers (docs/s3.md) as structures of the model, and back.

A setting is text. What it means is remembered by that text, so to ask for one on every request
costs a look into a dictionary; two buckets with the same text share the structure, which nobody
changes.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from dc.names.model import Bucket, Event
from gateway.context import Context
from gateway.errors import S3Error
from gateway.limits import SETTING_BYTES_MAX
from gateway.model.structs import struct_of
from gateway.request import Request

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


def setting_text(bucket: Bucket, name: str) -> str:
    """The text of a setting, "" when it is not set."""
    register = bucket.registers.get(name)
    return "" if register is None else register.value


def setting(bucket: Bucket, name: str) -> Any:
    """The structure of a setting, None when it is not set."""
    register = bucket.registers.get(name)
    return None if register is None or not register.value else _decoded(name, register.value)


@lru_cache(maxsize=_REMEMBERED)
def _decoded(name: str, text: str) -> Any:
    return msgspec.json.decode(text, type=struct_of(SHAPES[name]))


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
    await context.names.set_bucket_registers(request.bucket.id, {name: text}, events=events)
