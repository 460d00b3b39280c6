"""A whole world from a plan: faults while it must stay safe, then healing, then checks.

While faults go on, every operation is checked as it goes (`sim_clients.py`). Then all machines are
brought up, all ways opened and all clocks set; within a bounded simulated time every change must
have taken effect everywhere. `sim_checks.py` says what must be true then.
"""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any
from unittest import mock

import structlog
from nacl import bindings
from sim_access import check_access
from sim_backups import forget
from sim_checks import (
    check_feed,
    check_items,
    check_memory,
    check_registers,
    difference,
    orphans,
    state_of,
)
from sim_clients import Clients
from sim_dc import Dc
from sim_faults import Faults
from sim_knowledge import (
    check_attributes,
    check_conflict_bytes,
    check_conflicts,
    check_losers,
    check_roots,
    check_trees,
)
from sim_loop import SimLoop, SimTask, SimulationError
from sim_model import Model
from sim_network import Fabric
from sim_notary_checks import (
    SETTLE_SECONDS_MAX,
    check_given,
    check_notaries,
    check_speed,
    limits,
    unsettled,
)
from sim_plan import Plan
from sim_stranger import check_tokens

from dc.names.api import NamesError
from dc.objects.settings import CompactionSettings
from dc.placement import REPLICATION, placement

LIVE_SECONDS_MAX = 900.0
"""Simulated time from healing until all DCs must be equal: a change that failed often is tried
again after five minutes at the latest, a refused stream after one."""
OPERATION_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0
SPACE_SECONDS_MAX = 1200.0
ACCESS_EACH = 5
"""Events, after which is looked at who can read what."""
COLLECT_EACH = 5
"""Worlds, after which what they left is collected."""
_WORLDS = count()


_open_signed = lru_cache(1000)(bindings.crypto_sign_open)
"""What is signed is the same each time, and costs more than all else in a request."""


@dataclass
class Result:
    """What became of a world. Without `check` it passed."""

    seed: int
    check: str = ""
    story: str = ""
    trace: str = ""
    seconds: float = 0.0
    steps: int = 0
    told: int = 0
    healed_in: float = 0.0
    outcomes: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Failed(Exception):
    """A check failed: the rest of the world does not matter."""


def run(plan: Plan, verbose: bool = False) -> Result:
    """Run a plan."""
    return play_world(plan, verbose, World)


def play_world(plan: Plan, verbose: bool, make: "Callable[..., World]") -> Result:
    """Run a plan in a world of some kind."""
    result = Result(plan.seed)
    loop = SimLoop(str(plan.seed), plan.shuffle)
    loop.notes = result.notes if verbose else None
    if next(_WORLDS) % COLLECT_EACH == 0:
        gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        with _surroundings(plan, loop) as logs:
            world = make(plan, loop, result, logs)
            asyncio.set_event_loop(loop)
            try:
                loop.run_until_complete(world.play())
            except SimulationError as error:
                world.fail(error.check, str(error))
            except Failed:
                pass
            result.trace, result.seconds, result.steps = loop.trace, loop.time(), loop.steps
            world.end()
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        if collects:
            gc.enable()
    return result


@contextlib.contextmanager
def _surroundings(plan: Plan, loop: SimLoop) -> Iterator[list[dict[str, Any]]]:
    """The product's limits as the plan has them; virtual time for aiohttp's pool; its logs."""
    logs: list[dict[str, Any]] = []

    def keep(_: object, level: str, event: dict[str, Any]) -> dict[str, Any]:
        logs.append(event | {"level": level})
        if loop.notes is not None:
            loop.note(f"    log: {event}")
        raise structlog.DropEvent

    def running() -> SimLoop | None:
        return loop if loop.is_running() else None

    small = {
        "replicator.feed_stream.INLINE_BYTES_MAX": plan.knobs["inline"],
        "replicator.inbox.INLINE_BYTES_MAX": plan.knobs["inline"],
        "replicator.transfer.INLINE_BYTES_MAX": plan.knobs["inline"],
        "replicator.transfer.RANGE_BYTES": plan.knobs["range"],
        "replicator.feed_stream.FEED_ITEMS": plan.knobs["feed_items"],
        "replicator.feed_stream.PROGRESS_SECONDS": plan.pace["progress"],
        "replicator.link.ACK_SECONDS": plan.pace["ack"],
        "replicator.measures.MEASURE_SECONDS": plan.pace["measure"],
        "replicator.service.UPKEEP_SECONDS": plan.pace["upkeep"],
        "replicator.peers.GAP_SECONDS": plan.pace["gap"],
        # What the feeds get wrong is to be found here, not repaired.
        "replicator.checks.VERIFY_DELAY_SECONDS": 1e9,
        "dc.names.knowledge.SETTLE_SECONDS": plan.pace["upkeep"],
        "aiohttp.connector.monotonic": loop.time,
        # asyncio's own ask the system for the process's number each time.
        "asyncio.get_running_loop": running,
        "asyncio.events.get_running_loop": running,
        "asyncio.events._get_running_loop": running,
        "tokens.paseto.bindings.crypto_sign_open": _open_signed,
    }
    if plan.proving is not None:
        small |= limits(plan.proving)
    errors = _Errors(loop)
    before = structlog.get_config()
    structlog.configure(
        processors=[keep], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False
    )
    try:
        with contextlib.ExitStack() as stack:
            for name, value in small.items():
                stack.enter_context(mock.patch(name, value))
            for name in ("aiohttp.server", "asyncio"):
                logger = logging.getLogger(name)
                stack.enter_context(mock.patch.object(logger, "handlers", [errors]))
                stack.enter_context(mock.patch.object(logger, "propagate", False))
            yield logs
    finally:
        structlog.configure(**before)


class _Errors(logging.Handler):
    """What aiohttp's server and asyncio can only log: a handler that raised."""

    def __init__(self, loop: SimLoop) -> None:
        super().__init__(logging.ERROR)
        self._loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        text = f"{record.name}: {record.getMessage()}: {type(error).__name__}: {error}"
        self._loop.unhandled.append(text)


def _compacting(plan: Plan) -> dict[int, CompactionSettings]:
    """How DCs compact. Not those whose names are put back to an old state without their disk: what
    these pointed to then may be gone."""
    if plan.compaction is None:
        return {}
    settings = CompactionSettings(*plan.compaction)
    put_back = {event.dc for event in plan.events if event.kind == "old_backup"}
    return {n: settings for n in range(plan.dcs) if n not in put_back}


class World:
    """See the head of the file."""

    def __init__(
        self,
        plan: Plan,
        loop: SimLoop,
        result: Result,
        logs: list[dict[str, Any]],
    ) -> None:
        self.plan = plan
        self.loop = loop
        self.result = result
        self.over = False
        self.healing = False
        self.fabric = Fabric(loop, str(plan.seed), plan.latency_s, plan.stalls)
        container = plan.knobs["container"]
        compacting = _compacting(plan)
        self.dcs = [
            Dc(
                loop,
                self.fabric,
                f"dc{n}",
                str(plan.seed),
                container,
                compacting.get(n),
                plan.proving,
            )
            for n in range(plan.dcs)
        ]
        self._by_id = {dc.dc_id: dc for dc in self.dcs}
        for dc, skew_ms, drift in zip(self.dcs, plan.skews_ms, plan.drifts, strict=True):
            dc.clock.skew_ms, dc.clock.drift = skew_ms, drift
        self.model = Model()
        self.clients = Clients(plan.seed, self.model, self.fail)
        self.faults = Faults(self)
        self.left: list[Dc] = []
        self._logs = logs
        self._tasks: list[tuple[SimTask, Dc, int]] = []
        self._pairs: list[tuple[Dc, Dc]] = []
        self.tokens: list[tuple[Dc, str]] = []
        """Pairing tokens that were used, with who issued them."""
        self._rewound_at: dict[str, float] = {}
        """When DCs were put back, last."""
        self._used_at: dict[str, float] = {}

    def fail(self, check: str, story: str) -> None:
        """A check failed; the first failure is the world's."""
        if not self.result.check:
            self.result.check, self.result.story = check, story
            self.loop.note(f"FAILED {check}: {story}")

    def _stop_if_failed(self) -> None:
        for log in self._logs:
            if log["event"] == "task died":
                self.fail("task died", str(log))
        self._logs.clear()
        for text in self.loop.unhandled:
            self.fail("unhandled", text)
        if self.result.check:
            raise Failed

    # -- the play -------------------------------------------------------------------------------

    async def play(self) -> None:
        for dc in self.dcs:
            self.faults.keep_up(dc)
        for event in self.plan.events:
            wait = event.at - self.loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            self._stop_if_failed()
            self._begin(event)
            if event.number % ACCESS_EACH == 0:
                self._check_access()
        await asyncio.sleep(max(0.0, self.plan.fault_seconds - self.loop.time()))
        began = self.loop.time()
        self.loop.note("healing")
        self.healing = True
        await self.faults.heal()
        await self._operations_end()
        state = await self._become_equal(began + LIVE_SECONDS_MAX)
        self.result.healed_in = self.loop.time() - began
        await self._check(state)
        await self._go_down()

    def _check_access(self) -> None:
        for dc in self.staying:
            if dc.ready:
                check_access(dc, self.clients.writers, self.fail)

    def _begin(self, event: Any) -> None:
        dc = self.dcs[event.dc]
        if event.kind == "pair":
            self._pairs.append((dc, self.dcs[event.args["other"]]))
            self.loop.create_task(self._pair(*self._pairs[-1]), name="pairing")
        elif hasattr(self.faults, event.kind):
            self.loop.note(str(event))
            getattr(self.faults, event.kind)(event)
        elif dc.ready:
            task = dc.spawn(self.clients.run(event, dc), f"operation {event.number}")
            self._tasks.append((task, dc, event.number))

    async def _pair(self, one: Dc, other: Dc) -> None:
        """Pair two DCs, as often as it takes; their operators talk to each other."""
        wait = 1.0
        while not self.over and other.dc_id not in self._peers(one):
            if one in self.left or other in self.left:
                return
            if one.ready and other.ready:
                task = other.spawn(self._join(one, other), "join")
                await asyncio.wait([task], timeout=30)
                if not task.done():
                    task.cancel()
            await asyncio.sleep(wait if not self.healing else 1.0)
            wait = min(wait * 1.6, 10.0)
        self.model.pairs.append((one.name, other.name))
        self.loop.note(f"{one.name} and {other.name} are paired")

    async def _join(self, one: Dc, other: Dc) -> None:
        try:
            issued = self.loop.time()
            token = one.replicator.issue_token().token
            report = await other.replicator.join(token)
        except Exception as error:
            self.loop.note(f"pairing failed: {type(error).__name__}: {error}")
        else:
            if self._rewound_at.get(one.name, 0.0) <= issued:
                self.tokens.append((one, token))
                self._used_at[token] = self.loop.time()
            self.loop.note(f"paired: {report.steps}")

    @property
    def staying(self) -> list[Dc]:
        return [dc for dc in self.dcs if dc not in self.left]

    def forgotten(self, dc: Dc, copied_at: float) -> None:
        """A DC's database was put back to what it was then."""
        count = forget(self.dcs, dc, self.model)
        # What was used since the copy it takes for unused again, until it expires.
        self._rewound_at[dc.name] = self.loop.time()
        self.tokens = [
            (issuer, token)
            for issuer, token in self.tokens
            if issuer is not dc or self._used_at[token] < copied_at
        ]
        if dc.proving is not None:
            dc.proving.rewound.append((copied_at, self.loop.time()))
        since = self.loop.time() - copied_at
        self.loop.note(f"{dc.name} is put back by {since:.1f} s, {count} writes are gone for good")

    def process_ended(self, dc: Dc) -> None:
        """It was killed, or stopped."""
        if self.plan.proving is not None and not self.over:
            check_given(dc, self.dcs, self.fail)

    def leave(self, leaver: Dc, how: str) -> None:
        """A DC leaves. What it was told is durable there, and need not have gone anywhere."""
        if leaver in self.left:
            return
        self.left.append(leaver)
        self.model.left(leaver.name)
        if how == "dead":
            leaver.went_down = lambda _: None
            leaver.kill(silent=True)
        removals = [(dc, leaver) for dc in self.staying if how != "it removes"]
        if how in ("it removes", "both"):
            removals += [(leaver, dc) for dc in self.staying]
        for dc, gone in removals:
            self.loop.create_task(self._remove(dc, gone), name="removal")

    async def _remove(self, dc: Dc, gone: Dc) -> None:
        """One side of a removal, as often as it takes."""
        while not self.over:
            if dc.ready:
                if all(peer.dc_id != gone.dc_id for peer in dc.names.peers()):
                    self.loop.note(f"{dc.name} does not know {gone.name}")
                    return
                task = dc.spawn(self._try_remove(dc, gone), "removal")
                await asyncio.wait([task], timeout=30)
            await asyncio.sleep(1.0)

    async def _try_remove(self, dc: Dc, gone: Dc) -> None:
        try:
            await dc.replicator.remove_peer(gone.dc_id)
        except Exception as error:
            self.loop.note(f"removal failed: {type(error).__name__}: {error}")

    def _peers(self, dc: Dc) -> set[str]:
        """Peers that know this DC as well."""
        if not dc.ready:
            return set()
        both = set()
        for peer in dc.names.peers():
            other = self._by_id[peer.dc_id]
            if other.ready and any(one.dc_id == dc.dc_id for one in other.names.peers()):
                both.add(peer.dc_id)
        return both

    # -- after the faults -----------------------------------------------------------------------

    async def _operations_end(self) -> None:
        tasks = [task for task, dc, _ in self._tasks if self._lives(task, dc)]
        if tasks:
            await asyncio.wait(tasks, timeout=OPERATION_SECONDS_MAX)
        for task, dc, number in self._tasks:
            if self._lives(task, dc):
                self.fail("hangs", f"operation #{number} at {dc.name} does not end")
        self._stop_if_failed()

    def _lives(self, task: SimTask, dc: Dc) -> bool:
        return not task.done() and dc.node is not None and task in dc.node.tasks

    async def _become_equal(self, until: float) -> dict[str, Any]:
        """Wait until every DC has taken all of its peers' changes and stays so."""
        while True:
            await asyncio.sleep(1.0)
            self._stop_if_failed()
            if self.model.placed:
                await self._open_rules()
            if self._is_settled():
                ends = [dc.names.feed_end for dc in self.staying]
                await asyncio.sleep(self.plan.pace["quiet"])
                if self._is_settled() and ends == [dc.names.feed_end for dc in self.staying]:
                    break
            if self.loop.time() > until:
                self.fail("liveness", self._unsettled())
                raise Failed
        states = [state_of(dc) for dc in self.staying]
        for dc, state in zip(self.staying, states, strict=True):
            table, rows = difference(states[0], state)
            if table:
                self.fail(f"diverged {table}", f"{self.staying[0].name} and {dc.name}: {rows}")
        self._stop_if_failed()
        return states[0]

    async def _open_rules(self) -> None:
        """Where changes are relayed by DCs that need not have the bytes, let all have them in the
        end. Elsewhere the rules stand, and those that they name must have them."""
        if self.plan.topology in ("pair", "mesh") and self.plan.seed % 3:
            return
        for dc in self.staying:
            for bucket in dc.names.directory.all_buckets() if dc.ready else ():
                if placement(bucket) is not None:
                    with contextlib.suppress(NamesError):
                        await dc.names.set_bucket_registers(bucket.id, {REPLICATION: ""})

    def _is_settled(self) -> bool:
        staying, gone = self.staying, {dc.dc_id for dc in self.left}
        return (
            all(dc.ready for dc in staying)
            and all(dc.replicator._filling.to_come() == (0, 0) for dc in staying)
            and all(
                other.dc_id in self._peers(one)
                for one, other in self._pairs
                if one in staying and other in staying
            )
            and all(
                peer.behind == 0
                and peer.our_behind == 0
                and peer.state in ("STREAMING", "IDENTICAL", "IDLE")
                for dc in staying
                for peer in dc.replicator.status().peers
                if peer.dc_id not in gone
            )
        )

    def _unsettled(self) -> str:
        lines = []
        for dc in self.dcs:
            if not dc.ready:
                lines.append(f"{dc.name} does not start: {dc.broken}")
                continue
            lines.append(f"{dc.name}: to come {dc.replicator._filling.to_come()}")
            for peer in dc.replicator.status().peers:
                lines.append(
                    f"{dc.name} of {peer.name}: {peer.state} behind={peer.behind}"
                    f" our_behind={peer.our_behind} inbox={peer.inbox} {peer.last_error}"
                    f" {[(one.what, one.reason) for one in peer.problems]}"
                )
        return "\n    ".join(lines)

    async def _check(self, state: dict[str, Any]) -> None:
        self.model.forget_answers([dc.name for dc in self.left])
        for dc in self.staying:
            check_feed(dc, {one.dc_id for one in self.left}, self.fail)
            check_trees(dc, self.fail)
            check_memory(dc, state, self.fail)
            check_registers(dc, state, self.model, self.fail)
        self._check_access()
        self._stop_if_failed()
        check_roots(self.staying, self.fail)
        check_losers(self.staying, self.model, self.fail)
        if not self.left:
            check_conflicts(self.dcs, self.model, self.fail)
        await check_items(self.staying, self.model, self.clients, self.fail)
        await check_attributes(self.staying, self.model, self.fail)
        await check_conflict_bytes(self.staying, self.fail)
        await self._check_space()
        await check_tokens(self.tokens, self.staying, str(self.plan.seed), self.fail)
        if self.plan.proving is not None:
            await self._check_notaries()
        for row in orphans(state):
            self.fail("bucket", f"the bucket of an object is gone: {row}")
        self.loop.note(f"state {state}")
        self._stop_if_failed()

    async def _check_space(self) -> None:
        """What nobody needs any more goes: within some rounds."""
        compacting = [dc for dc in self.staying if dc.compaction is not None]
        if not compacting:
            return
        began = self.loop.time()
        while any(dc.useless() for dc in compacting):
            if self.loop.time() > began + SPACE_SECONDS_MAX:
                left = {dc.name: sorted(dc.useless()) for dc in compacting}
                self.fail("space", f"nobody points into these containers, and they stay: {left}")
                return
            await asyncio.sleep(1.0)

    async def _check_notaries(self) -> None:
        """Once all is published, cosigned and mirrored."""
        until = self.loop.time() + SETTLE_SECONDS_MAX
        while lines := unsettled(self.staying):
            if self.loop.time() > until:
                self.fail("notary liveness", lines)
                raise Failed
            await asyncio.sleep(2.0)
            self._stop_if_failed()
        await check_notaries(self.staying, self.dcs, self.model, self.fail)
        frozen = {f"dc{event.dc}" for event in self.plan.events if event.kind == "freeze"}
        check_speed(self.model, frozen, self.fail)

    async def _go_down(self) -> None:
        """Stop everything in an orderly way: that must end, too."""
        self.over = True
        for dc in self.staying:
            task = dc.spawn(dc.stop(), "stop")
            await asyncio.wait([task], timeout=STOP_SECONDS_MAX)
            if not task.done():
                self.fail("hangs", f"{dc.name} does not stop")
            elif task.exception() is not None:
                self.fail("error", f"{dc.name} stops with {task.exception()!r}")
        self._stop_if_failed()

    def end(self) -> None:
        """Leave nothing behind in the loop."""
        self.over = True
        self.result.outcomes = self.clients.outcomes
        self.result.told = self.model.told
        for dc in self.dcs:
            dc.kill(silent=False)
        notes, self.loop.notes = self.loop.notes, None
        with contextlib.suppress(SimulationError):
            self.loop.run_until_complete(self._bury())
        self.loop.notes = notes
        for dc in self.dcs:
            dc.tables.close()
            if dc.proving is not None:
                dc.proving.tables.close()

    async def _bury(self) -> None:
        await self.loop.bury([node for dc in self.dcs for node in dc.dead])
        rest = [task for task in asyncio.all_tasks(self.loop) if task is not asyncio.current_task()]
        rest.sort(key=hash)
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=1)
        for connector in self.fabric.connectors:
            # Those of killed processes, which nobody closed; their ends will never answer.
            connector._close()
