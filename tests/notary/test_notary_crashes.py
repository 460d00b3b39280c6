"""A datacenter dies between any two durable steps of its notary: no write is forgotten or told
twice, the log stays one log, and neither its witness nor its hook hears anything else."""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress

import pytest
from live_kit import Dc, Died, World, played

from dc.names.model import Version
from notary.entries import Entry
from notary.hooks import Hook
from notary.note import Checkpoint

FUSES = 200
"""More units of work than the scenario has."""
PARTS = 4
"""The deaths are shared out to so many tests."""


class Ledger(Hook):
    """A hook whose memory survives."""

    name = "ledger"
    entries_max = 3
    checkpoint_seconds = 1.0

    def __init__(self) -> None:
        self.heard: list[Entry] = []
        self.gaps: list[tuple[int, int]] = []
        self.stamped: list[int] = []

    async def entries(self, first: int, entries: Sequence[Entry]) -> None:
        await asyncio.sleep(0.01)
        if first > len(self.heard):
            self.gaps.append((first, len(self.heard)))
        again = self.heard[first : first + len(entries)]
        assert again == list(entries[: len(again)])
        self.heard += entries[len(again) :]

    async def checkpoint(self, checkpoint: Checkpoint) -> bytes | None:
        self.stamped.append(checkpoint.size)
        return f"stamp of {checkpoint.size}".encode()


class Client:
    """Writes the same things in the same order, and goes on after a death where it was."""

    def __init__(self, dc: Dc) -> None:
        self.dc = dc
        self.done = 0
        self.acknowledged: list[tuple[str, str]] = []
        """(type, stamp) of the entries that there must be."""
        self.tried: list[str] = []

    async def run(self) -> None:
        dc = self.dc
        bucket = dc.names.directory.bucket("photos") or await dc.bucket(on=False)
        if self.done == 0:
            await dc.switch(bucket, True)
            self.done = 1
        for step in range(self.done, 6):
            version = dc.version(bucket, "k", read=step in (2, 4))
            self.tried.append(version.stamp)
            await dc.do(dc.names.put(version))
            self.acknowledged.append(("version", version.stamp))
            self.done = step + 1

    async def finish(self) -> None:
        dc = self.dc
        await dc.world.until(lambda: dc.node is None or dc.is_published())
        await asyncio.sleep(10)
        if dc.node is None:
            raise Died(dc.name)


def check_order(dc: Dc, client: Client) -> None:
    told = [(kind, stamp) for kind, key, stamp in dc.told() if key == "k"]
    assert len(told) == len(set(told)), "nothing twice"
    versions = [stamp for kind, stamp in told if kind == "version"]
    assert versions == sorted(versions) and set(versions) <= set(client.tried)
    assert set(client.acknowledged) <= set(told), "nothing is forgotten"
    for before, after in itertools.pairwise(versions):
        at = told.index(("version", before))
        assert told[at + 1 : at + 3] == [("removed", before), ("version", after)]
    assert len([kind for kind, _, _ in dc.told() if kind == "enabled"]) in (1, 2)


async def killed_at(world: World, fuse: int, *, after: bool) -> bool:
    """Play it, with one death; whether there was one."""
    ledger = Ledger()
    dc, other = await world.dc("paris", ledger), await world.dc("tokyo")
    await dc.pair(other)
    await other.hear(await other.bucket("other"))
    client = Client(dc)
    dc.databases.fuse, dc.databases.fuse_after = fuse, after
    with suppress(Died):
        await client.run()
        await client.finish()
    if died := dc.node is None:
        await dc.start()
        await client.run()
        await client.finish()
    dc.databases.fuse = 0
    check_order(dc, client)
    whole = dc.verify(witnesses=1)
    assert whole.entries == dc.lines()
    assert (dc.alarms(), other.alarms()) == ([], [])
    await world.until(lambda: other.has_all_of(dc))
    assert other.verify(of=dc).entries == dc.lines() and str(other.checkpoint(dc)) == str(
        dc.checkpoint()
    )
    await world.until(lambda: len(ledger.heard) == len(dc.lines()))
    assert ledger.gaps == [] and [one.stamp for one in ledger.heard] == [
        one["stamp"] for one in dc.entries()
    ]
    await world.until(lambda: dc.log().sealed in ledger.stamped)
    return died


@pytest.mark.parametrize("part", range(PARTS))
def test_it_dies_at_any_unit_of_work(part: int):
    deaths = []
    for fuse in range(1 + part, FUSES, PARTS):

        @played
        async def life(world: World, fuse: int = fuse) -> None:
            deaths.append(await killed_at(world, fuse, after=bool(fuse // PARTS % 2)))

        life()
        if not deaths[-1]:
            break
    assert deaths and not deaths[-1], "the last one lives, so all the others were tried"
    assert all(deaths[:-1]) and len(deaths) > 10


@played
async def test_a_write_whose_commit_took_effect_unheard_has_its_entry(world: World):
    """The client was told that it failed."""
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    await dc.published()
    version: Version = dc.version(bucket, "k")
    dc.databases.commit_fuse, dc.databases.commit_after = 1, True
    with pytest.raises(Exception, match="disk I/O error"):
        await dc.do(dc.names.put(version))
    await dc.published()
    assert dc.told()[1:] == [("version", "k", version.stamp)]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fuse", range(1, 12))
@played
async def test_a_commit_that_fails_is_made_again(world: World, fuse: int, after: bool):
    dc = await world.dc("paris", ledger := Ledger())
    bucket = await dc.bucket()
    await dc.published()
    version = await dc.put(bucket, "k", read=True)
    dc.databases.commit_fuse, dc.databases.commit_after = fuse, after
    await dc.published()
    await world.until(lambda: dc.log().sealed in ledger.stamped, 300)
    assert dc.told()[1:] == [("version", "k", version.stamp)] and dc.verify()
    assert ledger.gaps == []
