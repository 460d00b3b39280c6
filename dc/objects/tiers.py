"""Tiers: how the bytes of a bucket are kept, by name.

A tier is a redundancy mode and, if wanted, some of the disks. The configuration of a datacenter
says which there are; `standard` is always one. A bucket names its tier by a register of its record,
which is the same in all paired datacenters; where there is no tier of that name, it is `standard`.

What a container is (its mode, and the tier that it was begun for) stands in the container itself.
So tiers and modes may change: what is there stays readable, and is moved by and by into containers
as they should be (`dc/objects/compaction.py`).
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from dc.names.model import Bucket
from dc.objects.api import STANDARD
from dc.objects.disk_place import DiskPlace
from dc.objects.redundancy import Mode

TIER = "tier"
"""The name of the register."""
NAME_RULE = "1 to 24 lowercase letters, digits and hyphens, beginning with a letter"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,23}", re.ASCII)
TIERS_MAX = 16
"""Each has lanes of its own, and an open container in each of them that is used."""


class Form(NamedTuple):
    """What a container is."""

    mode: Mode
    tier: str


FOREIGN = Form(Mode(1, 0), "")
"""Of a container that is a single file, from the time when there was one disk."""


class Tier(NamedTuple):
    """`disks` are patterns of labels, of hosts and of nodes; none: all disks."""

    name: str
    mode: Mode
    disks: tuple[str, ...] = ()

    def takes(self, place: DiskPlace) -> bool:
        """Whether a disk is one of the tier's."""
        return not self.disks or any(_is_meant(place, pattern) for pattern in self.disks)

    @property
    def form(self) -> Form:
        return Form(self.mode, self.name)


class Tiers:
    """Those of a datacenter."""

    def __init__(self, standard: Mode, others: Iterable[Tier] = ()) -> None:
        """One of `others` may be `standard` itself, to say on which disks it is."""
        first = Tier(STANDARD, standard)
        self._tiers = {STANDARD: first, **{one.name: one for one in others}}
        self.standard = self._tiers[STANDARD]

    def all(self) -> list[Tier]:
        """`standard` first."""
        return list(self._tiers.values())

    def of(self, name: str) -> Tier:
        """The tier of that name, or `standard`."""
        return self._tiers.get(name, self.standard)

    def has(self, form: Form) -> bool:
        """Whether a container that is begun now would be like this."""
        tier = self._tiers.get(form.tier)
        return tier is not None and tier.mode == form.mode


def is_tier_name(text: str) -> bool:
    """Whether this may name a tier (NAME_RULE)."""
    return _NAME.fullmatch(text) is not None


def tier_of(bucket: Bucket | None) -> str:
    """What a bucket says its tier is."""
    register = bucket.registers.get(TIER) if bucket is not None and bucket.registers else None
    return (register.value if register is not None else "") or STANDARD


def _is_meant(place: DiskPlace, pattern: str) -> bool:
    node, colon, _ = place.label.partition(":")
    names = (place.label, place.host, node if colon else "")
    return any(name and (name == pattern or fnmatchcase(name, pattern)) for name in names)
