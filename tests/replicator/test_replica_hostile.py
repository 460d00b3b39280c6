"""A peer that is paired and sends what it must not: shown, dropped, nothing taken over.

Redirects are not followed: MinIO CVE-2021-21287, Swift CVE-2026-50221 (a server made to fetch).
"""

import asyncio
import contextlib
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from awscrt.checksums import crc64nvme
from replica_kit import Dc, Network, eventually

import replicator.client
from dc.names.model import Cursor, Peer
from replicator import messages, wire
from replicator.limits import FRAME_BYTES_MAX, INLINE_BYTES_MAX
from tokens.fingerprint import fingerprint

EPOCH = "e" * 16
BUCKET = "b" * 16
Script = Callable[[web.StreamResponse, web.BaseRequest], Awaitable[None]]


class Mallory:
    """A peer made of a script."""

    def __init__(self, tmp_path: Path) -> None:
        self.dc = Dc(tmp_path, "mallory")
        self.script: Script = self.nothing
        self.asked: list[messages.FeedAsk] = []
        self.bodies: Callable[[messages.BodyAsk, web.BaseRequest], Awaitable[web.StreamResponse]]
        self.bodies = self.no_body
        self.acks: list[messages.Ack] = []

    async def nothing(self, response: web.StreamResponse, request: web.BaseRequest) -> None:
        await asyncio.sleep(60)

    async def no_body(self, ask: messages.BodyAsk, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=404)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/v2/ack":
            self.acks.append(messages.decode_body(await request.read(), messages.Ack))
            return web.Response(status=204)
        if request.path == "/v2/body":
            return await self.bodies(
                messages.decode_ask(request.query["ask"], messages.BodyAsk), request
            )
        self.asked.append(messages.decode_ask(request.query["ask"], messages.FeedAsk))
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            await self.script(response, request)
        return response

    def hello(self, after: int = 0, epoch: str = EPOCH) -> bytes:
        return wire.encode_frame(
            wire.Hello(end=10, dc_id=self.dc.dc_id, epoch=epoch, after=after, horizon=0)
        )

    def version(self, seq: int, body: bytes | None = b"hello", **other: object) -> bytes:
        facts: dict = {
            "seq": seq,
            "bucket": BUCKET,
            "key": f"k{seq}",
            "vid": "",
            "stamp": f"{1_700_000_000_000 - seq:012x}0000{self.dc.dc_id}",
            "kind": 0,
            "size": len(body or b""),
            "etag": "d" * 32,
            "meta": wire.Meta(crc64=crc64nvme(body or b"")),
            "seen": "",
            "registers": {},
            "body": body,
        }
        return wire.encode_record(wire.VersionRecord(**(facts | other)))


@contextlib.asynccontextmanager
async def attacked(tmp_path: Path) -> AsyncIterator[tuple[Dc, Mallory]]:
    """Paris is up and has Mallory for a peer."""
    mallory = Mallory(tmp_path)
    server = web.Server(mallory.handle, handler_cancellation=True, access_log=None)
    listener = await Network().listen(server, "127.0.0.1", 0, mallory.dc.tls)
    paris = Dc(tmp_path, "paris")
    await paris.open()
    await paris.names.add_peer(
        Peer(
            dc_id=mallory.dc.dc_id,
            name="mallory",
            region="eu",
            endpoints=[f"127.0.0.1:{listener.port}"],
            fingerprint=fingerprint(mallory.dc.certificate),
            signing_key=mallory.dc.identity.public.signing_key,
            sealing_key=mallory.dc.identity.public.sealing_key,
            paired=paris.names.clock.now(),
        )
    )
    try:
        yield paris, mallory
    finally:
        await paris.down()
        await listener.close()
        await server.shutdown(0.1)


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


PACK = msgspec.msgpack.encode


def bad_streams(m: Mallory) -> dict[str, bytes]:
    hello, batch = m.hello(), wire.encode_batch
    two = [m.version(1), m.version(2)]
    return {
        "no hello": batch(0, 2, 10, two),
        "two hellos": hello + hello,
        "hello of another DC": wire.encode_frame(
            wire.Hello(end=1, dc_id="0" * 16, epoch=EPOCH, after=0, horizon=0)
        ),
        "starts elsewhere": m.hello(after=7),
        "garbage": hello + os.urandom(64),
        "empty frame": hello + frame(b""),
        "too long": hello + struct.pack(">I", FRAME_BYTES_MAX + 1),
        "not msgpack": hello + frame(b"\xc1\xc1\xc1"),
        "unknown tag": hello + frame(PACK(["other", 1])),
        "a field too many": hello + frame(PACK(["batch", 10, 0, 2, [], 1])),
        "a field too few": hello + frame(PACK(["batch", 10, 0])),
        "wrong type": hello + frame(PACK(["batch", "10", 0, 2, []])),
        "negative": hello + frame(PACK(["batch", 10, -1, 2, []])),
        "nested for ever": hello + frame(b"\x91" * 5000),
        "gap": hello + batch(0, 1, 10, two[:1]) + batch(2, 3, 10, []),
        "overlap": hello + batch(0, 2, 10, two) + batch(1, 2, 10, two[1:]),
        "backwards": hello + frame(PACK(["batch", 10, 0, 0, []])[:-2] + b"\xff\x90"),
        "position twice": hello + batch(0, 2, 10, [m.version(1), m.version(1)]),
        "position before": hello + batch(3, 5, 10, [m.version(2)]),
        "position beyond": hello + batch(0, 2, 10, [m.version(3)]),
        "last beyond end": hello + batch(0, 11, 10, []),
        "too many records": hello + batch(0, 3000, 3000, [m.version(n) for n in range(1, 2002)]),
        "ends inside a frame": hello + batch(0, 2, 10, two)[:-5],
        "kind 2": hello + batch(0, 2, 10, [m.version(1, kind=2)]),
        "large inline body": hello + batch(0, 2, 10, [m.version(1, bytes(INLINE_BYTES_MAX + 1))]),
        "coverage of another": hello
        + frame(PACK(["covered", 10, 0, [["a" * 16, "", "0" * 31 + "b"]]])),
        "coverage from nowhere": hello
        + frame(PACK(["covered", 10, 0, [["a" * 16, "x", "a" * 32]]])),
        "negative size": hello + batch(0, 2, 10, [m.version(1, size=-1)]),
        "negative crc": hello + batch(0, 2, 10, [m.version(1, meta=wire.Meta(crc64=-1))]),
    }


async def test_bad_streams_are_dropped_and_shown(tmp_path: Path) -> None:
    async with attacked(tmp_path) as (paris, mallory):
        await paris.start()
        for what, data in bad_streams(mallory).items():
            served = asyncio.Event()

            async def script(
                response: web.StreamResponse,
                request: web.BaseRequest,
                data: bytes = data,
                served: asyncio.Event = served,
            ) -> None:
                served.set()
                await response.write(data)
                if b"ends inside" not in data and len(data) > 4:
                    await asyncio.sleep(0.05)

            mallory.script = script
            paris.replicator._peers.heard(mallory.dc.dc_id)
            async with asyncio.timeout(20):
                await served.wait()
            await eventually(lambda: paris.peer(mallory.dc).state == "FAILED")
            assert "WireError" in paris.peer(mallory.dc).last_error, what
            assert what != "negative crc" or "crc64" in paris.peer(mallory.dc).last_error
            paris.replicator._peers.link(mallory.dc.dc_id)._failures = 0
            paris.replicator._peers.link(mallory.dc.dc_id)._state = "CONNECTING"
            assert await paris.names.inbox_state(mallory.dc.dc_id) == (0, 0)
            cursor = await paris.names.cursor(mallory.dc.dc_id)
            assert cursor is None or cursor.seq <= 2, what
        for number in range(3, 12):
            assert await paris.names.version(BUCKET, f"k{number}", "") is None


async def test_a_silent_stream_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicator.client, "SILENCE_SECONDS_MAX", 0.3)
    async with attacked(tmp_path) as (paris, mallory):

        async def script(response: web.StreamResponse, request: web.BaseRequest) -> None:
            await response.write(mallory.hello())
            await asyncio.sleep(60)

        mallory.script = script
        await paris.start()
        await eventually(lambda: len(mallory.asked) >= 3)
        await eventually(lambda: paris.peer(mallory.dc).state == "UNREACHABLE")
        assert "stream broke" in paris.peer(mallory.dc).last_error


@pytest.mark.parametrize("days", [0, 3653])
async def test_stamps_ahead_wait_and_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """By ten minutes, or ten years."""
    monkeypatch.setattr(replicator.inbox, "CHANGE_RETRY_MAX_SECONDS", 0.3)
    async with attacked(tmp_path) as (paris, mallory):
        ahead = paris.clock.wall_ms() + 10 * 60_000 + days * 86_400_000
        stamp = f"{ahead:012x}0000{mallory.dc.dc_id}"

        async def script(response: web.StreamResponse, request: web.BaseRequest) -> None:
            after = mallory.asked[-1].after
            await response.write(mallory.hello(after=after))
            if after == 0:
                records = [mallory.version(1, stamp=stamp), mallory.version(2)]
                await response.write(wire.encode_batch(0, 2, 10, records))
            await asyncio.sleep(60)

        async def body(ask: messages.BodyAsk, request: web.BaseRequest) -> web.StreamResponse:
            assert ask.stamp == stamp
            return web.Response(body=b"hello" + crc64nvme(b"hello").to_bytes(8, "big"))

        mallory.script, mallory.bodies = script, body
        before = paris.names.clock.now()
        await paris.start()

        async def other_is_there() -> bool:
            return await paris.get_any(BUCKET, "k2") == b"hello"

        await eventually(other_is_there)
        await eventually(lambda: len(paris.peer(mallory.dc).problems) == 1)
        assert "set the clocks" in paris.peer(mallory.dc).problems[0].reason
        assert await paris.get_any(BUCKET, "k1") is None
        await eventually(lambda: bool(mallory.acks))
        assert all(ack.position == 0 for ack in mallory.acks)
        # The clock was not dragged along.
        assert int(paris.names.clock.now()[:12], 16) - int(before[:12], 16) < 60_000
        if days:
            return
        paris.clock.skew_ms = 10 * 60_000

        async def is_there() -> bool:
            return await paris.get_any(BUCKET, "k1") == b"hello"

        await eventually(is_there)
        await eventually(lambda: mallory.acks[-1].position == 2)


@pytest.mark.parametrize("how", ["longer", "shorter", "never ends", "redirect", "no length"])
async def test_bad_bodies(tmp_path: Path, how: str) -> None:
    async with attacked(tmp_path) as (paris, mallory):
        size = 1 << 20
        fetched = 0
        followed = False

        async def script(response: web.StreamResponse, request: web.BaseRequest) -> None:
            after = mallory.asked[-1].after
            await response.write(mallory.hello(after=after))
            if after == 0:
                record = mallory.version(1, None, size=size)
                await response.write(wire.encode_batch(0, 2, 10, [record, mallory.version(2)]))
            await asyncio.sleep(60)

        async def body(ask: messages.BodyAsk, request: web.BaseRequest) -> web.StreamResponse:
            nonlocal fetched, followed
            fetched += 1
            followed |= "good" in request.query
            if how == "redirect":
                return web.Response(status=302, headers={"Location": f"{request.url}&good=1"})
            length = {"longer": size + 9, "shorter": size + 7}.get(how, size + 8)
            headers = {} if how == "no length" else {"Content-Length": str(length)}
            response = web.StreamResponse(headers=headers)
            await response.prepare(request)
            if how == "never ends":
                await response.write(bytes(1000))
                await asyncio.sleep(60)
            with contextlib.suppress(ConnectionError):
                await response.write(bytes(length))
            return response

        mallory.script, mallory.bodies = script, body
        await paris.start()
        await eventually(lambda: fetched >= (1 if how == "never ends" else 2))

        async def small_is_there() -> bool:
            return await paris.get_any(BUCKET, "k2") == b"hello"

        await eventually(small_is_there)
        assert await paris.names.version(BUCKET, "k1", "") is None
        if how != "never ends":
            await eventually(lambda: bool(paris.peer(mallory.dc).problems))
            await eventually(lambda: paris.peer(mallory.dc).problems[0].reason != "")
        assert paris.peer(mallory.dc).state in ("STREAMING", "BEHIND", "SEEDING")
        assert not followed


async def test_secrets_for_others_or_of_others_are_not_taken(tmp_path: Path) -> None:
    async with attacked(tmp_path) as (paris, mallory):
        stamp = f"{1_700_000_000_000:012x}0000{mallory.dc.dc_id}"
        from dc.accounts import secret_context
        from tokens.sealed import seal

        ours = paris.identity.public.sealing_key
        theirs = mallory.dc.identity.public.sealing_key
        user = "a" * 64
        good = secret_context(user, "GOOD")
        blobs = {
            "GOOD": seal(ours, b"s" * 40, good),
            "MOVED": seal(ours, b"s" * 40, good),
            "OTHER": seal(theirs, b"s" * 40, secret_context(user, "OTHER")),
            "PLAIN": b"s" * 121,
        }

        async def script(response: web.StreamResponse, request: web.BaseRequest) -> None:
            after = mallory.asked[-1].after
            await response.write(mallory.hello(after=after))
            if after == 0:
                records = [
                    wire.encode_record(
                        wire.AccessKeyRecord(
                            seq=seq, id=name, user=user, secret=blob, stamp=stamp, deleted=False
                        )
                    )
                    for seq, (name, blob) in enumerate(blobs.items(), 1)
                ]
                person = wire.UserRecord(seq=5, id=user, email="a@b", stamp=stamp, deleted=False)
                records.append(wire.encode_record(person))
                await response.write(wire.encode_batch(0, 5, 10, records))
            await asyncio.sleep(60)

        mallory.script = script
        await paris.start()
        await eventually(lambda: paris.accounts.lookup("GOOD") is not None)
        await eventually(lambda: len(paris.peer(mallory.dc).problems) == 3)
        for name in ("MOVED", "OTHER", "PLAIN"):
            assert paris.names.directory.key(name) is None


async def test_a_crash_between_batches_repeats_or_loses_none(tmp_path: Path) -> None:
    """The cursor that is asked for is what was applied."""
    async with attacked(tmp_path) as (paris, mallory):

        async def script(response: web.StreamResponse, request: web.BaseRequest) -> None:
            after = mallory.asked[-1].after
            await response.write(mallory.hello(after=after))
            for seq in range(after + 1, min(after + 4, 11)):
                await response.write(wire.encode_batch(seq - 1, seq, 10, [mallory.version(seq)]))
            if after >= 9:
                await asyncio.sleep(60)

        mallory.script = script
        await paris.start()

        async def all_there() -> bool:
            return await paris.names.cursor(mallory.dc.dc_id) == Cursor(EPOCH, 10)

        await eventually(all_there)
        for seq in range(1, 11):
            assert await paris.get_any(BUCKET, f"k{seq}") == b"hello"
        assert [ask.after for ask in mallory.asked] == [0, 3, 6, 9]
