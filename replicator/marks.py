"""What S3 clients are told of a version's replication: `x-amz-replication-status`.

    REPLICA     it was made in another DC
    COMPLETED   it was made here, and every peer has acknowledged it
    PENDING     it was made here, and a peer has not
    FAILED      the same, and a peer says that applying it fails; it is tried again and again
    (nothing)   it was made here, and there is no peer that it goes to; or its bytes are not here,
                by the rules of its bucket (`dc/placement.py`)

It is asked on every GET and HEAD, and answers from memory. The position that all peers have passed
is looked up once after each acknowledgement; only versions after it are looked at one by one.
"""

from collections.abc import Callable

from dc.names.api import Names
from dc.names.model import Peer, Version
from dc.placement import Placement, is_elsewhere, placement
from dc.stamps import stamp_origin
from replicator.outbound import Outbound

REPLICA = "REPLICA"
COMPLETED = "COMPLETED"
PENDING = "PENDING"
FAILED = "FAILED"
NONE = ""


class Marks:
    """Called with a version that was read here."""

    def __init__(self, names: Names, dc_id: str, outbound: Callable[[str], Outbound]) -> None:
        self._names = names
        self._own = dc_id
        self._outbound_of = outbound
        self._peers: list[Peer] | None = None
        self._outbound: list[Outbound] = []
        self._all_have = 0

    def changed(self) -> None:
        """A peer's acknowledged position is another."""
        self._peers = None

    def __call__(self, version: Version) -> str:
        if stamp_origin(version.stamp) != self._own:
            return NONE if is_elsewhere(version.extents) else REPLICA
        peers = self._names.peers()
        if peers is not self._peers:
            self._look(peers)
        if not peers:
            return NONE
        rules = placement(self._names.directory.bucket_by_id(version.bucket))
        if rules is not None:
            return self._by_rules(version, rules)
        if 0 < version.seq <= self._all_have:
            return COMPLETED
        return _of_one(version.seq, self._outbound)

    def _by_rules(self, version: Version, rules: Placement) -> str:
        """The same, of the peers that its bytes go to."""
        assert self._peers is not None
        wanted = [
            out
            for peer, out in zip(self._peers, self._outbound, strict=True)
            if rules.holds(peer.name, version.key)
        ]
        return _of_one(version.seq, wanted) if wanted else NONE

    def _look(self, peers: list[Peer]) -> None:
        self._peers = peers
        self._outbound = [self._outbound_of(peer.dc_id) for peer in peers]
        self._all_have = min((out.has_all for out in self._outbound), default=0)


def _of_one(position: int, outbound: list[Outbound]) -> str:
    waiting = [out for out in outbound if not position or not out.has(position)]
    if not waiting:
        return COMPLETED
    return FAILED if any(position in out.failing for out in waiting) else PENDING
