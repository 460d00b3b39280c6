"""Whole DCs in one process for the replicator's tests: real names, objects, TLS, loopback."""

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from awscrt.checksums import crc64nvme

from dc.accounts import Accounts
from dc.broker import Broker
from dc.names.model import Bucket, Kind, Meta, Tombstone, Version
from dc.names.service import SqliteNames, open_names
from dc.objects.ident import version_ident
from dc.objects.store import ContainerStore
from dc.stamps import version_id
from dc.system import (
    SystemClock,
    SystemDatabases,
    SystemDisk,
    SystemListener,
    SystemNetwork,
    SystemRandomness,
)
from replicator.channel import server_context
from replicator.link import Link
from replicator.service import Replicator
from replicator.status import PeerStatus
from tokens.certificate import make_certificate
from tokens.fingerprint import fingerprint
from tokens.identity import Identity
from tokens.place import Place
from tokens.secret_store import SecretStore

OWNER = "a" * 64
DISK = SystemDisk()


class Network(SystemNetwork):
    """It closes its listeners in two steps. asyncio forgets a connection that it accepted in the
    very turn of the loop in which the listener is closed: nobody closes it (`Server._attach` of
    Python 3.11 fails). So listeners accept nothing more first. uvloop, on which datacenters run,
    has no such gap."""

    async def listen(
        self, server: Callable[[], asyncio.Protocol], host: str, port: int, tls: ssl.SSLContext
    ) -> SystemListener:
        loop = asyncio.get_running_loop()
        return _Listener(await loop.create_server(server, host, port, ssl=tls))


class _Listener(SystemListener):
    async def close(self) -> None:
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        await asyncio.sleep(0)
        await super().close()


class SkewedClock(SystemClock):
    """A wall clock that a test can set wrong."""

    skew_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.skew_ms


class Dc:
    """One DC on a folder; `up` and `down` restart it on what is on disk."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root / name
        self.name = name
        self.clock = SkewedClock()
        self.randomness = SystemRandomness()
        self.identity = Identity.generate(self.randomness.token)
        self.data_key = self.randomness.token(32)
        self.port = 0
        self.broker: Broker | None = None
        self.advertised: list[str] = []
        self.root.mkdir()
        not_before = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        self.certificate, key = make_certificate(self.identity.dc_id, not_before)
        (self.root / "cert.pem").write_bytes(self.certificate)
        (self.root / "key.pem").write_bytes(key)
        self.tls = server_context(self.root / "cert.pem", self.root / "key.pem")
        self.names: SqliteNames
        self.objects: ContainerStore
        self.accounts: Accounts
        self.replicator: Replicator
        self._servers: list[asyncio.Server] = []

    @property
    def dc_id(self) -> str:
        return self.identity.dc_id

    async def open(self) -> None:
        """Names and objects, without the replicator."""
        self.secrets = SecretStore(self.data_key, self.randomness.token)
        self.names = await open_names(
            self.root / "names.db",
            databases=SystemDatabases(),
            clock=self.clock,
            randomness=self.randomness,
            dc_id=self.dc_id,
        )
        self.objects = ContainerStore(
            self.root, disk=DISK, clock=self.clock, randomness=self.randomness
        )
        await self.objects.open()
        self.accounts = Accounts(self.names, self.secrets, self.randomness)

    def own(self, port: int) -> Place:
        endpoints = tuple(self.advertised or [f"127.0.0.1:{port}"])
        return Place(self.name, "eu", endpoints, fingerprint(self.certificate))

    async def start(self) -> None:
        self.replicator = Replicator(
            names=self.names,
            objects=self.objects,
            identity=self.identity,
            own=self.own,
            secrets=self.secrets,
            tls=self.tls,
            clock=self.clock,
            randomness=self.randomness,
            network=Network(),
            broker=self.broker,
        )
        self.port = await self.replicator.start("127.0.0.1", self.port)
        listener = self.replicator._listener
        assert isinstance(listener, SystemListener)
        self._servers.append(listener._server)

    async def let_go(self) -> None:
        """Return when the connections to a replicator that was stopped are closed: those in the
        middle of their handshake end by themselves, in the loop's next turns."""
        await eventually(lambda: not any(server._active_count for server in self._servers))  # type: ignore[attr-defined]

    async def up(self) -> None:
        await self.open()
        await self.start()

    async def down(self) -> None:
        await self.replicator.stop()
        await self.objects.close()
        await self.names.close()

    # -- what a gateway does --------------------------------------------------------------------

    async def bucket(self, name: str = "photos") -> Bucket:
        return await self.names.create_bucket(name, OWNER, "eu")

    async def put(self, bucket: Bucket, key: str, body: bytes, versioned: bool = False) -> Version:
        stamp = self.names.clock.now()
        version = Version(
            bucket=bucket.id,
            key=key,
            vid=version_id(stamp) if versioned else "",
            stamp=stamp,
            kind=Kind.OBJECT,
            size=len(body),
            etag="d" * 32,
            meta=Meta(content_type="text/plain", crc64=crc64nvme(body), user={"who": "ännä"}),
            extents=[],
        )
        extents = await self._store(version, body)
        version = Version(
            **{name: getattr(version, name) for name in version.__struct_fields__}
            | {"extents": extents}
        )
        await self.names.put(version)
        return version

    async def _store(self, version: Version, body: bytes) -> list:
        if len(body) <= 1 << 20:
            return await self.objects.put(version_ident(version), body)
        writer = self.objects.writer(b"large")
        for start in range(0, len(body), 1 << 20):
            await writer.write(body[start : start + (1 << 20)])
        return await writer.finish()

    async def delete(self, bucket: Bucket, key: str, vid: str = "") -> None:
        stamp = self.names.clock.now()
        await self.names.delete([Tombstone(bucket=bucket.id, key=key, vid=vid, stamp=stamp)])

    async def get(self, bucket: Bucket, key: str, vid: str = "") -> bytes | None:
        return await self.get_any(bucket.id, key, vid)

    async def get_any(self, bucket_id: str, key: str, vid: str = "") -> bytes | None:
        version = await self.names.version(bucket_id, key, vid)
        if version is None:
            return None
        pieces = []
        if version.size:
            pieces = [p async for p in self.objects.read(version.extents, 0, version.size)]
        body = b"".join(pieces)
        assert len(body) == version.size
        assert crc64nvme(body) == version.meta.crc64, "bytes that nobody wrote"
        return body

    def peer(self, other: "Dc") -> PeerStatus:
        for peer in self.replicator.status().peers:
            if peer.dc_id == other.dc_id:
                return peer
        raise AssertionError("not a peer")


@contextlib.asynccontextmanager
async def datacenters(root: Path, *names: str) -> AsyncIterator[list[Dc]]:
    """DCs that are up and know nothing of each other."""
    dcs = [Dc(root, name) for name in names]
    for dc in dcs:
        await dc.up()
    try:
        yield dcs
    finally:
        for dc in dcs:
            await dc.down()
        for dc in dcs:
            await dc.let_go()


async def pair(one: Dc, other: Dc) -> None:
    report = await other.replicator.join(one.replicator.issue_token().token)
    assert report.complete, report.steps


def link(one: Dc, other: Dc) -> Link:
    """Of one to the other."""
    found = one.replicator._peers.link(other.dc_id)
    assert found is not None
    return found


Check = Callable[[], bool | Awaitable[bool]]


async def eventually(check: Check, seconds: float = 15.0) -> None:
    """Return when `check` holds."""
    for _ in range(int(seconds / 0.01)):
        found = check()
        if not isinstance(found, bool):
            found = await found
        if found:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to be in time")


async def settled(*dcs: Dc) -> None:
    """Return when every DC has acknowledged all that its peers have."""

    def quiet() -> bool:
        return all(
            peer.behind == 0 and peer.our_behind == 0 and peer.state in ("STREAMING", "IDENTICAL")
            for dc in dcs
            for peer in dc.replicator.status().peers
        )

    try:
        await eventually(quiet)
    except AssertionError:
        states = [peer for dc in dcs for peer in dc.replicator.status().peers]
        raise AssertionError(f"it did not settle: {states}") from None


def new_epoch(dc: Dc) -> None:
    """As if its name server had been made anew: it recognises no cursor."""
    dc.names.knowledge.epoch = "0123456789abcdef"
    dc.names.knowledge._ends.clear()
