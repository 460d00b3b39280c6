"""When a change of the directory may be answered: all copies have it, or cannot be used."""

import asyncio
import heapq

from dc.names.model import User
from dc.remote.copies import MARGIN_SECONDS, Copies, Copy
from dc.remote.session import LEASE_SECONDS
from dc.remote.wire import Records

ANN = User(id="a" * 64, email="ann@example.com", stamp="0" * 32)
WHOLE = LEASE_SECONDS + MARGIN_SECONDS


class HandClock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []

    def wall_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        event = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, id(event), event))
        await event.wait()

    async def forward(self, seconds: float) -> None:
        until = self.now + seconds
        await turns()
        while self._sleepers and self._sleepers[0][0] <= until:
            self.now, _, event = heapq.heappop(self._sleepers)
            event.set()
            await turns()
        self.now = until
        await turns()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class World:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.copies = Copies(self.clock)
        self.told: list[tuple[int, Records]] = []
        self.given_up = 0

    def copy(self, *, leased: bool = True) -> Copy:
        copy = Copy(lambda serial, records: self.told.append((serial, records)), self._give_up)
        self.copies.add(copy)
        if leased:
            self.copies.extend(copy)
        return copy

    def _give_up(self) -> None:
        self.given_up += 1

    def change(self) -> "asyncio.Task[None]":
        self.copies.changed([ANN], None)
        return asyncio.create_task(self.copies.settled())


async def test_a_change_waits_until_all_copies_have_it() -> None:
    world = World()
    one, two = world.copy(), world.copy()
    done = world.change()
    await turns()
    assert [records.users for _, records in world.told] == [[ANN], [ANN]]
    world.copies.arrived(one, 1)
    await turns()
    assert not done.done()
    world.copies.arrived(two, 1)
    await turns()
    assert done.done() and not world.given_up


async def test_who_asks_for_nothing_new_does_not_wait() -> None:
    world = World()
    copy = world.copy()
    world.copies.arrived(copy, 0)
    done = asyncio.create_task(world.copies.settled())
    await turns()
    assert done.done()


async def test_what_arrived_before_is_not_enough() -> None:
    world = World()
    copy = world.copy()
    first = world.change()
    await turns()
    second = world.change()
    await turns()
    world.copies.arrived(copy, 1)
    await turns()
    assert first.done() and not second.done()
    world.copies.arrived(copy, 2)
    await turns()
    assert second.done()


async def test_a_copy_cannot_have_what_it_was_not_told() -> None:
    world = World()
    copy = world.copy()
    world.copies.arrived(copy, 99)
    done = world.change()
    await turns()
    assert not done.done()
    done.cancel()


async def test_a_copy_that_lost_its_connection_is_waited_for_as_long_as_its_lease() -> None:
    world = World()
    copy = world.copy()
    await world.clock.forward(1)
    world.copies.lost(copy)
    done = world.change()
    await world.clock.forward(WHOLE - 1.1)
    assert not done.done()
    await world.clock.forward(0.2)
    assert done.done()
    assert not world.told, "a lost copy is told nothing"


async def test_a_copy_that_said_goodbye_is_not_waited_for() -> None:
    world = World()
    copy = world.copy()
    world.copies.lost(copy, unused=True)
    done = world.change()
    await turns()
    assert done.done()


async def test_a_copy_that_is_stuck_is_given_up_and_its_lease_waited_for() -> None:
    world = World()
    copy = world.copy()
    done = world.change()
    await world.clock.forward(LEASE_SECONDS - 0.5)
    world.copies.extend(copy)  # It asks for its lease, and does not say that it has the change.
    assert not world.given_up
    await world.clock.forward(1)
    assert world.given_up == 1 and not done.done()
    await world.clock.forward(WHOLE - 1.2)
    assert not done.done()
    await world.clock.forward(0.5)
    assert done.done()


async def test_one_that_connects_while_others_wait_is_not_waited_for() -> None:
    world = World()
    old = world.copy()
    done = world.change()
    world.copy()
    world.copies.arrived(old, 1)
    await turns()
    assert done.done()


async def test_leases_of_an_earlier_process_are_waited_for() -> None:
    world = World()
    world.copies.may_be_out()
    done = world.change()
    await world.clock.forward(WHOLE - 0.1)
    assert not done.done()
    await world.clock.forward(0.2)
    assert done.done()
    done = asyncio.create_task(world.copies.settled())
    await turns()
    assert done.done()


async def test_without_copies_nobody_waits() -> None:
    world = World()
    done = asyncio.create_task(world.copies.settled())
    await turns()
    assert done.done()
