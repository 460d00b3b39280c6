"""What the status and the header claim is true at every moment, whatever happens meanwhile."""

import asyncio
import random
from pathlib import Path

import pytest
from replica_kit import Dc, datacenters, eventually, pair, settled

from dc.names.model import Bucket
from dc.names.trees import root_of

LATEST = """
SELECT max(stamp) FROM (
    SELECT stamp FROM versions WHERE key = ?1 UNION ALL SELECT stamp FROM tombstones WHERE key = ?1
)
"""
KEYS = [f"k{number}" for number in range(12)]


class Watch:
    """Looks again and again; `claims` counts what was claimed, and was true."""

    def __init__(self, dcs: list[Dc], bucket: Bucket) -> None:
        self.dcs = dcs
        self.bucket = bucket
        self.up = {dc.name: True for dc in dcs}
        self.claims = {"COMPLETED": 0, "PENDING": 0, "REPLICA": 0, "IDENTICAL": 0, "FAILED": 0}
        self.wrong: list[str] = []

    async def look(self) -> None:
        while True:
            for dc in self.dcs:
                if self.up[dc.name]:
                    await self._header(dc)
                    self._roots(dc)
            await asyncio.sleep(0.01)

    async def _header(self, dc: Dc) -> None:
        for key in random.sample(KEYS, 3):
            version = await dc.names.current(self.bucket.id, key)
            if version is None:
                continue
            word = dc.replicator.mark(version)
            self.claims[word] += 1
            if word != "COMPLETED":
                continue
            for other in self.dcs:
                if other is dc or not self.up[other.name]:
                    continue
                there = await other.names._read(
                    lambda db, key=key: db.execute(LATEST, (key,)).fetchone()
                )
                if (there[0] or "") < version.stamp:
                    self.wrong.append(f"{dc.name}'s {key} is not in {other.name}")

    def _roots(self, dc: Dc) -> None:
        """In one step of the loop: nothing changes meanwhile."""
        for other in self.dcs:
            if other is dc or not self.up[other.name]:
                continue
            peer = dc.peer(other)
            if peer.state != "IDENTICAL":
                continue
            self.claims["IDENTICAL"] += 1
            root = root_of(dc.names.roots().items())
            if root != peer.root:
                self.wrong.append(f"{dc.name} has another root than it says")
            told = peer.their_end == other.names.feed_end
            if told and root != root_of(other.names.roots().items()):
                self.wrong.append(f"{dc.name} and {other.name} are not identical")


async def disturb(dcs: list[Dc], bucket: Bucket, watch: Watch, dice: random.Random) -> None:
    """Writes, pauses and restarts."""
    for turn in range(120):
        dc = dice.choice([dc for dc in dcs if watch.up[dc.name]])
        kind = dice.random()
        if kind < 0.6:
            size = 300_000 if dice.random() < 0.2 else dice.randrange(200)
            await dc.put(bucket, dice.choice(KEYS), dice.randbytes(size))
        elif kind < 0.75:
            await dc.delete(bucket, dice.choice(KEYS))
        elif kind < 0.97:
            await asyncio.sleep(dice.random() * 0.2)
        elif turn > 10:
            watch.up[dc.name] = False
            await asyncio.sleep(0.05)
            await dc.down()
            await dc.up()
            watch.up[dc.name] = True
        if turn % 40 == 39:
            await settled(*dcs)
            await eventually(lambda: all_identical(dcs), 20)


def all_identical(dcs: list[Dc]) -> bool:
    words = {peer.state for dc in dcs for peer in dc.replicator.status().peers}
    return words == {"IDENTICAL"}


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_claimed_that_is_not_so(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    async with datacenters(tmp_path, "paris", "tokyo", "austin") as dcs:
        paris, tokyo, austin = dcs
        await pair(paris, tokyo)
        await pair(paris, austin)
        await pair(tokyo, austin)
        bucket = await paris.bucket()
        await settled(*dcs)
        watch = Watch(dcs, bucket)
        looking = asyncio.create_task(watch.look())
        try:
            await disturb(dcs, bucket, watch, dice)
        finally:
            looking.cancel()
            ended = await asyncio.gather(looking, return_exceptions=True)
        assert isinstance(ended[0], asyncio.CancelledError), ended
        assert watch.wrong == []
        assert watch.claims["FAILED"] == 0
        for word in ("COMPLETED", "PENDING", "REPLICA", "IDENTICAL"):
            assert watch.claims[word] > 10, watch.claims
        assert len({peer.root for dc in dcs for peer in dc.replicator.status().peers}) == 1
