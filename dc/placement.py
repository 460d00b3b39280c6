"""Which datacenters are to hold the bytes of which objects of a bucket.

Names, attributes and deletions are the same in all paired datacenters. Bytes are, too, until a
bucket has a replication configuration (the register `replication`, as `PutBucketReplication` or
`farshore bucket replicate` sets it): then they go to the datacenters of the rules that are enabled
and whose prefix the key has, and to no other. Where an object was written it stays anyway.

A configuration that cannot be read sends bytes nowhere: what was kept back can be filled in later
(`replicator/filling.py`), what went too far cannot be called back. `docs/placement.md`.
"""

from functools import lru_cache

import msgspec

from dc.names.model import Bucket, Extent

REPLICATION = "replication"
"""The name of the register."""
DATACENTER_ARN = "arn:farshore:dc:::"
"""What is in front of a datacenter's name, as the destination of a rule."""
ENABLED = "Enabled"
_REMEMBERED = 128
"""A setting may have 256 KiB."""

ELSEWHERE = 0
"""The container that does not exist: of the one extent of a body that other datacenters have."""


def elsewhere(size: int) -> list[Extent]:
    """The extents of a body that is not here."""
    return [Extent(ELSEWHERE, 0, size)]


def is_elsewhere(extents: list[Extent]) -> bool:
    return bool(extents) and extents[0].container == ELSEWHERE


class _Both(msgspec.Struct):
    prefix: str | None = msgspec.field(default=None, name="Prefix")
    tags: list[object] | None = msgspec.field(default=None, name="Tags")


class _Filter(msgspec.Struct):
    prefix: str | None = msgspec.field(default=None, name="Prefix")
    tag: object = msgspec.field(default=None, name="Tag")
    both: _Both | None = msgspec.field(default=None, name="And")


class _Destination(msgspec.Struct):
    bucket: str = msgspec.field(name="Bucket")


class _Rule(msgspec.Struct):
    status: str = msgspec.field(name="Status")
    destination: _Destination = msgspec.field(name="Destination")
    prefix: str | None = msgspec.field(default=None, name="Prefix")
    filter: _Filter | None = msgspec.field(default=None, name="Filter")


class _Configuration(msgspec.Struct):
    rules: list[_Rule] = msgspec.field(name="Rules")


_decode = msgspec.json.Decoder(_Configuration).decode


class Placement:
    """The rules of one bucket: (prefix, name of a datacenter)."""

    def __init__(self, rules: list[tuple[str, str]]) -> None:
        self.rules = rules
        self._prefixes: dict[str, tuple[str, ...]] = {}
        for prefix, name in sorted(rules):
            before = self._prefixes.get(name, ())
            if not before or not prefix.startswith(before[-1]):
                self._prefixes[name] = (*before, prefix)

    def holds(self, datacenter: str, key: str) -> bool:
        """Whether the bytes of a key go to the datacenter of that name. Asked for each record that
        is sent or taken, of up to a thousand rules."""
        return key.startswith(self.prefixes(datacenter))

    def holders(self, key: str) -> list[str]:
        """The names of the datacenters that they go to, sorted."""
        return sorted(name for name in self._prefixes if self.holds(name, key))

    def prefixes(self, datacenter: str) -> tuple[str, ...]:
        """What goes to a datacenter: prefixes of which none begins with another, sorted."""
        return self._prefixes.get(datacenter, ())


def placement(bucket: Bucket | None) -> Placement | None:
    """The rules of a bucket; None when everything goes everywhere."""
    register = None if bucket is None else bucket.registers.get(REPLICATION)
    return None if register is None else placement_in(register.value)


def placement_in(text: str) -> Placement | None:
    """The same, of the register's value."""
    return _read(text) if text else None


@lru_cache(maxsize=_REMEMBERED)
def _read(text: str) -> Placement:
    try:
        rules = _decode(text).rules
    except (msgspec.MsgspecError, RecursionError):
        return Placement([])
    return Placement(
        [
            (prefix, rule.destination.bucket.removeprefix(DATACENTER_ARN))
            for rule in rules
            if rule.status == ENABLED and (prefix := _prefix(rule)) is not None
        ]
    )


def _prefix(rule: _Rule) -> str | None:
    """None of a rule that is for objects with some tags: no such rule is taken."""
    given = rule.filter
    if given is None:
        return rule.prefix or ""
    if given.tag is not None or (given.both is not None and given.both.tags):
        return None
    return given.prefix or (given.both.prefix if given.both is not None else None) or ""
