"""The notary of one DC, put together: the log, its checkpoints, witnessing, mirrors, hooks."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from sqlite3 import Connection, Error
from typing import Any

import structlog

from dc.channel import Answer, CannotAnswer, Channel, ChannelFailed
from dc.names.api import Names
from dc.names.model import Peer
from dc.notary import Proven
from dc.ports import Clock
from dc.stamps import Stamp, utc_text
from dc.worker import Worker, spawn
from notary import tables
from notary.catching_up import CatchUp, is_used
from notary.certificate import certificate_of
from notary.errors import NotaryError, NotaryRefused
from notary.hook_threads import Calls, HookThread
from notary.hooks import Hook
from notary.log import READERS, LogWriter
from notary.mirror import LOGS_CALL, MIRROR_SECONDS, PULL_CALL, Mirror, MirrorServer
from notary.note import Key, log_key, origin_of, witness_key
from notary.publishing import WITNESS_CALL, Publisher, encode_reply, has_signed, is_witness
from notary.restoring import OwnLog
from notary.running import HookRunner, forget_hook
from notary.store import Store
from notary.witness import REQUEST_BYTES_MAX, Reply, Witness
from tokens.identity import Identity

log = structlog.get_logger("notary")

MIRROR_SECONDS_MAX = 60.0
"""How long one peer's mirrors are worked at before it counts as one that does not answer."""
START_SECONDS = 1.0
"""How often peers are asked until the own log is known to be whole."""
IDLE_SECONDS = 600.0
"""How often peers are asked for logs where nothing is known to be notarized. It may have been: a
bucket that was deleted and made again has its settings no more, and its entries are in a log."""


class Notary:
    """Make it in the event loop, `open` it, `start` its works; `stop` it before names close."""

    def __init__(
        self,
        *,
        names: Names,
        store: Store,
        identity: Identity,
        name: str,
        channel: Channel,
        clock: Clock,
        hooks: Sequence[Hook] = (),
        calls: Callable[[str], Calls] = HookThread,
    ) -> None:
        """`calls`: where those of a hook of that name run."""
        self._names = names
        self._store = store
        self._identity = identity
        self.name = name
        self._clock = clock
        self.log = LogWriter(names, store, identity, name, clock)
        self.witness = Witness(store, identity, clock)
        self.publisher = Publisher(store, identity, channel, names.peers, clock, self.log.appended)
        outbox, dc_id = names.notary_outbox, names.dc_id
        self._own_log = OwnLog(store, outbox, dc_id, clock, names.peers)
        self._mirror = Mirror(names, store, channel, self.witness, clock, self._own_log.shown)
        self.witness.fetch = self._mirror.fetch
        self._mirroring: dict[str, asyncio.Task[None]] = {}
        self._mirrored_at: dict[str, float] = {}
        self._idle_until = clock.monotonic()
        self._mirror_errors: dict[str, str] = {}
        self._catching_up = CatchUp(names, store)
        self._calls = calls
        self._runners = [self._runner(hook) for hook in hooks]
        self._changing_hooks = asyncio.Lock()
        self._runs = False
        self._proven = Proven()
        self._looking_failed = ""
        """Why it was not found last whether a version is proven."""
        self._workers = [
            Worker("notary log", clock, self._log_step),
            *(Worker(f"notary reading {n + 1}", clock, self.log.read_step) for n in range(READERS)),
            Worker("notary checkpoints", clock, self._publish_step),
            Worker("notary mirrors", clock, self._mirror_step),
            Worker("notary news", clock, self._news_step),
            Worker("notary catching up", clock, self._catch_up_step),
        ]
        server = MirrorServer(store)
        channel.serve(
            {
                WITNESS_CALL: _answering(self._cosign),
                LOGS_CALL: _answering(server.logs),
                PULL_CALL: _answering(server.pull),
            }
        )

    async def open(self) -> None:
        """NotaryError when the database is another DC's."""
        await self.log.open()
        await self._catching_up.open()
        await self._store.act(lambda db: tables.raise_serial(db, self._clock.wall_ms()))

    def start(self) -> None:
        self._runs = True
        for worker in self._all_workers():
            worker.start()

    async def stop(self) -> None:
        self._runs = False
        for worker in self._workers:
            await worker.stop()
        under_way = list(self._mirroring.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        async with self._changing_hooks:
            await asyncio.gather(*(runner.stop() for runner in self._runners))
        await self._store.close()

    def _all_workers(self) -> list[Worker]:
        return [*self._workers, *(one.worker for one in self._runners)]

    @property
    def store(self) -> Store:
        return self._store

    # -- what gateways ask (`dc.notary.Proofs`) -------------------------------------------------

    async def is_proven(self, written: Stamp) -> bool:
        if written in self._proven:
            return True
        try:
            place = await self._store.read(lambda db: tables.place_of(db, written))
        except Error as error:
            # Objects are read all the same: this is asked for a header of the answer.
            if not self._looking_failed:
                log.error("the notary's database cannot be read", error=str(error))
            self._looking_failed = f"{type(error).__name__}: {error}"
            return False
        self._looking_failed = ""
        if place is None or not place.is_sealed:
            return False
        self._proven.add(written)
        return True

    async def certificate(self, written: Stamp) -> bytes | None:
        return await self._store.read(partial(_certificate, written))

    # -- what operators ask -----------------------------------------------------------------------

    async def public_keys(self) -> list[tuple[Key, str]]:
        """The keys of this DC's log and witness, and of its peers', each with its DC's name. Not
        those that came with mirrored logs: nobody has compared them."""
        known = {self._identity.public.signing_key: self.name}
        known |= {peer.signing_key: peer.name for peer in self._names.peers()}
        return [(make(key), name) for key, name in known.items() for make in (log_key, witness_key)]

    async def set_hook(self, name: str, hook: Hook | None) -> None:
        """Run a hook in place of that of this name, or none any more."""
        async with self._changing_hooks:
            for runner in [one for one in self._runners if one.hook.name == name]:
                await runner.stop()
                self._runners.remove(runner)
            if hook is None:
                return
            hook.name = name
            runner = self._runner(hook)
            self._runners.append(runner)
            if self._runs:
                runner.worker.start()

    async def forget_hook(self, name: str) -> None:
        """Run it no more, and forget how far it is: one that is set under this name later begins
        with what comes from then on."""
        await self.set_hook(name, None)
        await self._store.act(lambda db: forget_hook(db, name))

    def _runner(self, hook: Hook) -> HookRunner:
        calls = self._calls(hook.name)
        return HookRunner(hook, calls, self._store, self._identity, self._clock)

    async def forget_alarm(self, number: int) -> None:
        """NotaryRefused when there is no such alarm."""
        if not await self._store.act(lambda db: tables.forget_alarm(db, number)):
            raise NotaryRefused(f"there is no alarm {number}: see `farshore notary status`")

    async def accept_loss(self) -> None:
        """Let the log go on without what it has signed and nobody gives back. NotaryRefused."""
        lacking = self._own_log.waits_for
        await self._own_log.accept()
        log.warning("the log goes on without entries that it had signed", lacking=lacking)

    async def status(self) -> dict[str, Any]:
        """For people and programs."""
        waiting = await self._names.notary_outbox.waiting()
        logs, alarms, last = await self._store.read(self._shown)
        own = next(one for one in logs if one.origin == origin_of(self._names.dc_id))
        peers = self._names.peers()
        names = {peer.dc_id: peer.name for peer in peers}
        return {
            "origin": own.origin,
            "entries": own.size,
            "published": own.sealed,
            "waiting": waiting,
            "to_read": self.log.aside,
            "unreadable": self.log.to_read.failing,
            "lost": self.log.lost,
            "restoring": self._own_log.waits_for,
            "checkpoint": "" if last is None else str(last),
            "witnesses": [
                {
                    "name": peer.name,
                    "signed": last is not None and has_signed(last, peer),
                    "reason": _not_asked(peer) or self.publisher.refusals.get(peer.dc_id, ""),
                }
                for peer in peers
            ],
            "mirrors": [
                {
                    "origin": one.origin,
                    "name": self._name_of(one.origin),
                    "entries": one.size,
                    "published": one.sealed,
                    "error": self._mirror_errors.get(one.origin.rpartition("/")[2], ""),
                }
                for one in logs
                if one is not own
            ],
            "alarms": [
                {
                    "id": one.id,
                    "time": utc_text(one.time_ms),
                    "origin": one.origin,
                    "name": self._name_of(one.origin),
                    "reason": one.reason,
                    "text": one.text,
                    "known": one.known,
                    "shown": one.shown,
                }
                for one in alarms
            ],
            "hooks": [
                {
                    "name": one.hook.name,
                    "entries": one.position[0],
                    "behind": own.size - one.position[0] if one.hook.entries_max else 0,
                    "checkpoint": one.position[1],
                    "failures": one.worker.failures_in_a_row,
                    "error": one.worker.last_error,
                }
                for one in self._runners
            ],
            "errors": self._errors(names),
        }

    def _errors(self, names: Mapping[str, str]) -> dict[str, str]:
        """What works failed with last, by their names. `names`: those of peers, by their ids."""
        found = {one.name: one.last_error for one in self._all_workers() if one.last_error}
        if self._looking_failed:
            found["notary database"] = self._looking_failed
        if self._own_log.waits_for:
            found["notary log"] = f"it waits for its entries: {self._own_log.waits_for}"
        if self.log.to_read.failing:
            found["notary reading"] = self.log.to_read.last_error
        for dc_id, error in self._mirror_errors.items():
            found[f"mirroring from {names.get(dc_id, dc_id)}"] = error
        return found

    def _shown(self, db: Connection) -> Any:
        logs = tables.logs(db)
        own = next(one for one in logs if one.origin == origin_of(self._names.dc_id))
        return logs, tables.alarms(db), tables.checkpoint_at(db, own.number, own.sealed)

    def _name_of(self, origin: str) -> str:
        site = self._names.directory.site(origin.rpartition("/")[2])
        return site.name if site else ""

    # -- works ------------------------------------------------------------------------------------

    def _changed(self) -> None:
        for runner in self._runners:
            runner.tell()

    async def _news_step(self) -> float:
        """Tell the hooks of checkpoints, and of entries, which come with one."""
        await self.publisher.published.wait()
        self.publisher.published.clear()
        self._changed()
        return 0

    async def _log_step(self) -> float:
        await self._own_log.wait()
        return await self.log.step()

    async def _publish_step(self) -> float:
        if not self._own_log.is_whole:
            await self._own_log.wait()
            # What has come back is news to hooks, and has its checkpoints already.
            self._changed()
        return await self.publisher.step()

    async def _catch_up_step(self) -> float:
        await self._own_log.wait()
        return await self._catching_up.step()

    async def _cosign(self, body: bytes, peer: Peer) -> bytes:
        if len(body) > REQUEST_BYTES_MAX:
            return encode_reply(Reply(400, "the request is too long\n"))
        return encode_reply(await self.witness.add_checkpoint(body, [peer], by_log=True))

    async def _mirror_step(self) -> float:
        """Let each peer's mirrors be looked after by itself: none waits for another. Where nothing
        is notarized peers are asked at the start, and seldom after that."""
        now, is_whole = self._clock.monotonic(), self._own_log.is_whole
        if is_whole and now < self._idle_until and not await self._is_used():
            return MIRROR_SECONDS
        self._idle_until = now + IDLE_SECONDS
        peers = {peer.dc_id: peer for peer in self._names.peers()}
        for dc_id, peer in peers.items():
            if dc_id not in self._mirroring:
                task = spawn(self._mirror_of(peer), f"mirrors of {peer.name}")
                self._mirroring[dc_id] = task
        for dc_id in set(self._mirror_errors) - set(peers):
            del self._mirror_errors[dc_id]
        return MIRROR_SECONDS if is_whole else START_SECONDS

    async def _is_used(self) -> bool:
        return is_used(self._names) or await self._store.read(tables.is_used)

    async def _mirror_of(self, peer: Peer) -> None:
        try:
            await self._mirror_now(peer)
        finally:
            del self._mirroring[peer.dc_id]

    async def _mirror_now(self, peer: Peer) -> None:
        now = self._clock.monotonic()
        if self._mirrored_at.get(peer.dc_id, now) > now:
            return
        try:
            async with asyncio.timeout(MIRROR_SECONDS_MAX):
                wait = await self._mirror.step(peer)
        except TimeoutError:
            self._mirror_errors[peer.dc_id] = "it did not answer in time"
            wait = MIRROR_SECONDS
        except Exception as error:
            known = isinstance(error, ChannelFailed | NotaryError)
            self._mirror_errors[peer.dc_id] = str(error) if known else repr(error)[:500]
            wait = MIRROR_SECONDS
        else:
            self._mirror_errors.pop(peer.dc_id, None)
        # The step itself comes every MIRROR_SECONDS.
        more = wait - MIRROR_SECONDS if self._own_log.is_whole else 0.0
        self._mirrored_at[peer.dc_id] = self._clock.monotonic() + more


def _not_asked(peer: Peer) -> str:
    """Why a peer is asked for no cosignature; "" when it is."""
    if is_witness(peer):
        return ""
    return "it is reached by files only" if peer.by_files else "it is paused"


def _answering(answer: Answer) -> Answer:
    async def answers(body: bytes, peer: Peer) -> bytes:
        try:
            return await answer(body, peer)
        except Error as error:
            raise CannotAnswer(f"the notary's database: {error}") from None

    return answers


def _certificate(written: Stamp, db: Connection) -> bytes | None:
    place = tables.place_of(db, written)
    return None if place is None else certificate_of(db, place)
