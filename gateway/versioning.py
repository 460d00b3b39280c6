"""Versions as clients see them: ids, and the header lines that tell them.

A bucket that never had versioning has null versions only, and says nothing of versions. Enabled,
each write is a version with an id, made from its stamp. Suspended, the null version is written
again, beside those with ids.
"""

from dc.names.api import Directory
from dc.names.model import NULL_VERSION, Bucket, Kind, Meta, Version
from dc.stamps import STAMP_LENGTH, Stamp, stamp_ms, version_id
from gateway.dates import http_date
from gateway.errors import S3Error, invalid_argument
from gateway.locks import is_lockable

VERSIONING = "versioning"
ENABLED = "Enabled"
SUSPENDED = "Suspended"
NULL = "null"
_DIGITS = frozenset("0123456789abcdef")


def state_of(bucket: Bucket) -> str:
    """`Enabled`, `Suspended`, or "" when there never was versioning. What has object lock has
    versions, even if another DC suspended them before it heard of the lock."""
    if is_lockable(bucket):
        return ENABLED
    register = bucket.registers.get(VERSIONING)
    return "" if register is None else register.value


def as_now(directory: Directory, bucket: Bucket) -> Bucket:
    """The bucket with the settings of this moment: versioning may have been enabled, and versions
    been locked, while a body was on its way."""
    return directory.bucket_by_id(bucket.id) or bucket


def vid_at(bucket: Bucket, stamp: Stamp) -> str:
    """The version that a write with this stamp makes."""
    if bucket.registers and state_of(bucket) == ENABLED:
        return version_id(stamp)
    return NULL_VERSION


def is_version_id(text: str) -> bool:
    """Whether there can be a version that clients name so."""
    return text == NULL or (len(text) == STAMP_LENGTH and _DIGITS.issuperset(text))


def vid_of(text: str, name: str = "versionId") -> str:
    """The version that a client names. InvalidArgument when there can be no such."""
    if text == NULL:
        return NULL_VERSION
    if not is_version_id(text):
        raise invalid_argument("Invalid version id specified", name, text)
    return text


def shown_id(vid: str) -> str:
    return vid or NULL


def written_line(vid: str) -> str:
    """The header line of a write: null versions are not told."""
    return f"x-amz-version-id: {vid}\r\n" if vid else ""


def read_line(bucket: Bucket, vid: str) -> str:
    """The header line of a read: null versions are told where there are others."""
    if vid or (bucket.registers and state_of(bucket)):
        return f"x-amz-version-id: {shown_id(vid)}\r\n"
    return ""


def marker_at(bucket: Bucket, key: str, stamp: Stamp) -> Version:
    """The delete marker that a deletion without a version id puts."""
    vid = vid_at(bucket, stamp)
    return Version(bucket.id, key, vid, stamp, Kind.DELETE_MARKER, 0, "", Meta(), [])


def marker_lines(vid: str) -> str:
    """The header lines that tell of a delete marker."""
    return f"x-amz-delete-marker: true\r\nx-amz-version-id: {shown_id(vid)}\r\n"


def no_object(key: str, found: Version | None, version_id: str | None) -> S3Error:
    """Why a request for an object, perhaps by version id, gets none: NoSuchKey, NoSuchVersion, or
    MethodNotAllowed when it names a delete marker."""
    if found is None:
        if version_id is None:
            # Amazon leaves out what is false here; Ceph's clients look for it.
            return S3Error("NoSuchKey", extra={"Key": key}, head="x-amz-delete-marker: false\r\n")
        return S3Error("NoSuchVersion", extra={"Key": key, "VersionId": version_id})
    lines = marker_lines(found.vid)
    if version_id is None:
        return S3Error("NoSuchKey", extra={"Key": key}, head=lines)
    lines += f"Last-Modified: {http_date(stamp_ms(found.stamp) // 1000)}\r\nAllow: DELETE\r\n"
    extra = {"Method": "GET", "ResourceType": "DeleteMarker"}
    return S3Error("MethodNotAllowed", extra=extra, head=lines)
