"""Object lock: which versions may not be deleted, and which locks may not be loosened.

A lock is two registers of a version: `retention`, JSON of a mode and of when it ends, and `hold`.
Both are looked at in the transaction that deletes the version or changes the lock. What was deleted
in another DC that had not heard of a lock is deleted all the same (`docs/conflicts.md`).
"""

import msgspec

from dc.names.errors import ObjectLocked
from dc.names.model import Registers

RETENTION = "retention"
HOLD = "hold"
GOVERNANCE = "GOVERNANCE"
COMPLIANCE = "COMPLIANCE"
ON = "ON"
OFF = "OFF"
UNTIL_MS_MAX = 253_402_300_799_000
"""The latest end of a retention: of the year 9999, the last that dates have."""


class Retention(msgspec.Struct, frozen=True):
    """The version is kept `until` then, in milliseconds since 1970."""

    mode: str
    until: int


_decode = msgspec.json.Decoder(Retention).decode
_UNREADABLE = Retention(COMPLIANCE, UNTIL_MS_MAX)
"""Another DC let it in. What cannot be read must not unlock anything."""


def retention_text(retention: Retention) -> str:
    """The text of the register."""
    return msgspec.json.encode(retention).decode()


def retention_of(registers: Registers) -> Retention | None:
    """The retention in the registers of a version, also when it is over."""
    register = registers.get(RETENTION)
    return None if register is None else _parsed(register.value)


def _parsed(text: str) -> Retention | None:
    if not text:
        return None
    try:
        found = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return _UNREADABLE
    if found.mode in (GOVERNANCE, COMPLIANCE) and 0 <= found.until <= UNTIL_MS_MAX:
        return found
    return _UNREADABLE


def hold_of(registers: Registers) -> str | None:
    """`ON`, `OFF`, or None where there never was a legal hold. What cannot be read is one."""
    register = registers.get(HOLD)
    if register is None:
        return None
    return OFF if register.value in (OFF, "") else ON


def is_held(registers: Registers) -> bool:
    """Whether a legal hold is on."""
    return hold_of(registers) == ON


def check_removal(registers: Registers, now_ms: int, bypass: bool) -> None:
    """ObjectLocked unless the version with these registers may be deleted. `bypass`: whoever
    deletes may do so in spite of governance."""
    if is_held(registers):
        raise ObjectLocked("a legal hold is on")
    retention = retention_of(registers)
    if retention is None or retention.until <= now_ms or _may_loosen(retention, bypass):
        return
    raise ObjectLocked("its retention is not over")


def check_change(registers: Registers, text: str, now_ms: int, bypass: bool) -> None:
    """ObjectLocked unless the retention of the version with these registers may become `text`: it
    may be made longer; all else is loosening, and the mode of one in force is changed only so."""
    old, new = retention_of(registers), _parsed(text)
    if old is None or old.until <= now_ms or _may_loosen(old, bypass):
        return
    if new is None or new.mode != old.mode or new.until < old.until:
        raise ObjectLocked("its retention can only be made longer")


def _may_loosen(retention: Retention, bypass: bool) -> bool:
    return bypass and retention.mode == GOVERNANCE
