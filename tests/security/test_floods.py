"""Requests that never end, end too early, or are made of very many very small things: refused, in
linear time, in bounded memory, and nothing of them stays.

Published as Swift CVE-2026-49017 (aws-chunked cut short), CVE-2016-0738 (clients that leave);
MinIO CVE-2018-1000538 (bodies read into memory before anything is checked), CVE-2022-31028
(connections that say nothing are kept for ever); Ceph CVE-2022-3854 (odd URLs); aiohttp
CVE-2025-69229 (many small chunks), CVE-2026-22815 (trailers without end), CVE-2026-34516 (headers
of form parts without end).
"""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import repeat

import pytest
from form_kit import BOUNDARY
from gateway_kit import Answer, House, read_answer, request_bytes, sign
from replica_kit import eventually
from test_auth_matrix import ROUTES

from gateway import connection
from gateway.limits import HEADERS_MAX
from gateway.operations import OPERATIONS as ROWS

MIB = 1 << 20
UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


@contextmanager
def memory(mib_max: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < mib_max * MIB
    finally:
        tracemalloc.stop()


@asynccontextmanager
async def nothing_left(house: House) -> AsyncIterator[None]:
    """No task and no connection of what is done stays."""
    await eventually(lambda: not house.server.connections)
    usual = len(asyncio.all_tasks())
    yield
    await eventually(lambda: not house.server.connections and len(asyncio.all_tasks()) <= usual)


@pytest.fixture(autouse=True)
async def kept(house: House) -> None:
    assert (await house.ask("PUT", "/photos/kept", b"kept")).status == 200


async def flood(house: House, head: bytes, pieces: Iterator[bytes]) -> Answer | None:
    """What is answered to a request that goes on and on; None when the connection is cut."""
    reader, writer = await house.connect()
    answer = asyncio.ensure_future(read_answer(reader))
    try:
        writer.write(head)
        async with asyncio.timeout(20):
            for piece in pieces:
                if answer.done() or writer.is_closing():
                    break
                writer.write(piece)
                await writer.drain()
            return await answer
    except (ConnectionError, asyncio.IncompleteReadError):
        return None
    finally:
        answer.cancel()
        writer.close()


def chunked_put(house: House, body: bytes, length: int, size: int) -> bytes:
    """A PUT in aws-chunked, with a Content-Length of its own."""
    headers = {
        "Host": house.host, "x-amz-decoded-content-length": str(size),
        "x-amz-trailer": "x-amz-checksum-crc32", "Content-Length": str(length),
    }  # fmt: skip
    return request_bytes("PUT", "/photos/k", sign("PUT", "/photos/k", headers, UNSIGNED), body)


async def test_chunks_cut_short_at_every_byte(house: House) -> None:
    """The body ends there, or the connection does: each is the end of it."""
    whole = b"5\r\nhello\r\n3\r\nyou\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    async with nothing_left(house):
        for cut in range(len(whole)):
            answer = await house.raw(chunked_put(house, whole[:cut], cut, 8))
            assert (answer.status, answer.code) == (400, "IncompleteBody"), cut
            reader, writer = await house.connect()
            writer.write(chunked_put(house, whole[:cut], len(whole), 8))
            writer.write_eof()
            async with asyncio.timeout(5):
                assert b" 200 " not in await reader.read()
            writer.close()
    answer = await house.raw(chunked_put(house, whole, len(whole), 8))
    assert answer.code == "BadDigest"
    assert await house.keys() == ["kept"]


async def test_clients_that_leave(house: House) -> None:
    """At any moment of a download or an upload."""
    body = b"x" * (4 * MIB)
    assert (await house.ask("PUT", "/photos/big", body)).status == 200
    get = request_bytes(
        "GET", "/photos/big", sign("GET", "/photos/big", {"Host": house.host}, "UNSIGNED-PAYLOAD")
    )
    async with nothing_left(house):
        for taken in (0, 1, 200, 70_000):
            for _ in range(5):
                reader, writer = await house.connect()
                writer.write(get)
                if taken:
                    await reader.readexactly(taken)
                writer.transport.abort()
                _, writer = await house.connect()
                writer.write(
                    chunked_put(house, b"400000\r\n" + body[:taken], 4 * MIB + 80, 4 * MIB)
                )
                await writer.drain()
                writer.transport.abort()
    assert await house.keys() == ["big", "kept"]
    assert (await house.ask("GET", "/photos/big")).body == body


@pytest.mark.parametrize("asks", [False, True])
async def test_connections_that_say_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    """From the beginning, or after a request: they are closed."""
    monkeypatch.setattr(connection, "KEEPALIVE_S", 0.2)
    async with nothing_left(house):
        for _ in range(3):
            reader, writer = await house.connect()
            if asks:
                writer.write(request_bytes("GET", "/", {"Host": house.host}))
                assert (await read_answer(reader)).status == 200
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()


HEADS = {
    "many headers": b"X-a: b\r\n",
    "empty names": b": b\r\n",
    "one header": b"a" * 8,
    "folded": b" b\r\n",
}


@pytest.mark.parametrize("what", HEADS)
async def test_headers_without_end(house: House, what: str) -> None:
    head = b"GET /photos/kept HTTP/1.1\r\nHost: a\r\nX-b: "
    pieces = repeat(HEADS[what] * 4096, 1000)
    with memory(6):
        async with nothing_left(house):
            answer = await flood(house, head + (b"" if what == "one header" else b"c\r\n"), pieces)
    assert answer is None or answer.status == 400


async def test_one_header_too_many(house: House) -> None:
    for more, status in ((0, 200), (1, 400)):
        headers = {f"X-{number}": "x" for number in range(HEADERS_MAX - 4 + more)}
        assert (await house.ask("GET", "/photos/kept", unsigned=headers)).status == status


@pytest.mark.parametrize(
    ("target", "user"), [("/photos/k", "ann"), ("/photos?delete", "ann"), ("/photos", None)]
)
@pytest.mark.parametrize(
    "piece",
    [b"1\r\nx\r\n" * 4096, b"0\r\n" + b"X-a: b\r\n" * 4096, b"1;" + b"a" * 65536, b"0" * 65536],
    ids=["one byte each", "trailers", "extension", "size"],
)
async def test_chunks_of_http_without_end(
    house: House, target: str, user: str | None, piece: bytes
) -> None:
    method = "POST" if target in ("/photos?delete", "/photos") else "PUT"
    headers = {"Host": house.host}
    if user is not None:
        headers = sign(method, target, headers, "UNSIGNED-PAYLOAD", user=user)
    headers["Transfer-Encoding"] = "chunked"
    if target == "/photos":
        headers["Content-Type"] = f"multipart/form-data; boundary={BOUNDARY}"
    began = asyncio.get_running_loop().time()
    with memory(12):
        async with nothing_left(house):
            answer = await flood(house, request_bytes(method, target, headers), repeat(piece, 2000))
    assert answer is None or answer.status in (400, 403, 411)
    assert asyncio.get_running_loop().time() - began < 15
    assert await house.keys() == ["kept"]


@pytest.mark.parametrize(
    "start",
    [
        b"",
        f"--{BOUNDARY}\r\n".encode(),
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="key"\r\n\r\n'.encode(),
    ],
    ids=["preamble", "headers of a part", "a field"],
)
async def test_forms_without_end(house: House, start: bytes) -> None:
    headers = {
        "Host": house.host, "Content-Length": str(1 << 30),
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
    }  # fmt: skip
    with memory(8):
        async with nothing_left(house):
            head = request_bytes("POST", "/photos", headers, start)
            answer = await flood(house, head, repeat(b"X-a: b\r\n" * 4096, 2000))
    assert answer is None or answer.status == 400
    assert await house.keys() == ["kept"]


async def test_bodies_are_not_read_for_strangers(house: House) -> None:
    """Of an operation whose body is a document: a length that is too much, or who may not, is
    answered before any of it came."""
    for one in ROUTES:
        if one.name not in ROWS or one.method in ("GET", "HEAD"):
            continue
        headers = {**one.headers, "Host": house.host, "Content-Length": str(1 << 40)}
        began = asyncio.get_running_loop().time()
        answer = await house.raw(request_bytes(one.method, one.target, headers), one.method)
        assert answer.status in (400, 403), one
        assert asyncio.get_running_loop().time() - began < 1, one
    assert await house.keys() == ["kept"]


ODD = [
    *("/", "//", "///", "/?", "/??", "/?&", "/photos?", "/photos//", "/photos/?", "/photos/?&=&"),
    *("/photos/kept?=", "/photos?=&==&%3D", "/photos?uploads&uploadId=", "/photos/kept?uploadId="),
    *("/photos?%00", "/photos/%00", "/photos/%E0%80%80", "/photos/%ED%A0%80", "/photos/%", "/%"),
    *(
        "*",
        "photos",
        "/photos#x",
        "/photos/a#b",
        "/photos;x/k",
        "/photos/kept?versionId=",
        "/.",
        "/..",
    ),
    *("/photos/kept?partNumber=0", "/photos/kept?partNumber=99999999999999999999", "/photos?acl="),
    *(
        "/photos?list-type=",
        "/photos?list-type=2&max-keys=",
        "/photos?prefix=%F0%9F",
        "/photos?delete",
    ),
    *(
        "/photos/kept?attributes",
        "/photos/kept?torrent",
        "/photos/kept?restore",
        "/photos?location=",
    ),
    *("/photos?versions&key-marker=&version-id-marker=x", "/photos?uploads&upload-id-marker=x"),
    *(
        "http://",
        "http:///photos",
        "http://[::1/photos",
        "//photos:99999/",
        "/\\",
        "/photos/\\..\\",
    ),
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"])
async def test_odd_targets(house: House, method: str) -> None:
    """None of them is our own failure."""
    for target in ODD:
        for user in ("ann", None):
            answer = await house.ask(method, target, user=user)
            assert answer.status < 500 or answer.status == 501, (target, user, answer)
        if house.names.directory.bucket("photos") is None:
            await house.bucket("photos", "ann")
            await house.ask("PUT", "/photos/kept", b"kept")
