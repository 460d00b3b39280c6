"""A gateway's session with names and objects of this process, over real sockets of the loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from dc.names.model import Version
from dc.names.service import SqliteNames, open_names
from dc.notary import Proofs
from dc.objects.api import ObjectStore
from dc.objects.store import ContainerStore
from dc.ports import Clock
from dc.read_through import Others
from dc.remote import wire
from dc.remote.copies import Copies
from dc.remote.link import Link
from dc.remote.server import Serving
from dc.remote.session import Session
from dc.remote.wire import Settings, Welcome
from dc.system import SystemClock, SystemDatabases, SystemDisk, SystemRandomness
from dc.worker import spawn

SETTINGS = Settings(
    name="paris",
    region="paris",
    base_domains=["s3.localhost", "localhost"],
    website_domains=["s3-website.localhost"],
    signature_v2=False,
    ssec_over_http=False,
    notifications=False,
    access_log_ms=300_000,
)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def streams() -> tuple[Streams, Streams]:
    """Both ends of a connection."""
    other: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other.set_result((reader, writer))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    mine = await asyncio.open_connection(host, port)
    theirs = await other
    server.close()
    return mine, theirs


def no_mark(_: Version) -> str:
    return ""


class Pair:
    """A session, and who serves it."""

    def __init__(self, session: Session, serving: Serving) -> None:
        self.session = session
        self.serving = serving
        self.loaded = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def begin(
    names: SqliteNames,
    objects: ObjectStore,
    copies: Copies,
    *,
    clock: Clock | None = None,
    mark: Callable[[Version], str] = no_mark,
    links: int = wire.LINKS,
    others: Others | None = None,
    proofs: Proofs | None = None,
) -> Pair:
    """A session that is loaded."""
    pairs = [await streams() for _ in range(links)]
    asked = [Link(*mine, wire.decode_asked) for mine, _ in pairs]
    told = [Link(*theirs, wire.decode_told) for _, theirs in pairs]
    made: Pair
    session = Session(told, clock or SystemClock(), lambda _: made.loaded.set())
    made = Pair(session, Serving(asked, names, objects, mark, copies, others, proofs))
    welcome = Welcome(names.dc_id, SETTINGS, bytes(32))
    made.tasks = [
        spawn(_quiet(made.serving.run(welcome, names.directory)), "serving"),
        spawn(_quiet(session.run()), "session"),
    ]
    await asyncio.wait_for(made.loaded.wait(), 10)
    return made


async def _quiet(work: object) -> None:
    with suppress(OSError):
        await work  # type: ignore[misc]


@asynccontextmanager
async def datacenter(
    root: Path, dc_id: str = "00000000000000aa"
) -> AsyncIterator[tuple[SqliteNames, ContainerStore]]:
    """The names and objects of one, on the machine's disk."""
    clock, randomness = SystemClock(), SystemRandomness()
    names = await open_names(
        root / "names.db",
        databases=SystemDatabases(),
        clock=clock,
        randomness=randomness,
        dc_id=dc_id,
    )
    objects = ContainerStore(root, disk=SystemDisk(), clock=clock, randomness=randomness)
    await objects.open()
    yield names, objects
    await objects.close()
    await names.close()


@asynccontextmanager
async def remote_session(
    names: SqliteNames,
    objects: ObjectStore,
    mark: Callable[[Version], str] = no_mark,
    others: Others | None = None,
    proofs: Proofs | None = None,
) -> AsyncIterator[Session]:
    copies = Copies(SystemClock())
    names.copies = copies
    pair = await begin(names, objects, copies, mark=mark, others=others, proofs=proofs)
    try:
        yield pair.session
    finally:
        await pair.end()
