"""Events as records: Amazon's JSON of an S3 event notification, version 2.1.

They are made before the change is committed, and handed to the name server with it: the outbox
(`dc/names/outbox.py`) has them if and only if the change took effect. A bucket that has no
configuration costs one look into a dictionary.

Source: "Event message structure" in the S3 User Guide.
"""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote_plus

import msgspec

from dc.names.model import Bucket, Event, Version
from dc.stamps import Stamp
from gateway.context import Context
from gateway.dates import iso_date
from gateway.notifications.targets import NOTIFICATION, compiled
from gateway.request import Request

_encode = msgspec.json.Encoder().encode


class What(NamedTuple):
    """What an event is about. `size` and `etag` only where an object was made."""

    key: str
    stamp: Stamp
    """Of the change."""
    version_id: str = ""
    size: int | None = None
    etag: str = ""


class Who(NamedTuple):
    """Who asked for it; of what happens by itself, nobody."""

    user: str = ""
    address: str = ""
    request_id: str = ""


def of(version: Version) -> What:
    """A version that is written."""
    return What(version.key, version.stamp, version.vid, version.size, version.etag)


def told(context: Context, request: Request, event: str, *changes: What) -> Sequence[Event]:
    """What is to be told of changes that a request makes in its bucket; `event` without `s3:`."""
    bucket = request.bucket
    register = bucket.registers.get(NOTIFICATION)
    if register is None or not register.value or not context.config.notifications:
        return ()
    who = Who(request.user, request.peer_address, request.id)
    host_id = context.config.host_id
    return [one for what in changes for one in records(bucket, event, what, who, host_id)]


def records(bucket: Bucket, event: str, what: What, who: Who, host_id: str) -> list[Event]:
    """An event for each target of the bucket that wants it."""
    register = bucket.registers.get(NOTIFICATION)
    targets = () if register is None else compiled(register.value)
    targets = tuple(target for target in targets if target.wants(event, what.key))
    found = []
    for target in targets:
        record = _record(bucket, event, what, who, host_id, target.id)
        found.append(Event(target.topic, _encode({"Records": [record]})))
    return found


def _record(
    bucket: Bucket, event: str, what: What, who: Who, host_id: str, target_id: str
) -> dict[str, object]:
    about: dict[str, object] = {"key": quote_plus(what.key, safe="/-_.~*")}
    if what.size is not None:
        about |= {"size": what.size, "eTag": what.etag}
    if what.version_id:
        about["versionId"] = what.version_id
    about["sequencer"] = what.stamp.upper()
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": bucket.region,
        "eventTime": iso_date(what.stamp),
        "eventName": event,
        "userIdentity": {"principalId": who.user or "s3.amazonaws.com"},
        "requestParameters": {"sourceIPAddress": who.address},
        "responseElements": {"x-amz-request-id": who.request_id, "x-amz-id-2": host_id},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": target_id,
            "bucket": {
                "name": bucket.name,
                "ownerIdentity": {"principalId": bucket.owner},
                "arn": f"arn:aws:s3:::{bucket.name}",
            },
            "object": about,
        },
    }


def test_record(bucket: Bucket, stamp: Stamp, request_id: str, host_id: str) -> bytes:
    """What S3 sends to a target when it is set."""
    return _encode(
        {
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": iso_date(stamp),
            "Bucket": bucket.name,
            "RequestId": request_id,
            "HostId": host_id,
        }
    )
