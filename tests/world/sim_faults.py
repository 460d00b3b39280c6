"""The faults: each method is a kind of event of a plan, and `heal` ends them all."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING

from sim_dc import Dc
from sim_limits import lift, set_terms
from sim_plan import Event

if TYPE_CHECKING:
    from sim_world import World

STARTED_SECONDS = 0.3
HANG_SECONDS = 60.0


class Faults:
    """What goes wrong, and the supervisors that start processes again."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._healed = False
        self._down_until: dict[str, float] = {}
        self._wall_ms = 0
        self._context = copy_context()

    # -- supervisors ----------------------------------------------------------------------------

    def keep_up(self, dc: Dc) -> None:
        """Start the DC's process now, and again whenever it is gone."""
        dc.went_down = self._gone
        self._start(dc)

    def _gone(self, dc: Dc) -> None:
        self._world.process_ended(dc)
        self._start_later(dc)

    def _start_later(self, dc: Dc, seconds: float = STARTED_SECONDS) -> None:
        # The process that has ended may be who calls this: what comes now is not of its context.
        self._world.loop.call_later(seconds, self._start, dc, context=self._context)

    def _start(self, dc: Dc) -> None:
        if dc.node is not None or self._world.over:
            return
        wait = self._down_until.get(dc.name, 0.0) - self._world.loop.time()
        if wait > 0:
            self._start_later(dc, wait)
        else:
            dc.boot()

    def _down(self, dc: Dc, seconds: float) -> None:
        self._down_until[dc.name] = self._world.loop.time() + seconds

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        def unless_healed() -> None:
            if not self._healed:
                work()

        self._world.loop.call_later(seconds, unless_healed)

    def _dc(self, event: Event) -> Dc:
        return self._world.dcs[event.dc]

    async def heal(self) -> None:
        """Everything works again, and all clocks are right."""
        world = self._world
        self._healed = True
        self._down_until.clear()
        world.fabric.heal()
        wall_ms = max([self._wall_ms, *(dc.clock.wall_ms() for dc in world.dcs)])
        for dc in world.dcs:
            dc.clock.drift = 0.0
            dc.clock.skew_ms = 0
            dc.clock.skew_ms = wall_ms - dc.clock.wall_ms()
            dc.disk_state.full = dc.database_faults.full = False
            dc.disk_state.error_rate = dc.database_faults.error_rate = 0.0
            dc.burn(0, 0, False)
            dc.fail_commit(0, False)
            if dc.node is not None and dc.node.frozen:
                world.loop.thaw(dc.node)
            if dc.node is None:
                self._start_later(dc)
            world.loop.create_task(lift(world, dc), name="operator")

    # -- processes ------------------------------------------------------------------------------

    def crash(self, event: Event) -> None:
        dc = self._dc(event)
        dc.kill(event.args["silent"])
        self._down(dc, event.args["seconds"])

    def burn(self, event: Event) -> None:
        """The machine dies in the middle of one of its next disk calls."""
        dc = self._dc(event)
        dc.burn(event.args["calls"], 0, event.args["silent"])
        self._down(dc, event.args["seconds"])

    def burn_database(self, event: Event) -> None:
        """The machine dies just before or after the database has done something."""
        dc = self._dc(event)
        dc.burn(0, event.args["calls"], event.args["silent"])
        self._down(dc, event.args["seconds"])

    def restart(self, event: Event) -> None:
        dc = self._dc(event)
        if dc.ready:
            self._world.loop.create_task(self._restart(dc, event), name="restart")

    async def _restart(self, dc: Dc, event: Event) -> None:
        node = dc.node
        task = dc.spawn(dc.stop(), f"stop of {dc.name}")
        await asyncio.wait([task], timeout=HANG_SECONDS)
        if task.done() and task.exception() is not None:
            self._world.fail("error", f"{dc.name} stops with {task.exception()!r}")
        if dc.node is node:
            dc.kill(silent=False)
        self._down(dc, event.args["seconds"])

    def freeze(self, event: Event) -> None:
        """The process stands still: it accepts connections and never answers."""
        dc, loop = self._dc(event), self._world.loop
        node = dc.node
        if node is not None:
            loop.freeze(node)
            self._later(event.args["seconds"], lambda: loop.thaw(node))

    # -- network --------------------------------------------------------------------------------

    def partition(self, event: Event) -> None:
        self._block(event, both=True)

    def one_way(self, event: Event) -> None:
        self._block(event, both=False)

    def _block(self, event: Event, both: bool) -> None:
        fabric = self._world.fabric
        one, other = f"dc{event.dc}", f"dc{event.args['other']}"
        ways = [(one, other), (other, one)] if both else [(one, other)]
        for way in ways:
            fabric.block(*way, 1)

        def end() -> None:
            for way in ways:
                fabric.block(*way, -1)

        self._later(event.args["seconds"], end)

    def slow(self, event: Event) -> None:
        slow = self._world.fabric.slow
        way = (f"dc{event.dc}", f"dc{event.args['other']}")
        slow[way] = 20.0
        self._later(event.args["seconds"], lambda: slow.pop(way, None))

    def reset(self, event: Event) -> None:
        self._world.fabric.reset(event.args["pick"])

    def replay(self, event: Event) -> None:
        """A proxy sends a request twice, the second time much later."""
        self._replay(event, feeds=False)

    def replay_feed(self, event: Event) -> None:
        """The same of a request that opens a feed."""
        self._replay(event, feeds=True)

    def _replay(self, event: Event, feeds: bool) -> None:
        again = self._world.fabric.replay(event.args["pick"], event.args["seconds"], feeds)
        self._world.loop.create_task(again, name="replay")

    def cut(self, event: Event) -> None:
        """Some connections are accepted, and reset before all is said."""
        self._world.fabric.cuts += event.args["calls"]

    # -- operators ------------------------------------------------------------------------------

    def limit(self, event: Event) -> None:
        """Bytes go slowly for a while."""
        self._set_terms(event)

    def pause(self, event: Event) -> None:
        """Two DCs have nothing to do with each other for a while, restarts or not."""
        self._set_terms(event)

    def _set_terms(self, event: Event) -> None:
        dc, other = self._dc(event), self._world.dcs[event.args["other"]]

        def begin(begins: bool) -> None:
            self._world.loop.create_task(set_terms(dc, other, event, begins), name="operator")

        begin(True)
        self._later(event.args["seconds"], lambda: begin(False))

    # -- clocks ---------------------------------------------------------------------------------

    def skew(self, event: Event) -> None:
        """The wall clock jumps."""
        clock = self._dc(event).clock
        self._wall_ms = max(self._wall_ms, clock.wall_ms())
        clock.skew_ms = event.args["skew_ms"]

    # -- disks ----------------------------------------------------------------------------------

    def disk_full(self, event: Event) -> None:
        state = self._dc(event).disk_state
        state.full = True
        self._later(event.args["seconds"], lambda: setattr(state, "full", False))

    def disk_errors(self, event: Event) -> None:
        state = self._dc(event).disk_state
        state.error_rate = event.args["rate"]
        self._later(event.args["seconds"], lambda: setattr(state, "error_rate", 0.0))

    def database_full(self, event: Event) -> None:
        faults = self._dc(event).database_faults
        faults.full = True
        self._later(event.args["seconds"], lambda: setattr(faults, "full", False))

    def commit_fails(self, event: Event) -> None:
        """A transaction fails at its very end, and has no effect."""
        self._dc(event).fail_commit(event.args["calls"], after=False)

    def commit_lost(self, event: Event) -> None:
        """A transaction is durable, and is said to have failed."""
        self._dc(event).fail_commit(event.args["calls"], after=True)

    # -- old backups ----------------------------------------------------------------------------

    def old_backup(self, event: Event) -> None:
        """A DC's database is copied; after a while the machine dies, and the copy takes the
        database's place. The copy is of a DC that has the peers that it has later, and clocks that
        are about right: one that is put back *and* has its clock put back cannot be told from one
        that is new, and who is put back to before a pairing knows nothing of that peer."""
        dc = self._dc(event)
        if not dc.ready or not dc.names.peers() or self._skewed():
            return
        copies, peers = dc.copy_databases(), _peers(dc)
        copied_at = self._world.loop.time()
        self._later(event.args["seconds"], lambda: self._put_back(dc, copies, copied_at, peers))
        if "alone" in event.args:
            early = min(event.args["early"], event.args["seconds"])
            alone = early + event.args["alone"]
            self._later(event.args["seconds"] - early, lambda: self._alone(dc, alone))

    def _skewed(self) -> bool:
        plan = self._world.plan
        return any(event.kind == "skew" for event in plan.events)

    def _put_back(self, dc: Dc, copies: list[bytes], copied_at: float, peers: list[str]) -> None:
        # Who is paired meanwhile must be paired again, by operators.
        if dc in self._world.left or _peers(dc) != peers:
            return
        dc.kill(silent=True)
        dc.put_back(copies)
        self._world.forgotten(dc, copied_at)

    def _alone(self, dc: Dc, seconds: float) -> None:
        """It reaches nobody for a while: what it says of itself it says unhelped, and what it had
        said before it was put back may come later than that."""
        fabric = self._world.fabric
        others = [other.name for other in self._world.dcs if other is not dc]
        ways = [way for other in others for way in ((dc.name, other), (other, dc.name))]
        for way in ways:
            fabric.block(*way, 1)

        def end() -> None:
            for way in ways:
                fabric.block(*way, -1)

        self._later(seconds, end)

    # -- leaving --------------------------------------------------------------------------------

    def leave(self, event: Event) -> None:
        """A DC leaves for ever: it removes the others, or they remove it, or both; perhaps it is
        dead when they do."""
        self._world.leave(self._dc(event), event.args["how"])

    def database_errors(self, event: Event) -> None:
        faults = self._dc(event).database_faults
        faults.error_rate = event.args["rate"]
        self._later(event.args["seconds"], lambda: setattr(faults, "error_rate", 0.0))


def _peers(dc: Dc) -> list[str]:
    """The ids of those it is paired with."""
    return [row[0] for row in dc.tables.execute("SELECT dc_id FROM peers ORDER BY 1")]
