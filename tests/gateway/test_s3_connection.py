"""Connections: keep-alive, pipelining, 100-continue, refused bodies, and clients that stop.

The latter published as MinIO CVE-2022-31028 (connections that say nothing are kept for ever).
"""

import asyncio
import gc
import hashlib

import pytest
from access_kit import put_policy, statement
from gateway_kit import EMPTY_SHA256, House, read_answer, request_bytes, sign

from gateway import connection as connection_module
from gateway.limits import DRAIN_BYTES_MAX, WRITE_BUFFER_BYTES
from gateway.request import Request


def put(house: House, key: str, body: bytes, user: str = "ann", **more: str) -> bytes:
    headers = {"Host": house.host, "Content-Length": str(len(body)), **more}
    headers = sign("PUT", f"/photos/{key}", headers, hashlib.sha256(body).hexdigest(), user=user)
    return request_bytes("PUT", f"/photos/{key}", headers, body)


def get(house: House, key: str, method: str = "GET") -> bytes:
    headers = sign(method, f"/photos/{key}", {"Host": house.host}, EMPTY_SHA256)
    return request_bytes(method, f"/photos/{key}", headers)


async def test_many_requests_of_all_kinds_on_one_connection(house: House) -> None:
    await house.bucket()
    reader, writer = await house.connect()
    for number in range(20):
        body = bytes([number]) * (number * 20_000)
        writer.write(put(house, "k", body))
        assert (await read_answer(reader)).status == 200
        writer.write(get(house, "k", "HEAD"))
        head = await read_answer(reader, "HEAD")
        assert head.headers["content-length"] == str(len(body))
        writer.write(get(house, "absent", "HEAD"))
        refused = await read_answer(reader, "HEAD")
        assert (refused.status, refused.body) == (404, b"")
        writer.write(get(house, "absent"))
        assert (await read_answer(reader)).code == "NoSuchKey"
        writer.write(get(house, "k"))
        assert (await read_answer(reader)).body == body
    writer.close()


async def test_pipelined_requests_are_answered_in_order(house: House) -> None:
    await house.bucket()
    reader, writer = await house.connect()
    writer.write(b"".join(put(house, f"k{number}", b"%d" % number) for number in range(50)))
    writer.write(b"".join(get(house, f"k{number}") for number in range(50)))
    for _ in range(50):
        assert (await read_answer(reader)).status == 200
    for number in range(50):
        assert (await read_answer(reader)).body == b"%d" % number
    writer.close()


async def test_requests_arrive_byte_by_byte(house: House) -> None:
    await house.bucket()
    reader, writer = await house.connect()
    for byte in put(house, "k", b"slow"):
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert (await read_answer(reader)).status == 200
    writer.close()
    assert (await house.ask("GET", "/photos/k")).body == b"slow"


async def test_http_10_closes_unless_asked_to_stay(house: House) -> None:
    await house.bucket()
    await house.ask("PUT", "/photos/k", b"body")
    old = get(house, "k").replace(b"HTTP/1.1", b"HTTP/1.0")
    reader, writer = await house.connect()
    writer.write(old.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"))
    answer = await read_answer(reader)
    assert (answer.body, answer.headers["connection"]) == (b"body", "keep-alive")
    writer.write(old)
    assert (await read_answer(reader)).headers["connection"] == "close"
    assert await reader.read() == b""
    writer.close()


async def test_connection_close_is_obeyed(house: House) -> None:
    await house.bucket()
    reader, writer = await house.connect()
    writer.write(get(house, "k").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert (await read_answer(reader)).headers["connection"] == "close"
    assert await reader.read() == b""
    writer.close()


async def test_continue_is_sent_only_to_who_may(house: House) -> None:
    await house.bucket()
    whole = put(house, "k", b"x" * 100_000, Expect="100-continue")
    head, body = whole[:-100_000], whole[-100_000:]
    reader, writer = await house.connect()
    writer.write(head)
    assert (await read_answer(reader)).status == 100
    writer.write(body)
    assert (await read_answer(reader)).status == 200
    writer.write(put(house, "k", b"x" * 100_000, "bob", Expect="100-continue")[:-100_000])
    refused = await read_answer(reader)
    assert (refused.status, refused.headers["connection"]) == (403, "close")
    assert await reader.read() == b""
    writer.close()


async def test_continue_is_sent_for_an_empty_body_too(house: House) -> None:
    """A client that gets something else first may mistake the answer of its next request."""
    await house.bucket()
    reader, writer = await house.connect()
    for _ in range(2):
        writer.write(put(house, "k", b"", Expect="100-continue"))
        assert (await read_answer(reader)).status == 100
        assert (await read_answer(reader)).status == 200
    writer.write(put(house, "k", b"", "bob", Expect="100-continue"))
    refused = await read_answer(reader)
    assert (refused.status, refused.headers["connection"]) == (403, "close")
    assert await reader.read() == b""
    writer.close()


async def test_refused_body_is_drained_and_the_connection_goes_on(house: House) -> None:
    await house.bucket()
    reader, writer = await house.connect()
    writer.write(put(house, "k", b"x" * 3_000_000, "bob"))
    assert (await read_answer(reader)).code == "AccessDenied"
    writer.write(put(house, "k", b"body"))
    assert (await read_answer(reader)).status == 200
    writer.close()


async def test_refused_body_without_end_is_cut(house: House) -> None:
    await house.bucket()
    size = DRAIN_BYTES_MAX * 4
    headers = {"Host": house.host, "Content-Length": str(size)}
    headers = sign("PUT", "/photos/k", headers, "UNSIGNED-PAYLOAD", user="bob")
    reader, writer = await house.connect()
    writer.write(request_bytes("PUT", "/photos/k", headers))
    assert (await read_answer(reader)).code == "AccessDenied"
    with pytest.raises(ConnectionError):
        for _ in range(size // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
        await reader.read()
    writer.close()


async def test_body_that_stops_gets_request_timeout(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "BODY_IDLE_S", 0.2)
    await house.bucket()
    for size in (1000, 3_000_000):
        reader, writer = await house.connect()
        writer.write(put(house, "k", b"x" * size)[:-10])
        answer = await asyncio.wait_for(read_answer(reader), 10)
        assert (answer.status, answer.code) == (400, "RequestTimeout")
        assert answer.headers["connection"] == "close"
        assert await reader.read() == b""
        writer.close()
    assert await house.keys() == []


async def test_headers_that_never_end_are_cut(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "KEEPALIVE_S", 0.3)
    reader, writer = await house.connect()
    for _ in range(3):
        writer.write(b"GET / HTTP/1.1\r\n" if _ == 0 else b"X: y\r\n")
        await asyncio.sleep(0.05)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_client_that_does_not_read_is_cut(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "WRITE_IDLE_S", 0.3)
    await house.bucket()
    size = 48 << 20
    body = bytes(1 << 20) * (size >> 20)
    assert (await house.ask("PUT", "/photos/k", body, payload="UNSIGNED-PAYLOAD")).status == 200
    reader, writer = await house.connect()
    writer.write(get(house, "k"))
    await asyncio.sleep(2)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await read_answer(reader)
    writer.close()


async def test_a_client_that_leaves_in_the_middle_of_an_answer_harms_nobody(house: House) -> None:
    await house.bucket()
    body = bytes(8 << 20)
    assert (await house.ask("PUT", "/photos/k", body, payload="UNSIGNED-PAYLOAD")).status == 200
    for _ in range(5):
        reader, writer = await house.connect()
        writer.write(get(house, "k"))
        await reader.read(1000)
        writer.transport.abort()
    assert (await house.ask("GET", "/photos/k")).body == body


async def test_encoded_bodies_are_stored_as_they_are(house: House) -> None:
    await house.bucket()
    for coding in ("gzip", "deflate", "br", "zstd"):
        stored = await house.ask(
            "PUT", f"/photos/{coding}", b"not really", {"Content-Encoding": coding}
        )
        assert stored.status == 200
        answer = await house.ask("GET", f"/photos/{coding}")
        assert (answer.body, answer.headers["content-encoding"]) == (b"not really", coding)


async def test_websocket_upgrades_are_ignored(house: House) -> None:
    await house.bucket()
    await house.ask("PUT", "/photos/k", b"body")
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    answer = await house.ask("GET", "/photos/k", unsigned=upgrade)
    assert (answer.status, answer.body, answer.headers["connection"]) == (200, b"body", "close")


@pytest.mark.parametrize("size", [1000, 3_000_000])
async def test_shutdown_lets_requests_under_way_finish(house: House, size: int) -> None:
    await house.bucket()
    body = b"x" * size
    await house.ask("PUT", "/photos/k", body, payload="UNSIGNED-PAYLOAD")
    idle_reader, idle_writer = await house.connect()
    idle_writer.write(get(house, "k", "HEAD"))
    await read_answer(idle_reader, "HEAD")
    reader, writer = await house.connect()
    data = put(house, "new", body)
    writer.write(data[:-500])
    await asyncio.sleep(0.1)
    house.server.pre_shutdown()
    shutdown = asyncio.create_task(house.server.shutdown(10))
    assert await asyncio.wait_for(idle_reader.read(), 2) == b""
    await asyncio.sleep(0.1)
    assert not shutdown.done()
    writer.write(data[-500:])
    assert (await read_answer(reader)).status == 200
    assert await asyncio.wait_for(reader.read(), 2) == b""
    await asyncio.wait_for(shutdown, 2)
    assert await house.keys() == ["k", "new"]
    writer.close()
    idle_writer.close()


async def test_shutdown_cuts_what_does_not_end(house: House) -> None:
    await house.bucket()
    reader, writer = await house.connect()
    writer.write(put(house, "k", b"x" * 1000)[:-10])
    await asyncio.sleep(0.1)
    house.server.pre_shutdown()
    await asyncio.wait_for(house.server.shutdown(0.2), 2)
    assert await asyncio.wait_for(reader.read(), 2) == b""
    assert await house.keys() == []
    writer.close()


async def test_requests_sent_ahead_after_large_bodies_are_all_answered(house: House) -> None:
    await house.bucket()
    reader, writer = await house.connect()
    for _ in range(3):
        writer.write(put(house, "k", b"x" * (1 << 20)))
        assert (await read_answer(reader)).status == 200
    writer.write(put(house, "k", b"y" * (1 << 20)))
    writer.write(b"".join(get(house, "k", "HEAD") for _ in range(100)))
    async with asyncio.timeout(20):
        for method in ["PUT", *["HEAD"] * 100]:
            assert (await read_answer(reader, method)).status == 200
    writer.close()


async def test_requests_sent_ahead_wait_until_the_answers_are_taken(house: House) -> None:
    """A client that asks and never reads must not make the gateway hold all its answers."""
    await house.bucket()
    reader, writer = await house.connect()
    body = b"x" * 200_000
    writer.write(put(house, "k", body))
    assert (await read_answer(reader)).status == 200
    writer.write(b"".join(get(house, "k", "GET") for _ in range(300)))
    await asyncio.sleep(1)
    (connection,) = house.server.connections
    held = connection.transport.get_write_buffer_size()
    assert held < WRITE_BUFFER_BYTES + 2 * len(body)
    async with asyncio.timeout(20):
        for _ in range(300):
            assert (await read_answer(reader)).body == body
    writer.close()


async def test_requests_are_freed_at_once(house: House) -> None:
    """Not only when the collector of cycles comes: it would come often."""
    await house.bucket()
    assert (await put_policy(house, statement("s3:*"))).status == 204
    gc.collect()
    gc.disable()
    try:
        for user in ("ann", "bob", None):
            for method in ("PUT", "GET", "HEAD", "DELETE"):
                await house.ask(method, "/photos/k", user=user)
            await house.ask("GET", "/photos", user=user)
            await house.ask("GET", "/photos?acl", user=user)
        left = sum(isinstance(one, Request) for one in gc.get_objects())
    finally:
        gc.enable()
    assert left <= 1
