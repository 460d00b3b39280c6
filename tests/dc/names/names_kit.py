"""Name servers for tests: real SQLite files, a clock that tests set, records made short."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from dc.names.model import Extent, Kind, Meta, Tombstone, Version
from dc.names.service import SqliteNames, open_names
from dc.system import SystemClock, SystemDatabases, SystemRandomness

OWNER = "a" * 64
PARIS = "1111111111111111"
TOKYO = "2222222222222222"


class FixedClock(SystemClock):
    """Wall time as the test sets it."""

    def __init__(self, ms: int = 1_800_000_000_000) -> None:
        self.ms = ms

    def wall_ms(self) -> int:
        return self.ms


@contextlib.asynccontextmanager
async def opened(
    path: Path, dc_id: str = PARIS, clock: SystemClock | None = None
) -> AsyncIterator[SqliteNames]:
    names = await open_names(
        path,
        databases=SystemDatabases(),
        clock=clock or SystemClock(),
        randomness=SystemRandomness(),
        dc_id=dc_id,
    )
    try:
        yield names
    finally:
        await names.close()


def version(
    bucket: str,
    key: str,
    stamp: str,
    vid: str = "",
    kind: Kind = Kind.OBJECT,
    meta: Meta | None = None,
) -> Version:
    return Version(
        bucket,
        key,
        vid,
        stamp,
        kind,
        len(key),
        stamp,
        meta or Meta(crc64=2**64 - 1),
        [Extent(1 << 60, 64, len(key))],
    )


def tombstone(bucket: str, key: str, stamp: str, vid: str = "") -> Tombstone:
    return Tombstone(bucket=bucket, key=key, vid=vid, stamp=stamp)


def stamp_at(ms: int, counter: int = 0, origin: str = PARIS) -> str:
    return f"{ms:012x}{counter:04x}{origin}"


def same(one: Version | None, other: Version | None) -> bool:
    """Whether two versions are equal, wherever in the feed they stand."""
    if one is None or other is None:
        return one is other
    return msgspec.structs.replace(one, seq=0) == msgspec.structs.replace(other, seq=0)
