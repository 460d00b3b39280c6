"""What a count of the names finds of containers (`dc/objects/compaction.py`)."""

from collections.abc import Collection
from typing import Any

import msgspec

from dc.names.inventory import NO_TIERS, CountPage, Share, Tiering
from dc.objects.store import ContainerStore
from dc.objects.tiers import FOREIGN

ONE_DISK = "(one disk)"
"""What is shown as the tier of containers from the time when there was one disk."""


class Count(msgspec.Struct):
    """`sizes` are those of the containers when it began; `past` are those that are kept as none
    would be that is begun now."""

    began: float
    sizes: dict[int, int]
    past: frozenset[int] = frozenset()
    tiering: Tiering = NO_TIERS
    shares: dict[int, Share] = {}
    coming: set[int] = set()
    rows: int = 0
    bodies: int = 0

    def add(self, page: CountPage) -> None:
        self.rows += page.rows
        self.bodies += page.bodies
        self.coming |= page.coming
        for container, share in page.containers.items():
            self.shares.setdefault(container, Share()).add(share)

    def garbage(self, container: int) -> int:
        """Bytes of a container that nobody needs, rather too few."""
        share = self.shares.get(container)
        size = self.sizes.get(container, 0)
        return size if share is None else max(0, size - share.taken)

    def is_garbage(self, container: int, threshold: float) -> bool:
        """Whether that part of a container is garbage, at least."""
        return self.garbage(container) >= max(1, threshold * self.sizes.get(container, 0))

    def to_recode(self, container: int) -> int:
        """Bytes alive in a container that belong into another one."""
        share = self.shares.get(container)
        if share is None:
            return 0
        return share.bytes if container in self.past else share.wrong

    def tiering_of(self, containers: Collection[int]) -> Tiering:
        """The tiering, of these containers alone."""
        tiers = self.tiering.containers
        return self.tiering._replace(containers={one: tiers[one] for one in containers})


def tier_facts(store: ContainerStore, count: Count | None) -> list[dict[str, Any]]:
    """Of each tier that there is, or that containers are of: its mode and disks, and at a count its
    containers, the bytes alive in them, what they take on the disks, and the bytes that belong into
    other containers."""
    found: dict[str, dict[str, Any]] = {
        tier.name: {
            "name": tier.name,
            "redundancy": str(tier.mode),
            "disks": store.disks_of(tier),
            "configured": True,
            "containers": 0,
            "bytes_live": 0,
            "bytes_raw": 0,
            "bytes_to_recode": 0,
        }
        for tier in store.tiers.all()
    }
    for container, size in ({} if count is None else count.sizes).items():
        assert count is not None
        form, share = store.form(container), count.shares.get(container, Share())
        name = ONE_DISK if form == FOREIGN else form.tier
        if name not in found:
            nothing = dict.fromkeys(found[store.tiers.standard.name], 0)
            about = {"name": name, "redundancy": str(form.mode), "disks": []}
            found[name] = {**nothing, **about, "configured": False}
        one = found[name]
        one["containers"] += 1
        one["bytes_live"] += share.bytes
        one["bytes_raw"] += store.raw(container, size)
        one["bytes_to_recode"] += count.to_recode(container)
    return list(found.values())
