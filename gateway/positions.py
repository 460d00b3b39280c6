"""Positions at the gateway: the header lines that tell them, and what reaches one.

What waits for them is `gateway/waiting.py`.
"""

from collections.abc import Sequence

from dc.names.model import NULL_VERSION, Version
from dc.positions import Position, item_of, position_of
from dc.stamps import Stamp, version_id
from gateway.errors import S3Error
from gateway.limits import POSITIONS_TOLD_MAX

POSITION = "x-farshore-position"


def position_line(stamp: Stamp, bucket_id: str, key: str = "", vid: str = "") -> str:
    """The header line of the answer to a write: of a version; with "" for the key of the bucket,
    or of the setting of it that `vid` names."""
    return f"{POSITION}: {position_of(stamp, bucket_id, key, vid).text()}\r\n"


def positions_line(positions: Sequence[Position]) -> str:
    """The same of several writes, unless there are too many."""
    if not 0 < len(positions) <= POSITIONS_TOLD_MAX:
        return ""
    return f"{POSITION}: {','.join([one.text() for one in positions])}\r\n"


class PositionNotHere(S3Error):
    """Of a request that has waited in vain: for which of its positions."""

    def __init__(self, message: str, missing: Sequence[Position]) -> None:
        extra = {"Position": missing[0].text()}
        super().__init__("PositionNotHere", message, extra=extra)
        self.missing = missing


def is_reached(position: Position, version: Version) -> bool:
    """Whether a version is the write at a position, or a later one of its key."""
    bucket_id, key = version.bucket, version.key
    vids = (version.vid, NULL_VERSION, version_id(position.stamp))
    is_of_key = position.item in [item_of(bucket_id, key, vid) for vid in vids]
    return is_of_key and version.stamp >= position.stamp
