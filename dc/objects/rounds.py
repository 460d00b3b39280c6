"""Rounds of scrubbing: which container is next, and how far the round is, over restarts.

A round goes through all containers once, the newest first. How far it is stands in a small file,
written now and then: what was looked at since the last writing is looked at again after a restart.
A file that is damaged, or another datacenter's, counts as none: a new round begins.
"""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import structlog

from dc.objects.format import container_of, file_name
from dc.ports import Clock

log = structlog.get_logger("objects")

SAVE_SECONDS = 30.0
"""From one writing of the file to the next, at least."""
_MODE = 0o600


class RoundDisk(Protocol):
    """The part of `dc.ports.Disk` that the file takes. Both block."""

    def read_bytes(self, path: Path) -> bytes: ...

    def write_atomic(self, path: Path, data: bytes, mode: int = 0o644) -> None: ...


class RoundFile(NamedTuple):
    """Where it is written down how far a round is, and of which datacenter."""

    disk: RoundDisk
    path: Path
    dc_id: str


class _Saved(msgspec.Struct, forbid_unknown_fields=True):
    """`last`: the name of the container that was looked at last, "" before the first. `checked`:
    how many were. `ended`: whether all were."""

    dc: str
    number: int = 0
    began_ms: int = 0
    last: str = ""
    checked: int = 0
    ended: bool = True


class Rounds:
    """`every`: seconds from the beginning of a round to that of the next. `next` blocks: call it in
    a disk thread."""

    def __init__(self, clock: Clock, every: float, file: RoundFile | None = None) -> None:
        self._clock = clock
        self._every = every
        self._file = file
        self._now = _Saved("" if file is None else file.dc_id)
        self._at: int | None = None
        """The container that is looked at."""
        self._loaded = file is None
        self._saved_at = clock.monotonic()

    @property
    def is_on(self) -> bool:
        return not self._now.ended

    def next(self, sealed: Collection[int]) -> int | None:
        """The container to look at now; the one before has been. None at the end of a round, and
        until the next one begins."""
        if not self._loaded:
            self._load()
        if self._now.ended and not self._begin():
            return None
        if self._at is not None:
            self._now.last = file_name(self._at)
            self._now.checked += 1
        at = self._at
        self._at = max((one for one in sealed if at is None or one < at), default=None)
        self._now.ended = self._at is None
        if self._now.ended or self._clock.monotonic() >= self._saved_at + SAVE_SECONDS:
            self._save()
        return self._at

    def left(self, sealed: Collection[int]) -> list[int]:
        """The containers that are still to be looked at in this round."""
        at = self._at
        return [] if at is None else [one for one in sealed if one <= at]

    def shown(self, left: int) -> dict[str, int | float | str]:
        """For people: which round it is since there is a file, whether it is on, when it began
        (milliseconds since 1970; 0: never), how much of it is done when so many containers are
        left, and when the next one may begin."""
        now = self._now
        done = 100.0 if now.ended else 100.0 * now.checked / max(1, now.checked + left)
        due = max(0.0, now.began_ms / 1000 + self._every - self._clock.wall_ms() / 1000)
        return {
            "round": now.number,
            "state": "on" if self.is_on else "ended" if now.number else "none yet",
            "began_ms": now.began_ms,
            "percent": round(done if now.number else 0.0, 1),
            "containers_checked": now.checked,
            "containers_left": left,
            "next_in_seconds": round(due, 1),
        }

    def _begin(self) -> bool:
        """A new round, if it is time."""
        now_ms, began_ms = self._clock.wall_ms(), self._now.began_ms
        # A beginning that is still to come is that of a clock which was wrong.
        if began_ms <= now_ms < began_ms + self._every * 1000:
            return False
        self._now = _Saved(self._now.dc, self._now.number + 1, now_ms, ended=False)
        self._at = None
        self._save()
        return True

    def _load(self) -> None:
        assert self._file is not None
        path = self._file.path
        try:
            found = msgspec.json.decode(self._file.disk.read_bytes(path), type=_Saved)
        except FileNotFoundError:
            self._loaded = True
            return
        except msgspec.DecodeError as error:
            log.warning("scrubbing begins anew: its file is damaged", error=str(error))
            self._loaded = True
            return
        last = container_of(found.last) if found.last else None
        if found.dc != self._now.dc or (found.last and last is None):
            log.warning("scrubbing begins anew: its file is another's", path=str(path))
        else:
            self._now = found
            if last is not None and not found.ended:
                # `next` goes on from it, and counts it.
                self._at = last
                found.checked -= 1
        self._loaded = True

    def _save(self) -> None:
        self._saved_at = self._clock.monotonic()
        if self._file is None:
            return
        try:
            data = msgspec.json.encode(self._now)
            self._file.disk.write_atomic(self._file.path, data, _MODE)
        except OSError as error:
            log.warning("how far scrubbing is was not written down", error=str(error))
