"""Lifecycle rules: what a configuration must be, and what is made of it to be applied.

A configuration is kept as it was put (`gateway/settings.py`); `compiled` makes of its text rules
that are quick to apply, and remembers them. The checks are S3's, with its codes, but for one thing:
several conditions side by side in a filter, which S3 wants inside `And`, are taken as all of them.
Transitions are refused: there is one storage class.

Source: "PutBucketLifecycleConfiguration" in the S3 API Reference, "Lifecycle configuration
elements" in the S3 User Guide.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

from gateway.errors import S3Error
from gateway.limits import (
    KEY_BYTES_MAX,
    LIFECYCLE_DAYS_MAX,
    LIFECYCLE_RULES_MAX,
    NEWER_NONCURRENT_MAX,
    RULE_ID_CHARS_MAX,
)
from gateway.model.structs import read_json
from gateway.tags import Tags, check_tags

DAY_MS = 86_400_000
_REMEMBERED = 256
_STATES = frozenset(("Enabled", "Disabled"))
_ACTIONS = (
    "Expiration",
    "NoncurrentVersionExpiration",
    "AbortIncompleteMultipartUpload",
    "Transitions",
    "NoncurrentVersionTransitions",
)


class Rule(NamedTuple):
    """An enabled rule. 0 and False stand for what it does not say."""

    id: str
    prefixes: tuple[str, ...]
    """All of which the key begins with."""
    tags: tuple[tuple[str, str], ...]
    larger: int
    """The size is greater than this; -1 for any."""
    smaller: int | None
    expire_days: int
    expire_ms: int | None
    """From when on, in milliseconds since 1970."""
    markers: bool
    """Delete markers that hide nothing are removed at once."""
    noncurrent_days: int
    newer_noncurrent: int
    """How many of the newest versions that are not current stay."""
    abort_days: int

    def matches_key(self, key: str) -> bool:
        return all(map(key.startswith, self.prefixes))

    def matches(self, key: str, size: int, tags: Tags) -> bool:
        """Whether an object is one that the rule is about."""
        return (
            self.matches_key(key)
            and size > self.larger
            and (self.smaller is None or size < self.smaller)
            and all(tags.get(name) == value for name, value in self.tags)
        )

    @property
    def is_about_keys(self) -> bool:
        """Whether it asks for nothing that a delete marker or an upload has not."""
        return not self.tags and self.larger < 0 and self.smaller is None


@lru_cache(maxsize=_REMEMBERED)
def compiled(text: str) -> tuple[Rule, ...]:
    """The enabled rules of a configuration that is kept as `text`; none of an empty one, nor of one
    that another datacenter wrote and S3 would refuse."""
    found = read_json("BucketLifecycleConfiguration", text) if text else None
    if found is None:
        return ()
    try:
        check(found.Rules, map(str, count()).__next__)
    except S3Error:
        return ()
    return tuple(_compiled(rule) for rule in found.Rules if rule.Status == "Enabled")


def _compiled(rule: Any) -> Rule:
    expiration, noncurrent = rule.Expiration, rule.NoncurrentVersionExpiration
    date: datetime | None = expiration and expiration.Date
    abort = rule.AbortIncompleteMultipartUpload
    conditions = list(_conditions(rule))
    larger = [one.ObjectSizeGreaterThan for one in conditions if _has(one, "ObjectSizeGreaterThan")]
    smaller = [one.ObjectSizeLessThan for one in conditions if _has(one, "ObjectSizeLessThan")]
    prefixes = [rule.Prefix or "", *(one.Prefix or "" for one in conditions)]
    return Rule(
        id=rule.ID or "",
        prefixes=tuple(prefix for prefix in prefixes if prefix),
        tags=tuple((tag.Key, tag.Value) for tag in _tags(rule)),
        larger=max(larger, default=-1),
        smaller=min(smaller, default=None),
        expire_days=(expiration and expiration.Days) or 0,
        expire_ms=int(date.timestamp() * 1000) if date else None,
        markers=bool(expiration and expiration.ExpiredObjectDeleteMarker),
        noncurrent_days=(noncurrent and noncurrent.NoncurrentDays) or 0,
        newer_noncurrent=(noncurrent and noncurrent.NewerNoncurrentVersions) or 0,
        abort_days=(abort and abort.DaysAfterInitiation) or 0,
    )


def _conditions(rule: Any) -> Iterable[Any]:
    if rule.Filter is not None:
        yield rule.Filter
        if rule.Filter.And is not None:
            yield rule.Filter.And


def _has(one: Any, name: str) -> bool:
    return getattr(one, name) is not None


def _tags(rule: Any) -> list[Any]:
    found = []
    if rule.Filter is not None:
        found += [rule.Filter.Tag] if rule.Filter.Tag is not None else []
        found += (rule.Filter.And.Tags or []) if rule.Filter.And is not None else []
    return found


# -- what a client puts -------------------------------------------------------------------------


def check(rules: Sequence[Any], new_id: Any) -> None:
    """Refuse what S3 refuses; give rules without an id one from `new_id()`."""
    if not 1 <= len(rules) <= LIFECYCLE_RULES_MAX:
        raise S3Error("MalformedXML")
    ids: set[str] = set()
    for rule in rules:
        _check_rule(rule)
        rule.ID = rule.ID or new_id()
        if rule.ID in ids:
            message = "Rule ID must be unique. Found same ID for more than one rule"
            raise S3Error("InvalidArgument", message)
        ids.add(rule.ID)


def _check_rule(rule: Any) -> None:
    if rule.ID is not None and len(rule.ID) > RULE_ID_CHARS_MAX:
        message = f"ID length should not exceed allowed limit of {RULE_ID_CHARS_MAX}"
        raise S3Error("InvalidArgument", message)
    if rule.Status not in _STATES or (rule.Filter is None) == (rule.Prefix is None):
        raise S3Error("MalformedXML")
    _check_filter(rule)
    if not any(_has(rule, name) for name in _ACTIONS):
        message = "At least one action needs to be specified in a rule"
        raise S3Error("InvalidRequest", message)
    _check_transitions(rule)
    keys_only = _compiled(rule).is_about_keys
    if rule.Expiration is not None:
        _check_expiration(rule.Expiration, keys_only)
    if rule.NoncurrentVersionExpiration is not None:
        _check_noncurrent(rule.NoncurrentVersionExpiration)
    if rule.AbortIncompleteMultipartUpload is not None:
        name = "AbortIncompleteMultipartUpload"
        _check_days(rule.AbortIncompleteMultipartUpload.DaysAfterInitiation, "Days", name)
        if not keys_only:
            raise S3Error("InvalidRequest", f"{name} cannot be specified with Tags or sizes")


def _check_filter(rule: Any) -> None:
    for one in (rule, *_conditions(rule)):
        if one.Prefix is not None and len(one.Prefix.encode()) > KEY_BYTES_MAX:
            raise S3Error("InvalidRequest", "The maximum size of a prefix is 1024")
        for name in ("ObjectSizeGreaterThan", "ObjectSizeLessThan"):
            if one is not rule and (getattr(one, name) or 0) < 0:
                raise S3Error("InvalidRequest", f"{name} must not be negative")
    try:
        check_tags([(tag.Key, tag.Value) for tag in _tags(rule)])
    except S3Error as error:
        raise S3Error("InvalidRequest", error.message) from None
    found = _compiled(rule)
    if found.smaller is not None and found.smaller <= found.larger + 1:
        message = "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'."
        raise S3Error("InvalidRequest", message)


def _check_transitions(rule: Any) -> None:
    for one in rule.Transitions or ():
        if one.Date is not None:
            _check_date(one.Date)
    if rule.Transitions or rule.NoncurrentVersionTransitions:
        message = "Transitions are not implemented: there is one storage class, STANDARD."
        raise S3Error("NotImplemented", message)


def _check_expiration(expiration: Any, keys_only: bool) -> None:
    given = [name for name in ("Days", "Date") if _has(expiration, name)]
    if expiration.ExpiredObjectDeleteMarker is not None:
        if given:
            raise S3Error("MalformedXML")
        if not keys_only:
            message = "ExpiredObjectDeleteMarker cannot be specified with Tags or sizes"
            raise S3Error("InvalidRequest", message)
        return
    if len(given) != 1:
        raise S3Error("MalformedXML")
    if expiration.Date is not None:
        _check_date(expiration.Date)
    else:
        _check_days(expiration.Days, "Days", "Expiration")


def _check_noncurrent(noncurrent: Any) -> None:
    name = "NoncurrentVersionExpiration"
    _check_days(noncurrent.NoncurrentDays, "NoncurrentDays", name)
    newer = noncurrent.NewerNoncurrentVersions
    if newer is not None and not 1 <= newer <= NEWER_NONCURRENT_MAX:
        message = f"'NewerNoncurrentVersions' for {name} must be from 1 to {NEWER_NONCURRENT_MAX}"
        raise S3Error("InvalidArgument", message)


def _check_days(days: int | None, name: str, action: str) -> None:
    if days is None:
        raise S3Error("MalformedXML")
    if not 1 <= days <= LIFECYCLE_DAYS_MAX:
        message = f"'{name}' for {action} action must be a positive integer"
        raise S3Error("InvalidArgument", message)


def _check_date(date: datetime) -> None:
    if int(date.timestamp() * 1000) % DAY_MS:
        raise S3Error("InvalidArgument", "'Date' must be at midnight GMT")
