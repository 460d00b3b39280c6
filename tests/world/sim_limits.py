"""Limits and pauses in a simulated world: operators set them, and take them away again."""

import asyncio
import random
from typing import TYPE_CHECKING, Any

from sim_dc import Dc
from sim_plan import Event, Plan

from dc.rates import Terms

if TYPE_CHECKING:
    from sim_world import World

RATES = (1_000, 5_000, 50_000)


def limited(plan: Plan) -> Plan:
    """The world with limits and pauses besides all else that happens in it."""
    rng = random.Random(f"{plan.seed}/limits")
    drawn: list[tuple[float, str, int, dict[str, Any]]] = []
    for _ in range(rng.choice([1, 3, 6])):
        dc, other = rng.sample(rng.choice(plan.edges), 2)
        kind = rng.choice(["limit", "limit", "pause"])
        args = {
            "other": other,
            "rate": rng.choice(RATES),
            "into": rng.random() < 0.5,
            "seconds": round(rng.choice([0.2, 3.0, 30.0]) * rng.uniform(0.5, 1.5), 3),
        }
        drawn.append((rng.uniform(1, plan.fault_seconds), kind, dc, args))
    first = 1 + max((event.number for event in plan.events), default=0)
    events = [Event(first + n, at, kind, dc, args) for n, (at, kind, dc, args) in enumerate(drawn)]
    return plan.only(sorted([*plan.events, *events], key=lambda event: event.at))


async def set_terms(dc: Dc, other: Dc, event: Event, begins: bool) -> None:
    """What an operator of a datacenter does, if it is in a state to be asked."""
    if not dc.ready or all(peer.dc_id != other.dc_id for peer in dc.names.peers()):
        return
    await asyncio.wait([dc.spawn(_set(dc, other.dc_id, event, begins), event.kind)], timeout=30)


async def _set(dc: Dc, other: str, event: Event, begins: bool) -> None:
    replicator, rate = dc.replicator, event.args["rate"] if begins else 0
    try:
        if event.kind == "pause":
            await (replicator.pause(other) if begins else replicator.resume(other))
        elif event.args["into"]:
            await replicator.limit(other, lambda one: one.changed(rate, []), None)
        else:
            await replicator.limit(other, None, lambda one: one.changed(rate, []))
    except Exception as error:
        dc.loop.note(f"{event.kind} failed: {type(error).__name__}: {error}")


async def lift(world: "World", dc: Dc) -> None:
    """No limits and pauses any more, as often as it takes."""
    while not world.over:
        if dc.ready:
            set_ones = [peer.dc_id for peer in dc.names.peers() if peer.terms != Terms()]
            if not set_ones:
                return
            await asyncio.wait([dc.spawn(_lift(dc, set_ones), "lift")], timeout=30)
        await asyncio.sleep(1.0)


async def _lift(dc: Dc, peers: list[str]) -> None:
    for peer in peers:
        try:
            await dc.replicator.limit(
                peer, lambda one: one.changed(0, []), lambda one: one.changed(0, [])
            )
            await dc.replicator.resume(peer)
        except Exception as error:
            dc.loop.note(f"lifting failed: {type(error).__name__}: {error}")
