"""What is due: which versions of a key lifecycle rules let go, and what becomes of them. No I/O.

An age counts from when a version was made (its stamp) or, for one that is not current, from when
the next newer one was made. As S3 does it, what is due after some days is due at the midnight
(UTC) that follows. A day can be made short for tests; then there are no midnights.

Which datacenter does it: the one that made the version, so that a delete marker is made once and
not once in each. If it does not, for it may be gone for good, the others step in: in the order of
their ids, the first a day later, the next a day after that. It takes no list of who is alive.
"""

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from dc.names.errors import ObjectLocked
from dc.names.locks import check_removal
from dc.names.model import Kind, Registers, SweptVersion
from dc.stamps import Stamp, stamp_ms, stamp_origin
from gateway.lifecycle.rules import DAY_MS, Rule
from gateway.tags import tags_in


class Action(Enum):
    """What becomes of a version."""

    EXPIRE = "expire"
    """It was current: a delete marker goes over it, or it is deleted where there are none."""
    REMOVE = "remove"
    """It is deleted for good."""


class Due(NamedTuple):
    """A version that is due, and which rule says so."""

    action: Action
    version: SweptVersion
    rule: Rule


class Times(NamedTuple):
    """When it is, how long a day takes, and who is looking; all in milliseconds."""

    now_ms: int
    day_ms: int
    dc_id: str
    others: tuple[str, ...]
    """The ids of the other datacenters that are known, sorted."""

    def after(self, since_ms: int, days: int) -> int:
        """When what began at `since_ms` is due after some days."""
        at = since_ms + days * self.day_ms
        return -(-at // DAY_MS) * DAY_MS if self.day_ms == DAY_MS else at

    def expiry(self, rule: Rule, stamp: Stamp) -> int | None:
        """When a rule lets a current object go that was made then; None when it does not."""
        if rule.expire_ms is not None:
            return rule.expire_ms
        return self.after(stamp_ms(stamp), rule.expire_days) if rule.expire_days else None

    def ours(self, origin: str, due_ms: int) -> bool:
        """Whether something that is due from `due_ms` on, of a DC's making, is for us to do now."""
        late = 0
        if origin != self.dc_id:
            late = 1 + sum(one < self.dc_id for one in self.others if one != origin)
        return self.now_ms >= due_ms + late * self.day_ms


class KeyJudge:
    """Judges the versions of one key, which are fed to it as the tables have them: the null version
    first, then the others, newest first. It holds two of them at most, so a key may have millions.
    """

    def __init__(self, key: str, rules: Iterable[Rule], times: Times) -> None:
        self.key = key
        self._rules = [rule for rule in rules if rule.matches_key(key)]
        self._times = times
        self._null: SweptVersion | None = None
        """Not judged yet: those fed next may be newer."""
        self._newer: SweptVersion | None = None
        """The one judged last."""
        self._marker: SweptVersion | None = None
        """The current version, a delete marker, as long as nothing else was fed."""
        self._kept = 0
        """Objects that are not current."""

    def feed(self, version: SweptVersion) -> list[Due]:
        """What is due now that this one is known."""
        if not self._rules:
            return []
        if not version.vid:
            self._null = version
            return []
        found = []
        if self._null is not None and self._null.stamp > version.stamp:
            found = self._judge(self._null)
            self._null = None
        return found + self._judge(version)

    def finish(self) -> list[Due]:
        """What is due now that there are no more."""
        found = [] if self._null is None else self._judge(self._null)
        if self._marker is not None:
            found += self._lone_marker(self._marker)
        return found

    def _judge(self, version: SweptVersion) -> list[Due]:
        newer, self._newer = self._newer, version
        if newer is None:
            if version.kind == Kind.OBJECT:
                return self._current(version)
            self._marker = version
            return []
        self._marker = None
        return self._noncurrent(version, stamp_ms(newer.stamp))

    def _current(self, version: SweptVersion) -> list[Due]:
        tags, origin = tags_in(version.registers), stamp_origin(version.stamp)
        for rule in self._rules:
            at = self._times.expiry(rule, version.stamp)
            if at is None or not rule.matches(self.key, version.size, tags):
                continue
            if self._times.ours(origin, at):
                return [Due(Action.EXPIRE, version, rule)]
        return []

    def _lone_marker(self, marker: SweptVersion) -> list[Due]:
        """A delete marker that hides nothing: by a condition of its own, or as old as an object
        would have to be."""
        made, origin = stamp_ms(marker.stamp), stamp_origin(marker.stamp)
        for rule in self._rules:
            at = made if rule.markers else self._times.expiry(rule, marker.stamp)
            if at is not None and rule.is_about_keys and self._times.ours(origin, at):
                return [Due(Action.REMOVE, marker, rule)]
        return []

    def _noncurrent(self, version: SweptVersion, since_ms: int) -> list[Due]:
        newer = self._kept
        self._kept += version.kind == Kind.OBJECT
        if _is_locked(version.registers, self._times.now_ms):
            return []
        tags, origin = tags_in(version.registers), stamp_origin(version.stamp)
        for rule in self._rules:
            if not rule.noncurrent_days or newer < rule.newer_noncurrent:
                continue
            if version.kind == Kind.DELETE_MARKER:
                matches = rule.is_about_keys
            else:
                matches = rule.matches(self.key, version.size, tags)
            at = self._times.after(since_ms, rule.noncurrent_days)
            if matches and self._times.ours(origin, at):
                return [Due(Action.REMOVE, version, rule)]
        return []


def upload_due(key: str, started: Stamp, rules: Iterable[Rule], times: Times) -> bool:
    """Whether an upload in progress has waited for too long. Uploads are in one DC only: whoever
    has it, does it."""
    return any(
        rule.abort_days
        and rule.matches_key(key)
        and times.now_ms >= times.after(stamp_ms(started), rule.abort_days)
        for rule in rules
    )


def _is_locked(registers: Registers, now_ms: int) -> bool:
    try:
        check_removal(registers, now_ms, bypass=False)
    except ObjectLocked:
        return True
    return False
