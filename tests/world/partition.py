"""Two DCs cut from each other for an hour at 200 mixed operations a second each, then healed:
their tables must be equal within 60 simulated seconds. `python tests/world/partition.py --help`.

As many operations as a client would do, with as few of its costs as possible: they come in groups
of one moment, so that they share transactions, and their bodies are small. Half are new objects,
the others overwrite, delete or read what is there; the keys of the two DCs overlap in a part, so
that there are conflicts.
"""

import argparse
import asyncio
import gc
import random
import sys
import time
from typing import Any

from awscrt.checksums import crc64nvme
from sim_checks import difference, state_of
from sim_clients import etag_of
from sim_dc import Dc
from sim_plan import Event, Plan
from sim_world import Result, World, play_world

from dc.names.api import NamesError
from dc.names.model import Kind, Meta, Tombstone, Version, bucket_id
from dc.objects.ident import body_ident

GROUP_SECONDS = 0.5
SHARED_KEYS = 2_000
EQUAL_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.25
BUCKET = "bucket-0"
OWNER = "a" * 64


def plan_of_partition(seed: int) -> Plan:
    """Two DCs and no faults but the one that the play makes."""
    knobs = {"inline": 256 << 10, "range": 8 << 20, "feed_items": 400, "container": 64 << 20}
    pace = {"ack": 0.1, "progress": 0.25, "measure": 60.0, "quiet": 3.0, "upkeep": 30.0, "gap": 0.0}
    skews, drifts, edges = [0, 0], [0.0, 0.0], [(0, 1)]
    return Plan(
        seed, 2, "pair", 0.0, 0.02, 0.0, 0.0, knobs, pace, skews, drifts, edges,
        [Event(0, 0.0, "pair", 0, {"other": 1})],
    )  # fmt: skip


class Partition(World):
    """See the head of the file. `seconds` of partition, `rate` operations a second in each DC."""

    seconds = 3600.0
    rate = 200
    equal_after = 0.0
    done = 0
    wall_s: tuple[float, float] = (0.0, 0.0)
    """Of this machine: for the partition, and for what came after it."""

    async def play(self) -> None:
        for dc in self.dcs:
            self.faults.keep_up(dc)
        self._begin(self.plan.events[0])
        while not self._is_settled():  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        await self.dcs[0].spawn(self._make_bucket(self.dcs[0]), "bucket")
        await asyncio.sleep(5.0)
        self.fabric.block("dc0", "dc1", 1)
        self.fabric.block("dc1", "dc0", 1)
        began = time.monotonic()
        await asyncio.gather(*(dc.spawn(self._load(dc), "load") for dc in self.dcs))
        self._stop_if_failed()
        cut = time.monotonic()
        self.fabric.heal()
        healed = self.loop.time()
        await self._wait_until_equal(healed + EQUAL_SECONDS_MAX)
        self.equal_after = self.loop.time() - healed
        self.wall_s = (cut - began, time.monotonic() - cut)
        self.result.told = self.done
        self._check_conflicts()
        self._stop_if_failed()
        await self._go_down()

    async def _make_bucket(self, dc: Dc) -> None:
        await dc.names.create_bucket(BUCKET, OWNER, "region")

    async def _load(self, dc: Dc) -> None:
        """The operations of one DC, in groups."""
        rng = random.Random(f"{self.plan.seed}/{dc.name}")
        bucket, size = bucket_id(OWNER, BUCKET), int(self.rate * GROUP_SECONDS)
        own: list[str] = []
        for number in range(int(self.seconds / GROUP_SECONDS)):
            if number % 600 == 0:
                self._stop_if_failed()
                gc.collect()
            began = self.loop.time()
            work = [self._operation(dc, rng, bucket, own, number * size + n) for n in range(size)]
            await asyncio.gather(*work)
            self.done += size
            await asyncio.sleep(max(0.0, began + GROUP_SECONDS - self.loop.time()))

    async def _operation(
        self, dc: Dc, rng: random.Random, bucket: str, own: list[str], number: int
    ) -> None:
        key = f"{dc.name}/{number}"
        choice = rng.random()
        if choice < 0.2:
            key = f"shared/{rng.randrange(SHARED_KEYS)}"
        elif choice < 0.5 and own:
            key = rng.choice(own)
        else:
            own.append(key)
        choice = rng.random()
        names = dc.names
        try:
            if choice < 0.25:
                await names.current(bucket, key)
            elif choice < 0.4:
                gone = Tombstone(bucket=bucket, key=key, vid="", stamp=names.clock.now())
                await names.delete([gone])
            else:
                body = f"{dc.name} {number};".encode() * rng.randrange(1, 4)
                ident = body_ident(bucket, key, "", names.clock.now())
                extents = await dc.objects.put(ident, body)
                meta = Meta(crc64=crc64nvme(body))
                await names.put(
                    Version(
                        bucket, key, "", names.clock.now(), Kind.OBJECT, len(body), etag_of(body),
                        meta, extents,
                    )
                )  # fmt: skip
        except NamesError as error:
            self.fail("error", f"{key} in {dc.name}: {error}")

    async def _wait_until_equal(self, until: float) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._stop_if_failed()
            states: list[dict[str, Any]] = []
            if self._is_settled():
                states = [state_of(dc) for dc in self.dcs]
                table, rows = difference(states[0], states[1])
                if not table:
                    return
            if self.loop.time() > until:
                self.fail("liveness", f"{table}: {rows}" if states else self._unsettled())
                self._stop_if_failed()

    def _check_conflicts(self) -> None:
        """The tables of conflicts are equal here; what `names.conflicts` lists is for the product's
        own tests to compare, until it is asked here, too."""
        for dc in self.dcs:
            count = dc.tables.execute("SELECT count(*) FROM conflicts WHERE NOT gone").fetchone()
            self.loop.note(f"{dc.name} keeps {count[0]} conflicts")


def play_partition(seconds: float, rate: int, seed: int = 1) -> tuple[Result, Partition]:
    """Play it; the result has a `check` when it failed."""
    worlds: list[Partition] = []

    def make(*args: Any) -> Partition:
        world = Partition(*args)
        world.seconds, world.rate = seconds, rate
        worlds.append(world)
        return world

    return play_world(plan_of_partition(seed), False, make), worlds[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long they are cut")
    parser.add_argument("--rate", type=int, default=200, help="operations a second in each DC")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    result, world = play_partition(asked.seconds, asked.rate, asked.seed)
    told = f"{world.done} operations in {asked.seconds:.0f} s of partition"
    if result.check:
        print(f"{told}: {result.check}: {result.story}")
        return 1
    cut, after = world.wall_s
    print(
        f"{told}: equal {world.equal_after:.2f} simulated s after healing; {result.steps} steps,"
        f" {cut:.0f} s and then {after:.0f} s of this machine"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
