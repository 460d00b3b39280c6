"""`notary/web.py`, asked over real connections: the log as a second reader takes it, what is not
there (yet), paths that are to lead elsewhere, and the witness."""

import asyncio
import hashlib
import http.client
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from notary_checker import Missing, Truncated, mth, verify_checkpoint
from notary_log_checker import tile_path, verify_log
from notary_samples import ALPHA, BETA, GAMMA, begun, entry, opened, sealed, vkeys_of

from dc.names.model import Peer
from dc.system import SystemClock, SystemDatabases
from notary import note, tables, tree
from notary import web as notary_web
from notary.store import Store, open_store
from notary.web import LogPages
from notary.witness import Witness
from tokens.identity import Identity

Answer = tuple[int, dict[str, str], bytes]


class Client:
    """Sends paths exactly as they are given."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            heads = {name.lower(): value for name, value in response.getheaders()}
            return response.status, heads, response.read()
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def fetch(self, identity: Identity, path: str) -> bytes | None:
        status, _, body = self.get(f"/farshore/{identity.dc_id}/{path}")
        assert status in (200, 404)
        return body if status == 200 else None


def peer_of(identity: Identity) -> Peer:
    return Peer(
        dc_id=identity.dc_id,
        name="peer",
        region="",
        endpoints=[],
        fingerprint="",
        signing_key=identity.public.signing_key,
        sealing_key=b"",
        paired="",
    )


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[tuple[Client, Store]]:
    """BETA's notary, which is paired with ALPHA."""
    store = await open_store(path, SystemDatabases())
    witness = Witness(store, BETA, SystemClock())
    pages = LogPages(store, witness, lambda: [peer_of(ALPHA)])
    runner = web.AppRunner(pages.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    try:
        yield Client(site._server.sockets[0].getsockname()[1]), store
    finally:
        await runner.cleanup()
        await store.close()


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> bytes:
    """ALPHA's log with checkpoints of 3, 257 and 700, and 9 more entries; BETA's with one of 2;
    GAMMA's without any."""
    path = tmp_path_factory.mktemp("logs") / "log.db"
    with opened(path) as db:
        log = begun(db, BETA, 2)
        sealed(db, BETA, log, 2)
        log = begun(db, ALPHA)
        for size in (3, 257, 700):
            some = [entry(ALPHA, number) for number in range(log.size, size)]
            log = sealed(db, ALPHA, tables.append(db, log, some), size, BETA, GAMMA)
        tables.append(db, log, [entry(ALPHA, number) for number in range(700, 709)])
        begun(db, GAMMA, 4)
    return path.read_bytes()


@pytest.fixture
def place(tmp_path: Path, logs: bytes) -> Path:
    (tmp_path / "log.db").write_bytes(logs)
    return tmp_path / "log.db"


async def test_the_whole_log_is_verified_by_a_second_reader(place: Path):
    vkeys = vkeys_of(ALPHA, BETA, GAMMA)

    def read(client: Client) -> None:
        whole = verify_log(
            lambda path: client.fetch(ALPHA, path), vkeys, witnesses=2, earlier=(3, 257)
        )
        assert whole.size == 700
        assert whole.entries == [entry(ALPHA, number) for number in range(700)]
        whole = verify_log(lambda path: client.fetch(BETA, path), vkeys)
        assert (whole.size, whole.origin) == (2, f"farshore/{BETA.dc_id}")
        with pytest.raises(Missing):
            verify_log(lambda path: client.fetch(GAMMA, path), vkeys)

    async with serving(place) as (client, _):
        await asyncio.to_thread(read, client)


async def test_what_is_said_of_the_answers(place: Path):
    origin = f"/farshore/{ALPHA.dc_id}"

    def read(client: Client) -> None:
        status, heads, body = client.get("/")
        listed = [f"farshore/{one.dc_id}/checkpoint" for one in (BETA, ALPHA)]
        assert (status, body.decode().split()) == (200, listed)
        status, heads, body = client.get(f"{origin}/checkpoint")
        assert (status, heads["content-type"]) == (200, "text/plain; charset=utf-8")
        assert heads["cache-control"] == "no-cache"
        assert verify_checkpoint(body, vkeys_of(ALPHA, BETA), 1).size == 700
        for path in ("tile/0/000", "tile/0/002.p/188", "tile/1/000.p/2", "tile/entries/000"):
            status, heads, body = client.get(f"{origin}/{path}")
            assert (status, heads["content-type"]) == (200, "application/octet-stream")
            assert "immutable" in heads["cache-control"]
            assert int(heads["content-length"]) == len(body)
            status, again, nothing = client.ask("HEAD", f"{origin}/{path}")
            assert (status, nothing) == (200, b"")
            assert again["content-length"] == heads["content-length"]
        headers = {"Accept-Encoding": "gzip"}
        status, heads, body = client.get(f"{origin}/tile/entries/001", **headers)
        assert (status, heads.get("content-encoding")) == (200, "gzip") and len(body) < 20_000

    async with serving(place) as (client, _):
        await asyncio.to_thread(read, client)


SERVED = ["tile/0/000", "tile/0/001", "tile/0/002.p/188", "tile/0/002.p/1", "tile/0/000.p/255"]
SERVED += ["tile/1/000.p/1", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/188"]
MISSING = [
    *("tile/0/002", "tile/0/002.p/189", "tile/0/003", "tile/0/003.p/1", "tile/1/000"),
    *("tile/1/000.p/3", "tile/1/001.p/1", "tile/2/000.p/1", "tile/63/000.p/1", "tile/64/000.p/1"),
    *("tile/entries/002", "tile/entries/002.p/189", "tile/entries/003.p/1", "tile/99/000"),
    *("tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p"),
    *("tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000/000", "tile/0/000/000", "tile/0/"),
    *("tile/0/x001/000", "tile/0/-01", "tile/0/+01", "tile/0/001 ", "tile/0/0x1", "tile/0/1e1"),
    *("tile/00/000", "tile/-1/000", "tile/x/000", "tile/0/000.p/1/", "tile/0/000.p/1.p/1"),
    *("tile/0/" + "x999/" * 5 + "999", "tile/0/" + "x999/" * 1500 + "999", "tile/", "tile"),
    *("checkpoint/", "checkpoints", "", "entries/000", "tile/entries/", "tile/entries/000.p/-1"),
    *("tile/0/%2e%2e/000", "tile/0/..%2f..%2fcheckpoint", "../../etc/passwd", "tile/0/٠٠٠"),
    *("tile/0/000%00", "tile/0/000%0a", "tile/0/000.p/1%0a", "tile/entries/..", "tile/0/%30%30"),
]


async def test_tiles_that_are_there_and_that_are_not(place: Path):
    """A tile is there when a published tree fills it; what is not published yet is not."""
    origin = f"/farshore/{ALPHA.dc_id}"

    def read(client: Client) -> None:
        for path in SERVED:
            assert client.get(f"{origin}/{path}")[0] == 200, path
        for path in MISSING:
            encoded = "".join(one if one.isascii() else "%D9%A0" for one in path)
            status, _, body = client.get(f"{origin}/{encoded.replace(' ', '%20')}")
            assert status == 404, (path, status, body[:80])

    async with serving(place) as (client, _):
        await asyncio.to_thread(read, client)


async def test_paths_of_no_log(place: Path):
    def read(client: Client) -> None:
        dc_id = ALPHA.dc_id
        for path in (
            f"/farshore/{GAMMA.dc_id}/checkpoint",
            f"/farshore/{GAMMA.dc_id}/tile/0/000.p/1",
            f"/farshore/{dc_id.upper()}/checkpoint",
            f"/farshore/{dc_id}0/checkpoint",
            f"/farshore/{dc_id[:-1]}/checkpoint",
            f"/farshore//{dc_id}/checkpoint",
            f"//farshore/{dc_id}/checkpoint",
            f"/{dc_id}/checkpoint",
            f"/farshore/../farshore/{dc_id}/checkpoint/..",
            f"/farshore/%2e%2e/{dc_id}/checkpoint",
            "/farshore/'%20OR%201=1/checkpoint",
            "/checkpoint",
            "/log.db",
            "/notary/log.db",
        ):
            assert client.get(path)[0] == 404, path
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            status, _, _ = client.ask(method, f"/farshore/{dc_id}/checkpoint", b"x")
            assert status == 405, method

    async with serving(place) as (client, _):
        await asyncio.to_thread(read, client)


async def test_entries_that_are_new_show_when_they_are_published(place: Path):
    def read(client: Client) -> None:
        assert client.fetch(ALPHA, tile_path("entries", 2, 188)) is not None
        assert client.fetch(ALPHA, tile_path("entries", 2, 197)) is None

    def read_after(client: Client) -> None:
        whole = verify_log(lambda path: client.fetch(ALPHA, path), vkeys_of(ALPHA), earlier=(700,))
        assert whole.size == 709

        def short(path: str) -> bytes | None:
            return None if path.startswith("tile/entries/002") else client.fetch(ALPHA, path)

        with pytest.raises(Truncated):
            verify_log(short, vkeys_of(ALPHA))

    async with serving(place) as (client, store):
        await asyncio.to_thread(read, client)

        def publish(db) -> None:
            log = tables.log_of(db, f"farshore/{ALPHA.dc_id}")
            assert log is not None
            sealed(db, ALPHA, log, 709)

        await store.act(publish)
        await asyncio.to_thread(read_after, client)


async def test_the_witness_over_http(tmp_path: Path):
    """As tlog-witness has it; what was cosigned is found by the hash of the log's origin."""
    vkeys = vkeys_of(ALPHA, BETA)
    path = tmp_path / "log.db"
    leaves = [tree.leaf_hash(entry(ALPHA, number)) for number in range(3)]
    notes = [str(note.sign(ALPHA, size, mth(leaves[:size]))) for size in (2, 3)]

    def read(client: Client) -> None:
        found = f"/{hashlib.sha256(f'farshore/{ALPHA.dc_id}'.encode()).hexdigest()}/checkpoint"
        assert client.get(found)[0] == 404
        request = f"old 0\n\n{notes[0]}".encode()
        status, heads, body = client.ask("POST", "/add-checkpoint", request)
        assert (status, heads["content-type"]) == (200, "text/plain; charset=utf-8")
        head = verify_checkpoint(notes[0].encode() + body, vkeys, 1)
        assert (head.size, head.witnesses) == (2, [f"farshore/{BETA.dc_id}/witness"])
        status, heads, kept = client.get(found)
        assert (status, heads["cache-control"]) == (200, "no-cache")
        assert kept == notes[0].encode() + body
        status, heads, body = client.ask("POST", "/add-checkpoint", f"old 1\n\n{notes[1]}".encode())
        assert (status, heads["content-type"], body) == (409, "text/x.tlog.size", b"2\n")
        for body, expected in (
            (f"old 2\n\n{notes[1]}".encode(), 422),
            (b"", 400),
            (b"\xff" * 99, 400),
            (f"old 2\n\n{notes[1]}".replace("\n3\n", "\n4\n").encode(), 403),
            (f"old 0\n\n{note.sign(GAMMA, 1, bytes(32))}".encode(), 404),
            (b"x" * (65 << 10), 413),
        ):
            assert client.ask("POST", "/add-checkpoint", body)[0] == expected
        assert client.get("/add-checkpoint")[0] == 405
        assert client.get("/" + "0" * 64 + "/checkpoint")[0] == 404
        assert client.get(found.upper())[0] == 404
        old = f"old 0\n\n{note.sign(ALPHA, 1, bytes(32))}".encode()
        assert client.ask("POST", "/add-checkpoint", old)[2] == b"2\n"

    async with serving(path) as (client, store):
        three = [entry(ALPHA, number) for number in range(3)]
        await store.act(lambda db: tables.append(db, begun(db, ALPHA), three))
        await asyncio.to_thread(read, client)
        assert await store.read(tables.alarms) == [], "anybody can show what is old"


async def test_requests_to_cosign_are_bounded_in_number_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One that never arrives is cut off; meanwhile one too many is refused at once."""
    monkeypatch.setattr(notary_web, "COSIGNING_MAX", 1)
    monkeypatch.setattr(notary_web, "BODY_SECONDS", 0.3)
    async with serving(tmp_path / "log.db") as (client, _):
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
            writer.write(b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\n")
            writer.write(b"Content-Length: 99\r\n\r\nold")
            await writer.drain()
            await asyncio.sleep(0.1)
            ask = ("POST", "/add-checkpoint", b"x")
            status, heads, _ = await asyncio.to_thread(client.ask, *ask)
            assert (status, heads["retry-after"]) == (503, "5")
            assert (await asyncio.to_thread(client.get, "/"))[0] == 200
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
            # Else the server waits for it before it closes the connection.
            writer.write(bytes(96))
            await writer.drain()
            assert (await asyncio.to_thread(client.ask, *ask))[0] == 400
            writer.close()
