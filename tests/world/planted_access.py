"""Mistakes by which somebody reads what is another one's (`sim_access.py`), each as a patch of the
product that a simulated world must notice. See `planted_bugs.py`.
"""

from collections.abc import Collection, Mapping
from typing import Any
from unittest import mock

from msgspec.structs import replace

from dc.names import directory
from dc.names.model import Bucket, Site


def conflict_leads_to_the_other() -> Any:
    """By the name that a bucket gets in a conflict its owner reaches the one that has the name."""
    by_name = directory._by_name

    def leads(buckets: Collection[Bucket], sites: Mapping[str, Site]) -> dict[str, Bucket]:
        named = by_name(buckets, sites)
        made_as = {bucket.id: bucket.name for bucket in buckets}
        for name, bucket in named.items():
            if name != made_as[bucket.id]:
                named[name] = replace(bucket, id=named[made_as[bucket.id]].id)
        return named

    return mock.patch.object(directory, "_by_name", leads)


def conflict_joins_the_other() -> Any:
    """A bucket whose name another one has is that one, as far as objects go."""
    number = directory.MemoryDirectory.number

    def joined(self: directory.MemoryDirectory, bucket_id: str) -> int:
        known = self.bucket_by_id(bucket_id)
        has_name = self.bucket(known.name) if known is not None else None
        return number(self, has_name.id if has_name is not None else bucket_id)

    return mock.patch.object(directory.MemoryDirectory, "number", joined)


ACCESS = (conflict_leads_to_the_other, conflict_joins_the_other)
