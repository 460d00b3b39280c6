"""Datacenters with a notary, on simulated time: real name servers, real databases, no sockets.

Calls between them are made here, and may be late, lost, or answered by a liar. A process may die at
any unit of work of its databases, and be started again on what it has left.
"""

import asyncio
import functools
import hashlib
import inspect
import json
import random
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from names_kit import OWNER
from notary_checker import verify_certificate
from notary_log_checker import WholeLog, verify_log
from notary_samples import ALPHA, BETA, DELTA, GAMMA, served, vkeys_of
from sim_database import DatabaseFaults, SimDatabases, open_memory
from sim_dc import SimClock, SimRandomness
from sim_loop import Node, SimLoop

from dc.channel import Answer, ChannelFailed
from dc.names.model import (
    Bucket,
    Extent,
    Kind,
    Meta,
    Peer,
    Register,
    Site,
    Tombstone,
    Upload,
    Version,
)
from dc.names.service import SqliteNames, open_names
from dc.notary import NOTARY, OFF, ON
from dc.objects.api import ObjectsError
from dc.stamps import Stamp, version_id
from notary import tables
from notary.hook_threads import Inline
from notary.hooks import Hook
from notary.note import Checkpoint
from notary.service import Notary
from notary.store import Store, open_store
from notary.tables import Alarm, Log
from tokens.identity import Identity

T = TypeVar("T")
IDENTITIES = {"paris": ALPHA, "tokyo": BETA, "oslo": GAMMA, "lima": DELTA}
_WORLDS = count(1)
HANGS = "hangs"
AWAY = "away"
LATENCY_S = 0.003


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Died(Exception):
    """The process that was to do it is no more."""


class World:
    """All datacenters, and how they reach each other."""

    def __init__(self) -> None:
        self.loop = SimLoop("notary")
        self.clock = SimClock(self.loop)
        self.number = next(_WORLDS)
        self.dcs: dict[str, Dc] = {}
        self.lines: dict[tuple[str, str], str] = {}
        """What is wrong between two DCs, by (who asks, who is asked)."""
        self.lies: dict[tuple[str, str], Callable[[bytes, Peer], Awaitable[bytes]]] = {}
        """What answers in place of (a DC, a call)."""
        self.calls: list[tuple[str, str, str]] = []
        """(who asked, who was asked, the call)"""

    async def dc(self, name: str, *hooks: Hook) -> "Dc":
        """A datacenter that runs."""
        made = Dc(self, name, hooks)
        self.dcs[made.dc_id] = made
        await made.start()
        return made

    async def until(
        self, wanted: Callable[[], object], seconds: float = 120.0, every: float = 0.05
    ) -> None:
        """Wait until it is so; AssertionError when it is not in time."""
        end = self.loop.time() + seconds
        while not wanted():
            assert self.loop.time() < end, f"not within {seconds} s: {inspect.getsource(wanted)}"
            await asyncio.sleep(every)

    async def close(self) -> None:
        for dc in self.dcs.values():
            with suppress(Died):
                await dc.stop()
        await self.loop.bury([node for dc in self.dcs.values() for node in dc.dead])
        for dc in self.dcs.values():
            dc.names_file.close()
            dc.log_file.close()


class Dc:
    """One datacenter. `names_file` and `log_file` are connections to look at its databases."""

    names: SqliteNames
    store: Store
    notary: Notary

    def __init__(self, world: World, name: str, hooks: Sequence[Hook] = ()) -> None:
        self.world = world
        self.name = name
        self.identity: Identity = IDENTITIES[name]
        self.dc_id = self.identity.dc_id
        self.hooks = hooks
        self.folder = Path(f"/notary-{world.number}/{name}")
        self.names_file = open_memory(self.folder / "names.db")
        self.log_file = open_memory(self.folder / "log.db")
        self.answers: dict[str, Answer] = {}
        self.bodies: dict[str, bytes] = {}
        """What was stored, by key."""
        self.reads: list[str] = []
        """The keys of objects that were read for their SHA-256."""
        self.digest: Callable[[Version], Awaitable[tuple[str, bool]]] = self.read_body
        self.faults = DatabaseFaults(random.Random(f"{name}/disk"))
        self.dead: list[Node] = []
        self.node: Node | None = None
        self._boots = 0

    # -- processes --------------------------------------------------------------------------

    async def start(self, *, notary: bool = True) -> None:
        """`notary`: its works run."""
        self.node = Node(self.name)
        self._died = asyncio.Event()
        self._boots += 1
        self.databases = SimDatabases(self.world.loop, self.faults, self.kill)
        await self.do(self._open())
        if notary:
            await self.do(self._run())

    async def _open(self) -> None:
        self.names = await open_names(
            self.folder / "names.db",
            databases=self.databases,
            clock=self.world.clock,
            randomness=SimRandomness(f"{self.name}/{self._boots}"),
            dc_id=self.dc_id,
        )
        self.store = await open_store(self.folder / "log.db", self.databases)
        self.notary = Notary(
            names=self.names,
            store=self.store,
            identity=self.identity,
            name=self.name,
            channel=self,
            clock=self.world.clock,
            hooks=self.hooks,
            calls=lambda _: Inline(),
        )
        await self.notary.open()
        self.notary.log.digest = lambda version: self.digest(version)

    async def _run(self) -> None:
        self.notary.start()

    def kill(self) -> None:
        """The process dies this moment."""
        node, self.node = self.node, None
        if node is not None:
            self.world.loop.kill(node)
            self.dead.append(node)
            self.databases.crash()
            self._died.set()

    async def stop(self) -> None:
        """In an orderly way."""
        if self.node is not None:
            await self.do(self._stop())
            self.node.alive = False
            self.dead.append(self.node)
            self.node = None

    async def _stop(self) -> None:
        await self.notary.stop()
        await self.names.close()

    async def start_again(self) -> None:
        await self.stop()
        await self.start()

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Something that this process does. Died when it dies of it."""
        if self.node is None:
            work.close()
            raise Died(self.name)
        task = self.world.loop.create_task(work, context=self.node.context.copy())
        death = asyncio.ensure_future(self._died.wait())
        await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        if not task.done():
            raise Died(self.name)
        return task.result()

    # -- backups ----------------------------------------------------------------------------

    def backup(self, file: sqlite3.Connection) -> bytes:
        return file.serialize()

    def put_back(self, file: sqlite3.Connection, copy: bytes) -> None:
        assert self.node is None
        with closing(sqlite3.connect(":memory:")) as old:
            old.deserialize(copy)
            old.backup(file)

    # -- what clients and operators do ------------------------------------------------------

    async def bucket(self, name: str = "photos", *, on: bool = True) -> Bucket:
        made = await self.do(self.names.create_bucket(name, OWNER, "eu"))
        if on:
            await self.switch(made, True)
        return self.names.directory.bucket_by_id(made.id) or made

    async def switch(self, bucket: Bucket, on: bool) -> Stamp:
        value = ON if on else OFF
        return await self.do(self.names.set_bucket_registers(bucket.id, {NOTARY: value}))

    def version(
        self, bucket: Bucket, key: str, *, vid: bool = False, read: bool = False
    ) -> Version:
        """As a gateway makes it. `vid`: with a version id; `read`: its SHA-256 is not known."""
        stamp = self.names.clock.now()
        body = self.bodies[key] = f"{key} {stamp}".encode()
        registers = {}
        now = self.names.directory.bucket_by_id(bucket.id)
        if now is not None and NOTARY in now.registers and now.registers[NOTARY].value == ON:
            registers = {NOTARY: Register(stamp, "-" if read else sha256(body))}
        return Version(
            bucket.id,
            key,
            version_id(stamp) if vid else "",
            stamp,
            Kind.OBJECT,
            len(body),
            sha256(body)[:32],
            Meta(),
            [Extent(1 << 60, 64, len(body))],
            registers=registers,
        )

    async def put(
        self, bucket: Bucket, key: str, *, vid: bool = False, read: bool = False
    ) -> Version:
        made = self.version(bucket, key, vid=vid, read=read)
        await self.do(self.names.put(made))
        return made

    async def delete(self, gone: Version) -> Tombstone:
        """For good."""
        stamp = self.names.clock.now()
        tombstone = Tombstone(bucket=gone.bucket, key=gone.key, vid=gone.vid, stamp=stamp)
        await self.do(self.names.delete([tombstone]))
        return tombstone

    async def upload(self, bucket: Bucket, key: str) -> str:
        made = Upload(
            id=f"u-{key}",
            bucket=bucket.id,
            key=key,
            owner=OWNER,
            started=self.names.clock.now(),
            meta=Meta(),
        )
        await self.do(self.names.create_upload(made))
        return made.id

    async def read_body(self, version: Version) -> tuple[str, bool]:
        """The SHA-256 of an object. What has no extents cannot be read."""
        self.reads.append(version.key)
        await asyncio.sleep(0.01)
        if not version.extents:
            raise ObjectsError("it is not there")
        return sha256(f"{version.key} {version.stamp}".encode()), True

    # -- the network ------------------------------------------------------------------------

    async def pair(self, *others: "Dc") -> None:
        """Both ways."""
        for other in others:
            await self.do(self.names.add_peer(other.as_peer()))
            await other.do(other.names.add_peer(self.as_peer()))
            await self.meet(other)
            await other.meet(self)

    async def meet(self, other: "Dc") -> None:
        """Hear of a datacenter, as the feed brings it."""
        stamp = other.names.clock.now()
        site = Site(dc_id=other.dc_id, name=other.name, region="eu", stamp=stamp)
        await self.do(self.names.apply([site]))

    async def hear(self, bucket: Bucket) -> None:
        """Of a bucket with its setting: the notary leaves peers alone where there is none."""
        await self.do(self.names.apply([bucket]))

    def as_peer(self) -> Peer:
        public = self.identity.public
        return Peer(
            dc_id=self.dc_id,
            name=self.name,
            region="eu",
            endpoints=[f"{self.name}.test:8444"],
            fingerprint="0" * 64,
            signing_key=public.signing_key,
            sealing_key=public.sealing_key,
            paired=f"{0:016x}{self.dc_id}",
        )

    async def call(self, dc_id: str, name: str, body: bytes) -> bytes:
        """See `dc.channel.Channel`."""
        other = self.world.dcs[dc_id]
        self.world.calls.append((self.name, other.name, name))
        trouble = self.world.lines.get((self.name, other.name))
        if trouble == HANGS:
            await asyncio.sleep(1e6)
        await asyncio.sleep(LATENCY_S)
        if trouble == AWAY or other.node is None:
            raise ChannelFailed(f"{other.name} cannot be reached")
        answer = self.world.lies.get((other.name, name)) or other.answers[name]
        given = await other.do(answer(body, self.as_peer()))  # type: ignore[arg-type]
        await asyncio.sleep(LATENCY_S)
        assert isinstance(given, bytes) and len(given) <= 16 << 20
        return given

    def serve(self, answers: Mapping[str, Answer]) -> None:
        """See `dc.channel.Channel`."""
        self.answers = dict(answers)

    # -- what is there ----------------------------------------------------------------------

    def log(self, of: "Dc | None" = None) -> Log:
        found = tables.log_of(self.log_file, f"farshore/{(of or self).dc_id}")
        return found or Log(0, "", b"", 0, 0)

    def lines(self, of: "Dc | None" = None) -> list[bytes]:
        log = self.log(of)
        return tables.page(self.log_file, log.number, 0, log.size)

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def told(self) -> list[tuple[str, str, str]]:
        """(type, key, stamp) of each entry."""
        return [(one["type"], one.get("key", ""), one["stamp"]) for one in self.entries()]

    def waiting(self) -> int:
        return int(self.names_file.execute("SELECT count(*) FROM notary_outbox").fetchone()[0])

    def checkpoint(self, of: "Dc | None" = None) -> Checkpoint:
        log = self.log(of)
        found = tables.checkpoint_at(self.log_file, log.number, log.sealed)
        assert found is not None
        return found

    def signers(self, of: "Dc | None" = None) -> set[str]:
        """The names of the DCs that have cosigned the last checkpoint."""
        names = {f"farshore/{dc.dc_id}/witness": dc.name for dc in self.world.dcs.values()}
        return {names.get(one.name, one.name) for one in self.checkpoint(of).witnesses}

    def alarms(self) -> list[Alarm]:
        return tables.alarms(self.log_file)

    def is_published(self) -> bool:
        return not self.waiting() and 0 < self.log().size == self.log().sealed

    async def published(self, seconds: float = 60.0) -> None:
        """Wait until all that was written is under a checkpoint."""
        await self.world.until(self.is_published, seconds)

    def has_all_of(self, other: "Dc") -> bool:
        """Whether the mirror is as far as the log that it is of."""
        mirrored, own = self.log(other), other.log()
        return (mirrored.size, mirrored.sealed) == (own.size, own.sealed) and own.sealed > 0

    async def certificate(self, version: Version) -> bytes:
        found = await self.do(self.notary.certificate(version.stamp))
        assert found is not None
        return found

    def verify(self, of: "Dc | None" = None, witnesses: int = 0) -> WholeLog:
        """The whole log, read by the second reader."""
        log = self.log(of)
        fetch = served(self.log_file, log, log.sealed).get
        return verify_log(fetch, vkeys_of(*IDENTITIES.values()), witnesses)


def verified(certificate: bytes, witnesses: int = 0) -> dict[str, Any]:
    """The entry of a certificate, read by the second reader."""
    return verify_certificate(certificate, vkeys_of(*IDENTITIES.values()), witnesses)


def played(scenario: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is played on simulated time; its first argument is the world."""

    @functools.wraps(scenario)
    def test(**arguments: Any) -> None:
        world = World()
        loop = world.loop

        async def play() -> None:
            try:
                await scenario(world, **arguments)
            finally:
                await world.close()

        try:
            loop.run_until_complete(play())
        finally:
            loop.close()
        assert loop.unhandled == []

    signature = inspect.signature(scenario)
    test.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=list(signature.parameters.values())[1:]
    )
    return test
