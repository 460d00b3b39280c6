"""The copies of the directory that gateways on other machines have, and their leases.

Whoever changes the directory is answered when each copy has the change (`settled`), or cannot be
used any more, since its lease is over. A lease outlives the connection: who has lost it may go on
to serve until then. It outlives this process, too; so a while after the start nobody is answered
either, where there are gateways.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from dc.names.model import AccessKey, Bucket, Change, Peer, Site, User
from dc.ports import Clock
from dc.remote.session import LEASE_SECONDS, SILENCE_SECONDS
from dc.remote.wire import RECORDS_BYTES, Records, encode
from dc.worker import first_of

MARGIN_SECONDS = 0.5
"""By how much the name server counts a lease longer than the gateway does."""
Tell = Callable[[int, Sequence[Change], list[Peer] | None], None]


class Copy:
    """Of one session. `tell` sends it a change under a serial number."""

    def __init__(self, tell: Tell, give_up: Callable[[], None]) -> None:
        self.tell = tell
        self.give_up = give_up
        self.told = 0
        """The serial of the last change that was sent,"""
        self.has = 0
        """and of the last that has arrived."""
        self.leased_until = float("-inf")
        self.heard = 0.0
        """When it asked for a lease last, or began."""
        self.is_connected = True


class Copies:
    """All of them. Changes come from the name server (`dc/names/service.py`)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._copies: set[Copy] = set()
        self._moved = asyncio.Event()
        self._not_before = float("-inf")

    def may_be_out(self) -> None:
        """There are gateways, whose leases an earlier process may have given."""
        self._not_before = self._clock.monotonic() + LEASE_SECONDS + MARGIN_SECONDS

    def add(self, copy: Copy) -> None:
        now = copy.heard = self._clock.monotonic()
        self._copies = {
            one for one in self._copies if one.is_connected or one.leased_until > now
        } | {copy}

    def extend(self, copy: Copy) -> None:
        """A copy has asked for its lease."""
        copy.heard = self._clock.monotonic()
        copy.leased_until = copy.heard + LEASE_SECONDS + MARGIN_SECONDS

    async def silent(self, copy: Copy) -> None:
        """Return when a copy has not asked for its lease for too long."""
        while (left := copy.heard + SILENCE_SECONDS - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)

    def arrived(self, copy: Copy, serial: int) -> None:
        copy.has = max(copy.has, min(serial, copy.told))
        self._move()

    def lost(self, copy: Copy, *, unused: bool = False) -> None:
        """The connection has ended. `unused`: the copy was given up before."""
        copy.is_connected = False
        if unused:
            copy.leased_until = float("-inf")
        self._move()

    def changed(self, changes: Iterable[Change], peers: list[Peer] | None) -> None:
        """A change is committed: tell all copies."""
        if not self._copies:
            return
        told = list(changes)
        for copy in self._copies:
            if copy.is_connected:
                copy.told += 1
                copy.tell(copy.told, told, peers)

    async def settled(self) -> None:
        """Return when no copy is used that lacks what was committed before the call."""
        if not self._copies and self._not_before == float("-inf"):
            return
        began = self._clock.monotonic()
        wanted = {copy: copy.told for copy in self._copies}
        while True:
            now = self._clock.monotonic()
            until = self._not_before
            for copy in list(wanted):
                if copy.is_connected and copy.has >= wanted[copy]:
                    del wanted[copy]
                elif copy.is_connected and now < began + LEASE_SECONDS:
                    until = max(until, began + LEASE_SECONDS)
                else:
                    if copy.is_connected:
                        copy.is_connected = False
                        copy.give_up()
                    if copy.leased_until > now:
                        until = max(until, copy.leased_until)
                    else:
                        del wanted[copy]
                        self._copies.discard(copy)
            if until <= now and not wanted:
                self._not_before = float("-inf")
                return
            await first_of(self._clock.sleep(max(0.0, until - now)), self._moved.wait())

    def _move(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def parts_of(changes: Sequence[Change], peers: list[Peer] | None) -> Iterator[Records]:
    """What a copy is told of changes, at least one part, none much larger than `RECORDS_BYTES`."""
    part: list[Change] = []
    size = 0
    for change in changes:
        length = len(encode(change))
        if part and size + length > RECORDS_BYTES:
            yield _records(part, None)
            part, size = [], 0
        part.append(change)
        size += length
    yield _records(part, peers)


def _records(changes: Iterable[Change], peers: list[Peer] | None) -> Records:
    records = Records([], [], [], [], peers)
    for change in changes:
        match change:
            case Bucket():
                records.buckets.append(change)
            case User():
                records.users.append(change)
            case AccessKey():
                records.keys.append(change)
            case Site():
                records.sites.append(change)
            case _:
                pass
    return records
