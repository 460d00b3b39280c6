"""The copies of the directory that gateways on other machines have, and their leases.

Whoever changes the directory is answered when each copy has the change (`settled`), or cannot be
used any more, since its lease is over. A lease outlives the connection: who has lost it may go on
to serve until then. It outlives this process, too; so a while after the start nobody is answered
either, where there are gateways.
"""

import asyncio
from collections.abc import Callable, Iterable

from dc.names.model import AccessKey, Bucket, Change, Peer, Site, User
from dc.ports import Clock
from dc.remote.session import LEASE_SECONDS, SILENCE_SECONDS
from dc.remote.wire import Records

MARGIN_SECONDS = 0.5
"""By how much the name server counts a lease longer than the gateway does."""
Tell = Callable[[int, Records], None]


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
        records = records_of(changes, peers)
        for copy in self._copies:
            if copy.is_connected:
                copy.told += 1
                copy.tell(copy.told, records)

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
                elif copy.leased_until <= now and not copy.is_connected:
                    del wanted[copy]
                    self._copies.discard(copy)
                elif copy.is_connected and now >= began + LEASE_SECONDS:
                    copy.give_up()
                    copy.is_connected = False
                    until = max(until, copy.leased_until)
                elif copy.is_connected:
                    until = max(until, began + LEASE_SECONDS)
                else:
                    until = max(until, copy.leased_until)
            if until <= now and not wanted:
                self._not_before = float("-inf")
                return
            await self._wait(max(0.0, until - now))

    async def _wait(self, seconds: float) -> None:
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        moved = asyncio.ensure_future(self._moved.wait())
        try:
            await asyncio.wait((sleep, moved), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            moved.cancel()

    def _move(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def records_of(changes: Iterable[Change], peers: list[Peer] | None) -> Records:
    """What a copy is told of changes."""
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
