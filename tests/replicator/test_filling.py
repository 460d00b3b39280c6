"""Filling in goes on with who answers, while another is slow or away."""

import asyncio
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from replica_kit import datacenters, eventually, link, pair, settled
from test_replica_placement import has, rules, say

from replicator import filling
from replicator.compare_wire import Item
from replicator.home import Home
from replicator.link import Link
from replicator.peers import Peers


async def test_a_peer_that_does_not_answer_holds_up_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it needed that the others take what is here."""
    monkeypatch.setattr(filling, "FILL_SECONDS", 0.05)
    async with datacenters(tmp_path, "a", "b", "c") as (a, b, c):
        for one, other in ((a, b), (b, c), (a, c)):
            await pair(one, other)
        bucket = await a.bucket()
        await settled(a, b, c)
        await say(a, bucket, rules(a=[""], b=[""]))
        await settled(a, b, c)
        bodies = {dc: {f"{dc.name}{n}": os.urandom(900) for n in range(3)} for dc in (a, b)}
        for dc, of_it in bodies.items():
            for key, body in of_it.items():
                await dc.put(bucket, key, body)
        await settled(a, b, c)
        never, routes = asyncio.Event(), a.replicator._server._routes
        asked = []

        async def silent(request: object, peer: object) -> None:
            asked.append(peer)
            await never.wait()
            raise ConnectionResetError

        monkeypatch.setitem(routes, ("POST", "records"), silent)
        # It has its own feed open nowhere: what it takes is not needed to give something.
        await link(b, c)._workers[0].stop()
        await eventually(lambda: not c.peer(b).streaming_to)
        try:
            await say(a, bucket, rules(a=[""], b=[""], c=[""]))
            for key, body in bodies[b].items():
                await eventually(partial(has, c, bucket, key, body), 8)
            assert asked and not await has(c, bucket, "a0", bodies[a]["a0"])
        finally:
            never.set()
        # It could not be asked: the other one is, which has the bytes, too.
        for key, body in bodies[a].items():
            await eventually(partial(has, c, bucket, key, body), 8)


async def test_what_a_line_broke_off_is_asked_of_the_same_peer_again() -> None:
    items: list[Item] = [("b" * 16, 0, f"k{number}", "") for number in range(5)]

    async def fill(_: list[Item]) -> tuple[dict[Item, int], int]:
        return {items[1]: 7}, 3

    clock = SimpleNamespace(monotonic=lambda: 100.0)
    home = cast(Home, SimpleNamespace(clock=clock))
    named = SimpleNamespace(dc_id="a", name="a")
    link = cast(Link, SimpleNamespace(peer=named, checks=SimpleNamespace(fill=fill)))
    its = filling.Filling(home, cast(Peers, None))
    assert await its._ask_one(link, items)
    assert [bool(its._asked[item].tried) for item in items] == [True, True, True, False, False]
    assert [its._asked[item].until > 100 for item in items] == [False, True, False, False, False]
