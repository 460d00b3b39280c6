"""One datacenter of the simulation: the real name server, object store and replicator on
simulated time, disk, database and network.

What survives a process is here (identity, disk, database file); what a process is made of is made
anew at each start, in the context of a `Node`, and dies with it.
"""

import asyncio
import contextlib
import hashlib
import random
import re
import sqlite3
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any

from sim_database import DatabaseFaults, SimDatabases, open_memory
from sim_disk import DiskState, SimDisk
from sim_loop import Node, SimLoop, SimTask
from sim_network import PORT, Fabric, SimNetwork
from sim_notary import ProvingDc
from sim_plan_notary import Proving

from dc.accounts import Accounts
from dc.broker import Broker
from dc.names.model import Version
from dc.names.service import SqliteNames, open_names
from dc.objects.compaction import Compactor
from dc.objects.format import container_of
from dc.objects.settings import CompactionSettings
from dc.objects.store import ContainerStore
from dc.stamps import Stamp
from dc.worker import Worker
from notary.service import Notary
from replicator.service import Replicator
from tokens.identity import Identity
from tokens.place import Place
from tokens.secret_store import SecretStore

_WORLDS = count(1)
_POINTING = {"versions": "extents", "conflicts": "extents", "parts": "record", "inbox": "extents"}
_CONTAINER = re.compile(r"\[(\d{15,20}),")
EPOCH_MS = 1_800_000_000_000
"""When simulated time begins."""


class SimClock:
    """A DC's clocks: the wall clock is wrong by `skew_ms` and by `drift`."""

    def __init__(self, loop: SimLoop) -> None:
        self.skew_ms = 0
        self.drift = 0.0
        self._loop = loop

    def wall_ms(self) -> int:
        return EPOCH_MS + int(self._loop.time() * (1 + self.drift) * 1000) + self.skew_ms

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SimRandomness:
    """Seeded chance."""

    def __init__(self, seed: str) -> None:
        self._rng = random.Random(seed)

    def token(self, count: int) -> bytes:
        return self._rng.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._rng.uniform(low, high)


class Dc:
    """See the head of the file. `boots` counts starts."""

    broker: Broker | None = None

    def __init__(
        self,
        loop: SimLoop,
        fabric: Fabric,
        name: str,
        seed: str,
        container_max: int,
        compaction: CompactionSettings | None = None,
        proving: Proving | None = None,
    ) -> None:
        self.name = name
        self.loop = loop
        self.fabric = fabric
        self.clock = SimClock(loop)
        self.boots = 0
        self.dead: list[Node] = []
        self.went_down: Callable[[Dc], None] = lambda _: None
        """Called when a process has ended or died."""
        self.broken = ""
        """Why the last start failed."""
        self._seed = f"{seed}/{name}"
        self._container_max = container_max
        self.compaction = compaction
        folder = Path(f"/{next(_WORLDS)}")
        self._database = folder / f"{name}.db"
        self.proving: ProvingDc | None = None
        """What it has for its notary, in a world with notaries."""
        if proving is not None:
            number = int(name.removeprefix("dc"))
            self.proving = ProvingDc(folder / f"{name}-log.db", number, proving)
        self.tables = open_memory(self._database)
        """To look at what is stored. The database is there until this is closed."""
        self._root = Path("/") / name
        rng = random.Random(f"{self._seed}/disks")
        self.disk_state = DiskState(rng)
        self.database_faults = DatabaseFaults(rng)
        randomness = SimRandomness(f"{self._seed}/identity")
        self.identity = Identity.generate(randomness.token)
        self._data_key = randomness.token(32)
        self.node: Node | None = None
        self.ready = False
        self.names: SqliteNames
        self.objects: ContainerStore
        self.accounts: Accounts
        self.replicator: Replicator
        self.compactor: Compactor | None = None
        self._worker: Worker | None = None
        self._disk: SimDisk
        self.databases: SimDatabases
        self.notary: Notary | None = None

    @property
    def dc_id(self) -> str:
        return self.identity.dc_id

    # -- processes ------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> SimTask:
        """A task of this DC's process: it dies with it."""
        assert self.node is not None
        return self.loop.create_task(work, name=name, context=self.node.context.copy())

    def boot(self) -> SimTask:
        """Start a process."""
        assert self.node is None
        self.boots += 1
        self.broken = ""
        self.node = Node(self.name)
        self.loop.note(f"{self.name} starts")
        return self.spawn(self._boot(), f"boot of {self.name}")

    async def _boot(self) -> None:
        node = self.node
        try:
            await self._open()
        except Exception as error:
            # The process ends with its error; somebody starts it again.
            self.broken = f"{type(error).__name__}: {error}"
            self.loop.note(f"{self.name} cannot start: {self.broken}")
            self.loop.call_soon(self._end_of, node)
            return
        self.ready = True

    def _end_of(self, node: Node | None) -> None:
        if self.node is node:
            self.kill(silent=False)

    async def _open(self) -> None:
        randomness = SimRandomness(f"{self._seed}/{self.boots}")
        self._disk = SimDisk(self.disk_state, lambda: self.kill(silent=True))
        self.databases = SimDatabases(
            self.loop, self.database_faults, lambda: self.kill(silent=True)
        )
        self.fabric.up.add(self.name)
        secrets = SecretStore(self._data_key, randomness.token)
        self.names = await open_names(
            self._database,
            databases=self.databases,
            clock=self.clock,
            randomness=randomness,
            dc_id=self.dc_id,
        )
        self.objects = ContainerStore(
            self._root,
            disk=self._disk,
            clock=self.clock,
            randomness=randomness,
            container_max_bytes=self._container_max,
        )
        await self.objects.open()
        self.compactor, self._worker = None, None
        if self.compaction is not None:
            self.compactor = Compactor(self.names, self.objects, self.clock, self.compaction)
            self._worker = Worker("compaction", self.clock, self.compactor.step, 2.0)
            self._worker.start()
        self.accounts = Accounts(self.names, secrets, randomness)
        self.replicator = Replicator(
            names=self.names,
            objects=self.objects,
            identity=self.identity,
            own=self._own,
            secrets=secrets,
            tls=None,  # type: ignore[arg-type]
            clock=self.clock,
            randomness=randomness,
            network=SimNetwork(self.fabric, self.name),
            broker=self.broker,
        )
        if self.proving is not None:
            self.notary = await self.proving.open(self)
            if self.names.directory.site(self.dc_id) is None:
                await self.names.put_site(self.name, f"region-{self.name}")
        await self.replicator.start("0.0.0.0", PORT)
        if self.notary is not None:
            self.notary.start()

    def _own(self, port: int) -> Place:
        pin = hashlib.sha256(self.name.encode()).hexdigest()
        return Place(self.name, f"region-{self.name}", (f"{self.name}.test:{port}",), pin)

    def kill(self, silent: bool) -> None:
        """The process dies this moment; `silent`: its machine with it."""
        node = self.node
        if node is None:
            return
        self.loop.note(f"{self.name} is killed{' with its machine' if silent else ''}")
        self.node, self.ready = None, False
        self.loop.kill(node)
        self.dead.append(node)
        self.fabric.host_down(self.name, silent)
        if hasattr(self, "_disk"):
            self._disk.dead = True
            self.databases.crash()
        if silent:
            self.disk_state.crash()
        self.went_down(self)

    async def stop(self) -> None:
        """End the process in an orderly way; to be spawned in it."""
        self.ready = False
        if self._worker is not None:
            await self._worker.stop()
        if self.notary is not None:
            await self.notary.stop()
        await self.replicator.stop()
        await self.objects.close()
        await self.names.close()
        node = self.node
        assert node is not None
        self.loop.note(f"{self.name} has stopped")
        self.fabric.host_down(self.name, silent=False)
        self.node = None
        node.alive = False
        self.dead.append(node)
        self.went_down(self)

    def burn(self, disk: int, database: int, after: bool) -> None:
        """The machine dies at the n-th call of its disk or unit of work of its database from now,
        before or after the effect. 0 is never."""
        if self.node is not None and hasattr(self, "_disk"):
            self._disk.fuse, self.databases.fuse = disk, database
            self._disk.fuse_after = self.databases.fuse_after = after and disk + database > 0

    def fail_commit(self, calls: int, after: bool) -> None:
        """The n-th commit from now fails, before or after it has taken effect. 0 is never."""
        if self.node is not None and hasattr(self, "databases"):
            self.databases.commit_fuse, self.databases.commit_after = calls, after

    def copy_databases(self) -> list[bytes]:
        """The database as it is now, as a backup would have it; and the notary's, if that is to be
        put back as well."""
        return [tables.serialize() for tables in self._backed_up()]

    def _backed_up(self) -> list[sqlite3.Connection]:
        if self.proving is None or not self.proving.terms.restored:
            return [self.tables]
        return [self.tables, self.proving.tables]

    def put_back(self, copies: list[bytes]) -> None:
        """Put what was copied back."""
        assert self.node is None
        for copy, tables in zip(copies, self._backed_up(), strict=True):
            with contextlib.closing(sqlite3.connect(":memory:")) as old:
                old.deserialize(copy)
                old.backup(tables)

    # -- what a client sees ----------------------------------------------------------------------

    async def body(self, version: Version) -> bytes:
        pieces = []
        if version.size:
            extents = version.extents
            small = self.objects.read_cached(extents)
            if small is not None:
                return small
            pieces = [bytes(p) async for p in self.objects.read(extents, 0, version.size)]
        return b"".join(pieces)

    def useless(self) -> set[int]:
        """Containers that nobody writes to and no name points into."""
        pointed = {
            container
            for table, columns in _POINTING.items()
            for (text,) in self.tables.execute(f"SELECT {columns} FROM {table}")
            for container in map(int, _CONTAINER.findall(text))
        }
        there = {container_of(path.name) for path in self.disk_state.names}
        return {one for one in there if one} - self.objects.unsealed() - pointed

    async def stamp_of(self, bucket_id: str, key: str, vid: str) -> Stamp:
        """The stamp of the version or tombstone that is here, or ""."""
        await self.names.version(bucket_id, key, vid)
        return self.write_of(bucket_id, key, vid)[0]

    def write_of(self, bucket_id: str, key: str, vid: str) -> tuple[Stamp, str]:
        """(stamp, what it had seen) of the version or tombstone that is here; "" if none."""
        number = self.names.directory.number(bucket_id)
        for table in ("versions", "tombstones"):
            row = self.tables.execute(
                f"SELECT stamp, seen FROM {table} WHERE bucket = ? AND key = ? AND vid = ?",
                (number, key, vid),
            ).fetchone()
            if row:
                return row[0], row[1]
        return "", ""

    def kept_of(self, bucket_id: str, key: str) -> set[Stamp]:
        """The stamps of all writes of a null item that are known here as conflicts."""
        number = self.names.directory.number(bucket_id)
        rows = self.tables.execute(
            "SELECT stamp FROM conflicts WHERE bucket = ? AND key = ? AND vid = ''", (number, key)
        )
        return {row[0] for row in rows}
