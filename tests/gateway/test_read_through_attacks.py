"""A paired datacenter that lies, when it is asked for a client: nothing of it is served, and the
client does not wait for long."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from awscrt.checksums import crc64nvme
from gateway_kit import Answer
from msgspec.structs import replace
from replica_kit import eventually
from through_kit import NOWHERE, THROUGH, UNASKED, World, put, world

from replicator import client, reading, wire
from replicator import reading_wire as shapes
from replicator.messages import BodyAsk, decode_ask, decode_body

LARGE = 3_000_000
Record = wire.VersionRecord
FORGED: dict[str, Callable[[Record], wire.Record]] = {
    "another key": lambda one: replace(one, key="other"),
    "another bucket": lambda one: replace(one, bucket="b" * 16),
    "a stamp of tomorrow": lambda one: replace(one, stamp="f" + one.stamp[1:]),
    "no stamp": lambda one: replace(one, stamp="x" * 32),
    "a line in the ETag": lambda one: replace(one, etag="x\r\nSet-Cookie: x"),
    "a line in the type": lambda one: _meta(one, content_type="x\r\nSet-Cookie: x"),
    "a line in the metadata": lambda one: _meta(one, user={"x": "x\r\nSet-Cookie: x"}),
    "parts that are not the whole": lambda one: _meta(
        one, parts=[wire.Part(number=1, size=1 << 40, etag="", checksum="")]
    ),
    "a record of no version": lambda one: wire.UserRecord(
        seq=0, id="a" * 64, email="x", stamp=one.stamp, deleted=False
    ),
    "a tombstone of another key": lambda one: wire.TombstoneRecord(
        seq=0, bucket=one.bucket, key="other", vid="", stamp=one.stamp, seen=""
    ),
}


def _meta(one: Record, **other: object) -> Record:
    return replace(one, meta=replace(one.meta, **other))


async def unknown(one: World, body: bytes = b"body") -> None:
    """Paris has the key `k`, of which Tokyo knows nothing."""
    one.gates["tokyo"].shut()
    await put(one.houses["paris"], "k", body)


async def test_records_that_cannot_be_are_not_believed(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await unknown(one)
        tokyo = one.houses["tokyo"]
        tell = one.handler("paris", "current")
        forge: list[Callable[[Record], wire.Record]] = [lambda record: record]

        async def lie(request: web.BaseRequest) -> web.StreamResponse:
            peer = next(iter(one.dcs["paris"].names.peers()))
            answer = decode_body((await tell(request, peer)).body, shapes.Current)
            assert answer.record is not None
            record = wire.decode_record(answer.record)
            assert isinstance(record, wire.VersionRecord)
            forged = shapes.Current(wire.encode_record(forge[0](record)))
            return web.Response(body=shapes.encode(forged))

        one.answer("paris", "current", lie)
        assert (await tokyo.ask("GET", "/photos/k")).body == b"body"
        for what, one_forge in FORGED.items():
            forge[0] = one_forge
            for method in ("GET", "HEAD"):
                answer = await tokyo.ask(method, "/photos/k")
                assert answer.status == 404, what
                assert "set-cookie" not in answer.headers and THROUGH not in answer.headers, what
        # What can be, and is not so: the bytes do not come.
        for lie_of in (
            lambda record: replace(record, size=3),
            lambda record: replace(record, size=1 << 40),
            lambda record: _meta(record, crc64=1),
            lambda record: replace(record, stamp=record.stamp[:15] + "e" + record.stamp[16:]),
            lambda record: replace(record, vid="a" * 32),
        ):
            forge[0] = lie_of
            answer = await tokyo.ask("GET", "/photos/k")
            assert (answer.status, answer.code) == (503, "ServiceUnavailable")


async def _endless(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(bytes(1 << 20))
            # What ends the connection is told in the loop's next turn.
            await asyncio.sleep(0)
    return response


async def _silent(request: web.BaseRequest) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def _dripping(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(600):
            await response.write(b"x")
            await asyncio.sleep(0.1)
    return response


def _plain(response: Callable[[], web.Response]) -> Callable[..., Awaitable[web.Response]]:
    async def answer(_: web.BaseRequest) -> web.Response:
        return response()

    return answer


ANSWERS = {
    "endless": _endless,
    "silent": _silent,
    "dripping": _dripping,
    "nonsense": _plain(lambda: web.Response(body=b"\xc1nonsense")),
    "nothing": _plain(lambda: web.Response(body=b"")),
    "deep": _plain(lambda: web.Response(body=b"\x91" * 100_000)),
    "redirect": _plain(lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1"})),
    "an error": _plain(lambda: web.Response(status=500)),
    "old release": _plain(lambda: web.Response(status=404)),
}


async def test_answers_that_are_none_cost_a_bounded_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "READ_NAMES_SECONDS", 0.3)
    monkeypatch.setattr(reading, "READ_FIRST_SECONDS", 0.3)
    monkeypatch.setattr(client, "COMPARE_ANSWER_BYTES_MAX", 1 << 20)
    async with world(tmp_path, replication=NOWHERE) as one:
        tokyo = one.houses["tokyo"]
        await put(one.houses["paris"], "known")

        async def there() -> bool:
            return await one.dcs["tokyo"].names.current(one.bucket.id, "known") is not None

        await eventually(there)
        for route, path, status in (
            ("current", "/photos/none", 404),
            ("read", "/photos/known", 503),
            ("list", "/photos?list-type=2", 200),
        ):
            for what, answering in ANSWERS.items():
                one.answer("paris", route, answering)
                began = asyncio.get_running_loop().time()
                answer = await tokyo.ask("GET", path)
                assert answer.status == status, (route, what, answer.body)
                assert asyncio.get_running_loop().time() - began < 3, (route, what)
                if route == "current":
                    assert answer.headers[UNASKED] == "paris"
        assert one.dcs["tokyo"].replicator.others._bodies.count == 0


async def test_other_bytes_are_never_a_whole_answer(tmp_path: Path) -> None:
    """The first piece of a small body is held back until it is known to be right; of a large one
    the last piece is, and the connection is cut."""
    body, small = os.urandom(LARGE), b"small"
    bodies = {"k": body, "s": small}

    async with world(tmp_path, replication=NOWHERE) as one:
        tokyo = one.houses["tokyo"]
        for key, data in bodies.items():
            await put(one.houses["paris"], key, data)
        await one.settled()
        lie: list[Callable[[bytes], bytes]] = []

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            ask = decode_ask(request.query["ask"], BodyAsk)
            return web.Response(body=lie[0](bodies[ask.key][ask.start : ask.stop]))

        one.answer("paris", "read", answer)

        def right(data: bytes) -> bytes:
            return data + crc64nvme(data).to_bytes(8, "big")

        lie.append(right)
        assert (await tokyo.ask("GET", "/photos/k")).body == body
        for what, one_lie in {
            "other bytes, and their CRC": lambda data: right(data[:-1] + b"?"),
            "other bytes": lambda data: data[:-1] + b"?" + crc64nvme(data).to_bytes(8, "big"),
            "another CRC": lambda data: data + bytes(8),
        }.items():
            lie[0] = one_lie
            answer_small = await tokyo.ask("GET", "/photos/s")
            assert (answer_small.status, answer_small.code) == (503, "ServiceUnavailable"), what
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await tokyo.ask("GET", "/photos/k")
        # Too short, too long: found out before anything is sent.
        for one_lie in (lambda data: right(data)[:-1], lambda data: right(data) + b"?"):
            lie[0] = one_lie
            for key in bodies:
                assert (await tokyo.ask("GET", f"/photos/{key}")).status == 503
        # A range has its CRC as well.
        lie[0] = lambda data: data + bytes(8)
        ranged: Answer = await tokyo.ask("GET", "/photos/s", headers={"Range": "bytes=1-2"})
        assert ranged.status == 503
