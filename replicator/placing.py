"""Whether bytes belong here, and whether they go to a peer, by the rules of their bucket.

The rules travel like any attribute of a bucket, by the same feed as the objects. So a consumer may
be told of an object before it has applied the rules that came in front of it, and of objects of a
bucket before it knows the bucket at all: then it goes by what the sender says.
"""

from dc.names.model import Change, Version
from dc.placement import REPLICATION, placement, placement_in
from dc.stamps import Stamp
from replicator import wire
from replicator.home import Home
from replicator.records import body_in


def goes_to(home: Home, datacenter: str, version: Version) -> bool:
    """Whether the bytes of a version go to the datacenter of that name."""
    rules = placement(home.names.directory.bucket_by_id(version.bucket))
    return rules is None or rules.holds(datacenter, version.key)


def withheld(home: Home, datacenter: str, change: Change) -> bytes | None:
    """What a record says in the place of a body that its receiver is not to have."""
    version = body_in(change)
    if version is None or goes_to(home, datacenter, version):
        return None
    return wire.WITHHELD


class Placing:
    """What belongs here, of what one feed tells."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._heard: dict[str, tuple[Stamp, str]] = {}
        """The rules that were told of, by bucket id."""

    def hear(self, record: wire.Record) -> None:
        """Take in the rules of a bucket's record, which is applied later."""
        if type(record) is wire.BucketRecord:
            self._heard[record.id] = record.registers.get(REPLICATION, ("", ""))

    def is_here(self, wanted: wire.VersionRecord) -> bool:
        """Whether the bytes of a version belong here, by the newest rules."""
        bucket = self._home.names.directory.bucket_by_id(wanted.bucket)
        newest = self._heard.get(wanted.bucket)
        if bucket is not None:
            register = bucket.registers.get(REPLICATION)
            known = ("", "") if register is None else (register.stamp, register.value)
            newest = known if newest is None else max(known, newest)
        if newest is None:
            return wanted.body != wire.WITHHELD
        rules = placement_in(newest[1])
        return rules is None or rules.holds(self._home.place.name, wanted.key)
