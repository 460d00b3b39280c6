"""DCs that may compare before they are paired: each for some minutes, by its own key.

A guest has shown a pairing token of this DC (`replicator/preview.py`). It signs access tokens like
a peer, with the key in its request; what it may ask only reads trees, and it is forgotten when its
time is over, or with a restart.
"""

from dc.names.model import Peer
from dc.ports import Clock
from replicator.limits import GUEST_SECONDS, GUESTS_MAX


class Guests:
    """By DC id; the one that came first gives way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._guests: dict[str, tuple[Peer, float]] = {}

    def admit(self, guest: Peer, seconds: float) -> None:
        """For at most so long."""
        self._guests.pop(guest.dc_id, None)
        until = self._clock.monotonic() + min(seconds, GUEST_SECONDS)
        self._guests[guest.dc_id] = (guest, until)
        while len(self._guests) > GUESTS_MAX:
            self._guests.pop(next(iter(self._guests)))

    def peer(self, dc_id: str) -> Peer | None:
        """The guest, as the peer that it would be."""
        guest, until = self._guests.get(dc_id, (None, 0.0))
        if guest is not None and self._clock.monotonic() >= until:
            self.drop(dc_id)
            return None
        return guest

    def drop(self, dc_id: str) -> None:
        self._guests.pop(dc_id, None)
