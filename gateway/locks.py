"""Locks in requests and answers: what a write asks for, what its bucket gives it, what is shown.

A bucket has object lock or has not (`object-lock`, a setting that cannot be taken away). A version
in it may have a retention, its own or the bucket's default at the moment it was written, and a
legal hold. What they keep is kept by the name server (`dc/names/locks.py`).

Source: "Locking objects with Object Lock" in the S3 User Guide.
"""

from multidict import MultiMapping

from dc.names.locks import (
    COMPLIANCE,
    GOVERNANCE,
    HOLD,
    OFF,
    ON,
    RETENTION,
    UNTIL_MS_MAX,
    Retention,
    hold_of,
    retention_of,
    retention_text,
)
from dc.names.model import Bucket, Registers
from dc.stamps import Stamp, stamp_ms
from gateway.dates import iso_ms, parse_iso_ms
from gateway.errors import S3Error, invalid_argument
from gateway.reply import header_line
from gateway.request import Request
from gateway.settings import setting

OBJECT_LOCK = "object-lock"
_BYPASS = "x-amz-bypass-governance-retention"
_MODE = "x-amz-object-lock-mode"
_UNTIL = "x-amz-object-lock-retain-until-date"
_HOLD = "x-amz-object-lock-legal-hold"
_DAY_MS = 24 * 3600 * 1000
_YEAR_DAYS = 365


def is_lockable(bucket: Bucket) -> bool:
    """Whether a bucket has object lock."""
    register = bucket.registers.get(OBJECT_LOCK)
    return register is not None and bool(register.value)


def may_bypass(request: Request, key: str) -> bool:
    """Whether governance does not hinder this request with the key."""
    asked = request.headers.get(_BYPASS, "").lower() == "true"
    return asked and request.access.may_bypass(key)


# -- what a write says --------------------------------------------------------------------------


def lock_of_headers(bucket: Bucket, headers: MultiMapping[str], stamp: Stamp) -> dict[str, str]:
    """The registers of the lock that a write with this stamp asks for. InvalidRequest,
    InvalidArgument."""
    mode, until, hold = headers.get(_MODE), headers.get(_UNTIL), headers.get(_HOLD)
    if mode is None and until is None and hold is None:
        return {}
    if not is_lockable(bucket):
        raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")
    found = {}
    if mode is not None or until is not None:
        if mode is None or until is None:
            message = f"{_UNTIL} and {_MODE} must both be supplied"
            raise invalid_argument(message, _UNTIL if until is None else _MODE, "")
        if mode not in (GOVERNANCE, COMPLIANCE):
            raise invalid_argument("Unknown wormMode directive.", _MODE, mode)
        ms = parse_iso_ms(until)
        if ms is None:
            message = "The retain until date must be provided in ISO 8601 format"
            raise invalid_argument(message, _UNTIL, until)
        found[RETENTION] = retention_text(Retention(mode, until_in_future(ms, stamp)))
    if hold is not None:
        if hold not in (ON, OFF):
            message = "Legal Hold must be either of 'ON' or 'OFF'"
            raise invalid_argument(message, _HOLD, hold)
        found[HOLD] = hold
    return found


def until_in_future(until_ms: int, stamp: Stamp) -> int:
    """When a retention ends. InvalidArgument."""
    if until_ms <= stamp_ms(stamp):
        message = "The retain until date must be in the future!"
        raise invalid_argument(message, _UNTIL, iso_ms(until_ms) if until_ms >= 0 else "")
    if until_ms > UNTIL_MS_MAX:
        raise invalid_argument("The retain until date is too far away.", _UNTIL, "")
    return until_ms


def default_retention(bucket: Bucket, stamp: Stamp) -> dict[str, str]:
    """The register of the retention that the bucket gives to what is written with this stamp."""
    found = setting(bucket, OBJECT_LOCK)
    rule = found.Rule.DefaultRetention if found is not None and found.Rule is not None else None
    if rule is None:
        return {}
    days = rule.Days if rule.Days is not None else rule.Years * _YEAR_DAYS
    return {RETENTION: retention_text(Retention(rule.Mode, stamp_ms(stamp) + days * _DAY_MS))}


def lock_lines(registers: Registers) -> str:
    """Header lines; "" where there never was a lock."""
    lines, retention, hold = "", retention_of(registers), hold_of(registers)
    if retention is not None:
        lines = header_line("x-amz-object-lock-mode", retention.mode)
        lines += header_line("x-amz-object-lock-retain-until-date", iso_ms(retention.until))
    if hold is not None:
        lines += header_line("x-amz-object-lock-legal-hold", hold)
    return lines
