"""More than two: changes are relayed, and go round no circle."""

import os
from pathlib import Path

from replica_kit import datacenters, pair, settled


async def test_a_chain_relays_everything(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "a", "b", "c") as (a, b, c):
        bucket = await a.bucket()
        before = os.urandom(5000)
        await a.put(bucket, "before", before)
        await pair(a, b)
        await pair(b, c)
        large = os.urandom(3_000_000)
        await a.put(bucket, "large", large)
        made = await c.accounts.add_user("ann@example.com")
        await c.put(await c.bucket("other"), "from c", b"c")
        await settled(a, b, c)
        await settled(a, b, c)
        assert await c.get(bucket, "before") == before
        assert await c.get(bucket, "large") == large
        found = a.accounts.lookup(made.key_id)
        assert found is not None and found.secret == made.secret
        await c.delete(bucket, "before")
        await settled(c, b)
        await settled(a, b, c)
        assert await a.get(bucket, "before") is None


async def test_a_ring_comes_to_rest(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "a", "b", "c") as dcs:
        a, b, c = dcs
        await pair(a, b)
        await pair(b, c)
        await pair(c, a)
        bucket = await a.bucket()
        await settled(*dcs)
        for number in range(60):
            dc = dcs[number % 3]
            if dc.names.directory.bucket("photos"):
                await dc.put(bucket, f"k{number}", os.urandom(number * 10))
        for _ in range(3):
            await settled(*dcs)
        ends = [dc.names.feed_end for dc in dcs]
        for number in range(60):
            bodies = [await dc.get(bucket, f"k{number}") for dc in dcs]
            assert bodies[0] == bodies[1] == bodies[2] is not None
        # Each change took effect once in each DC, and nothing moves any more.
        assert all(end <= 70 for end in ends)
        for _ in range(3):
            await settled(*dcs)
        assert ends == [dc.names.feed_end for dc in dcs]


async def test_what_comes_straight_is_not_sent_twice_with_its_body(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "a", "b", "c") as dcs:
        a, b, c = dcs
        await pair(a, b)
        await pair(b, c)
        await pair(c, a)
        bucket = await a.bucket()
        await settled(*dcs)
        before = c.peer(b).bytes_in
        for number in range(20):
            await a.put(bucket, f"k{number}", os.urandom(10_000))
        for _ in range(3):
            await settled(*dcs)
        assert await c.get(bucket, "k19") is not None
        assert c.peer(b).bytes_in - before < 100_000
