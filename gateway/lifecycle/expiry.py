"""What clients are told of what lifecycle rules will do to an object or an upload.

Days are real ones here, also where `lifecycle_day_seconds` makes the worker's shorter.
"""

from collections.abc import Iterable
from urllib.parse import quote

from dc.names.model import Bucket, Registers
from dc.stamps import Stamp, stamp_ms
from gateway.dates import http_date
from gateway.lifecycle.configuration import LIFECYCLE
from gateway.lifecycle.due import Times
from gateway.lifecycle.rules import DAY_MS, Rule, compiled
from gateway.tags import tags_in

_CALENDAR = Times(now_ms=0, day_ms=DAY_MS, dc_id="", others=())


def expiration_head(bucket: Bucket, key: str, size: int, stamp: Stamp, registers: Registers) -> str:
    """The header line `x-amz-expiration` of a current object; "" when nothing is to happen."""
    rules = _rules(bucket)
    if not rules:
        return ""
    tags = tags_in(registers)
    found = [
        (at, rule.id)
        for rule in rules
        if (at := _CALENDAR.expiry(rule, stamp)) is not None and rule.matches(key, size, tags)
    ]
    if not found:
        return ""
    at, rule_id = min(found)
    return (
        f'x-amz-expiration: expiry-date="{http_date(at // 1000)}", rule-id="{quote(rule_id)}"\r\n'
    )


def abort_head(bucket: Bucket, key: str, started: Stamp) -> str:
    """The header lines that say when an upload will be aborted if it is not completed."""
    found = [
        (_CALENDAR.after(stamp_ms(started), rule.abort_days), rule.id)
        for rule in _rules(bucket)
        if rule.abort_days and rule.matches_key(key)
    ]
    if not found:
        return ""
    at, rule_id = min(found)
    return f"x-amz-abort-date: {http_date(at // 1000)}\r\nx-amz-abort-rule-id: {quote(rule_id)}\r\n"


def _rules(bucket: Bucket) -> Iterable[Rule]:
    register = bucket.registers.get(LIFECYCLE)
    return () if register is None else compiled(register.value)
