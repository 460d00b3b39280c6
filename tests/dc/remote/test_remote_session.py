"""Names and bytes over a session, and what becomes of both when it ends."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from remote_kit import SETTINGS, Pair, begin, datacenter, no_mark, streams

from dc.names.errors import BucketExists, NoSuchBucket, NoSuchKey, NoSuchUpload
from dc.names.model import (
    NULL_VERSION,
    Bucket,
    Kind,
    Meta,
    Removal,
    Tombstone,
    Version,
)
from dc.names.service import SqliteNames
from dc.objects.api import STANDARD, BytesElsewhere, CorruptData, ObjectsError
from dc.objects.ident import body_ident
from dc.objects.store import ContainerStore
from dc.placement import ELSEWHERE
from dc.remote import wire
from dc.remote.copies import Copies, Copy
from dc.remote.errors import Busy, RemoteError, Unreachable
from dc.remote.link import Link
from dc.remote.names import RemoteNames
from dc.remote.objects import RemoteObjects
from dc.remote.server import Serving
from dc.remote.session import LEASE_SECONDS, Session
from dc.remote.wire import Call, Frame, Ping, Result, WireError
from dc.system import SystemClock

OWNER = "a" * 64
IDENT = body_ident("b" * 16, "k", NULL_VERSION, "0" * 32)


class StoppedClock(SystemClock):
    """Stands still for durations when it is told to."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class House:
    """A datacenter with one gateway elsewhere."""

    def __init__(self, names: SqliteNames, objects: ContainerStore) -> None:
        self.local = names
        self.local_objects = objects
        self.copies = names.copies = Copies(SystemClock())
        self.clock = StoppedClock()
        self.pair: Pair

    async def connect(self) -> None:
        self.pair = await begin(self.local, self.local_objects, self.copies, clock=self.clock)
        self.session = self.pair.session
        self.names = RemoteNames(self.session)
        self.objects = RemoteObjects(self.session)

    async def bucket(self, name: str = "photos") -> Bucket:
        made: Bucket = await self.names.create_bucket(name, OWNER, "paris")  # type: ignore[attr-defined]
        return made

    async def version(self, bucket: Bucket, key: str, data: bytes = b"x") -> Version:
        stamp = await self.names.stamp()
        extents = await self.objects.put(IDENT, data)
        size, meta = len(data), Meta(user={"a": "b"})
        return Version(
            bucket.id, key, NULL_VERSION, stamp, Kind.OBJECT, size, "e" * 32, meta, extents
        )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with datacenter(tmp_path) as (names, objects):
        house = House(names, objects)
        await house.connect()
        yield house
        await house.pair.end()


async def collect(house: House, version: Version, start: int, stop: int) -> bytes:
    return b"".join([bytes(p) async for p in house.objects.read(version.extents, start, stop)])


async def leased(house: House) -> None:
    async with asyncio.timeout(5):
        while not house.session.is_leased():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_is_put_by_one_is_what_the_other_has(house: House) -> None:
    bucket = await house.bucket()
    version = await house.version(bucket, "k", b"hello")
    await house.names.put(version)  # type: ignore[attr-defined]
    assert await house.local.current(bucket.id, "k") == await house.names.current(bucket.id, "k")
    found = await house.names.version(bucket.id, "k", NULL_VERSION)
    assert found is not None and found.meta == version.meta
    assert await collect(house, found, 1, 4) == b"ell"
    page = await house.names.list_objects(bucket.id, prefix="k")  # type: ignore[attr-defined]
    assert [one.key for one in page.objects] == ["k"]


async def test_stamps_are_those_of_the_name_server_and_in_order(house: House) -> None:
    before = house.local.clock.now()
    together = await asyncio.gather(*(house.names.stamp() for _ in range(50)))
    many = await house.names.stamps(3)  # type: ignore[attr-defined]
    after = house.local.clock.now()
    stamps = [before, *together, *many, after]
    assert stamps == sorted(set(stamps))


async def test_errors_are_the_same(house: House) -> None:
    bucket = await house.bucket()
    with pytest.raises(BucketExists) as found:
        await house.bucket()
    assert found.value.bucket == bucket
    with pytest.raises(NoSuchBucket):
        await house.names.delete_bucket("0" * 16)  # type: ignore[attr-defined]
    with pytest.raises(NoSuchUpload):
        await house.names.abort_upload("nothing")  # type: ignore[attr-defined]


async def test_a_bucket_with_large_settings_exists_for_gateways_too(house: House) -> None:
    bucket = await house.bucket()
    await house.local.set_bucket_registers(bucket.id, {"policy": "x" * 200_000})
    with pytest.raises(BucketExists) as found:
        await house.bucket()
    assert len(found.value.bucket.registers["policy"].value) == 200_000
    assert await house.names.stamp()


async def test_what_is_too_much_at_once_fails_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await house.bucket()
    version = await house.version(bucket, "k")
    version = replace(version, meta=Meta(user={"a": "x" * 1000}))
    await house.names.put(version)  # type: ignore[attr-defined]
    monkeypatch.setattr(wire, "PAYLOAD_BYTES_MAX", 500)
    with pytest.raises(ValueError, match="a message of"):
        await house.names.put(version)  # type: ignore[attr-defined]
    with pytest.raises(RemoteError):
        await house.names.current(bucket.id, "k")
    assert await house.names.stamp()


async def test_more_calls_than_can_be_are_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "CALLS_MAX", 3)
    block = asyncio.Event()

    async def waits(_: str) -> None:
        await block.wait()

    house.local.upload = waits  # type: ignore[method-assign,assignment]
    calls = [asyncio.create_task(house.names.upload("x")) for _ in range(3)]  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)
    with pytest.raises(Busy):
        await house.names.upload("x")  # type: ignore[attr-defined]
    # What keeps the session is answered all the same.
    await house.local.create_bucket("other", OWNER, "paris")
    block.set()
    assert await asyncio.gather(*calls) == [None] * 3
    assert await house.names.stamp()


@pytest.mark.parametrize("count", [-1, 10_002, 10**9])
async def test_numbers_that_cannot_be_are_refused(house: House, count: int) -> None:
    with pytest.raises(RemoteError, match="ValidationError"):
        await house.names.stamps(count)  # type: ignore[attr-defined]


async def test_who_is_told_that_it_is_so_already_can_rely_on_it(house: House) -> None:
    """Its maker may have got no answer yet, since another gateway has not heard of it."""
    bucket = await house.bucket()
    waited = 0

    async def settled() -> None:
        nonlocal waited
        waited += 1

    house.copies.settled = settled  # type: ignore[method-assign]
    with pytest.raises(BucketExists):
        await house.bucket()
    with pytest.raises(NoSuchKey):
        await house.local.revoke_key("FSNOBODY")
    assert waited == 2
    await house.names.put(await house.version(bucket, "k"))  # type: ignore[attr-defined]
    stamp = await house.names.stamp()
    gone = Tombstone(bucket=bucket.id, key="k", vid="", stamp=stamp)
    await house.names.remove([Removal(change=gone)])
    assert waited == 2, "objects do not wait for copies of the directory"


async def test_outcomes_of_removals_are_the_same(house: House) -> None:
    bucket = await house.bucket()
    await house.names.put(await house.version(bucket, "k"))  # type: ignore[attr-defined]

    async def removal(key: str) -> Removal:
        stamp = await house.names.stamp()
        return Removal(change=Tombstone(bucket=bucket.id, key=key, vid="", stamp=stamp))

    outcomes = await house.names.remove([await removal("k"), await removal("none")])
    assert outcomes == [Kind.OBJECT, None]


async def test_a_large_body_goes_there_and_back(house: House) -> None:
    data = os.urandom(7_300_000)
    writer = house.objects.writer(IDENT)
    for at in range(0, len(data), 100_000):
        await writer.write(data[at : at + 100_000])
    extents = await writer.finish()
    version = Version("b", "k", "", "0" * 32, Kind.OBJECT, len(data), "", Meta(), extents)
    assert await collect(house, version, 0, len(data)) == data
    assert await collect(house, version, 3_000_001, 6_200_000) == data[3_000_001:6_200_000]
    assert await collect(house, version, 5, 5) == b""
    with pytest.raises(ValueError, match="not within"):
        await collect(house, version, 0, len(data) + 1)
    with pytest.raises(ObjectsError, match="finished"):
        await writer.write(b"more")


async def test_a_reader_that_is_behind_is_sent_no_more_than_the_window(house: House) -> None:
    data = os.urandom(20 << 20)
    writer = house.objects.writer(IDENT)
    await writer.write(data)
    extents = await writer.finish()
    sent = 0
    real = house.local_objects.read

    async def counted(*args: object) -> AsyncIterator[object]:
        nonlocal sent
        async for piece in real(*args):  # type: ignore[arg-type]
            sent += 1
            yield piece

    house.local_objects.read = counted  # type: ignore[method-assign,assignment]
    reading = house.objects.read(extents, 0, len(data))
    await anext(reading)
    await asyncio.sleep(0.3)
    assert sent <= wire.WINDOW + 2
    await reading.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)
    assert not house.pair.serving._bodies, "the read goes on though nobody reads"


async def test_a_body_that_is_given_up_is_forgotten(house: House) -> None:
    writer = house.objects.writer(IDENT)
    await writer.write(bytes(3 << 20))
    writer.abort()
    await asyncio.sleep(0.1)
    assert not house.pair.serving._bodies and not house.local_objects.usage.bodies
    with pytest.raises(ObjectsError):
        await writer.finish()


async def test_bytes_that_are_wrong_or_elsewhere_are_told(house: House, tmp_path: Path) -> None:
    bucket = await house.bucket()
    version = await house.version(bucket, "k", bytes(100_000))
    (path,) = (tmp_path / "containers").iterdir()
    raw = bytearray(path.read_bytes())
    raw[version.extents[0].offset + 5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptData):
        await collect(house, version, 0, 100_000)
    gone = [version.extents[0].__class__(ELSEWHERE, 0, 10)]
    with pytest.raises(BytesElsewhere):
        [piece async for piece in house.objects.read(gone, 0, 10)]


async def test_a_change_is_known_when_it_is_answered(house: House) -> None:
    for number in range(20):
        bucket = await house.local.create_bucket(f"b{number}", OWNER, "paris")
        assert house.session.directory.bucket(f"b{number}") == bucket
        await house.names.set_bucket_registers(bucket.id, {"tags": str(number)})  # type: ignore[attr-defined]
        for directory in (house.session.directory, house.local.directory):
            found = directory.bucket_by_id(bucket.id)
            assert found is not None and found.registers["tags"].value == str(number)


async def test_a_new_session_has_all_of_the_directory(house: House) -> None:
    for number in range(5):
        await house.bucket(f"b{number}")
    await house.pair.end()
    await house.connect()
    mine, theirs = house.session.directory, house.local.directory
    assert {one.id for one in mine.all_buckets()} == {one.id for one in theirs.all_buckets()}
    assert mine.bucket("b3") == theirs.bucket("b3")


async def test_what_is_under_way_fails_when_the_session_ends(house: House) -> None:
    bucket = await house.bucket()
    version = await house.version(bucket, "k")
    block = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        await block.wait()

    house.local.put = never  # type: ignore[method-assign]
    writer = house.objects.writer(IDENT)
    call = asyncio.create_task(house.names.put(version))  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)
    await house.pair.end()
    with pytest.raises(Unreachable):
        await asyncio.wait_for(call, 5)
    with pytest.raises(Unreachable):
        await writer.write(bytes(2 << 20))
    for ask in (house.names.stamp(), house.names.current(bucket.id, "k")):
        with pytest.raises(Unreachable):
            await ask
    with pytest.raises(Unreachable):
        house.objects.writer(IDENT)
    with pytest.raises(Unreachable):
        await collect(house, version, 0, 1)
    assert not house.session.is_leased()
    assert not house.local_objects.usage.bodies


async def test_a_lease_is_counted_from_before_it_was_asked_for(house: House) -> None:
    await leased(house)
    extend, asked_at = house.copies.extend, 0.0

    def late(copy: Copy) -> None:
        nonlocal asked_at
        if not asked_at:
            asked_at = house.clock.monotonic()
            house.clock.ahead += 2  # Between the question and the answer.
            extend(copy)
        house.pair.serving._copy.is_connected = False  # It is the last answer.

    house.copies.extend = late  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        while not asked_at:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert house.session.is_leased()
    house.clock.ahead += asked_at + LEASE_SECONDS + 0.05 - house.clock.monotonic()
    assert not house.session.is_leased()


async def test_without_answers_the_lease_ends(house: House) -> None:
    await leased(house)
    house.copies.extend = lambda _: None  # type: ignore[method-assign]
    house.pair.serving._copy.is_connected = False  # So pings are not answered.
    await asyncio.sleep(0.2)
    house.clock.ahead = LEASE_SECONDS + 0.6
    await asyncio.sleep(0.8)
    assert not house.session.is_leased()


# -- who does not speak as he should -------------------------------------------------------------


class Stranger:
    """Sends what it likes to a serving datacenter."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def send(self, *frames: bytes) -> str:
        """What ended the session; "" when it goes on."""
        mine, theirs = await streams()
        link = Link(*mine, wire.decode_asked)
        serving = Serving(
            [link], self._house.local, self._house.local_objects, no_mark, self._house.copies
        )
        welcome = wire.Welcome("00000000000000aa", SETTINGS, bytes(32))
        running = asyncio.create_task(serving.run(welcome, self._house.local.directory))
        for frame in frames:
            theirs[1].write(frame)
        done, _ = await asyncio.wait({running}, timeout=0.5)
        running.cancel()
        theirs[1].close()
        result = (await asyncio.gather(running, return_exceptions=True))[0]
        return type(result).__name__ if done else ""


def framed(frame: Frame, payload: bytes = b"") -> bytes:
    header = wire.encode(frame)
    return wire.LENGTHS.pack(len(header), len(payload)) + header + payload


class _Stuck:
    """A body that takes nothing."""

    async def write(self, _: bytes) -> None:
        await asyncio.Event().wait()

    def abort(self) -> None:
        pass


@pytest.mark.parametrize(
    "data",
    [
        wire.LENGTHS.pack(0, 0),
        wire.LENGTHS.pack(wire.HEADER_BYTES_MAX + 1, 0),
        wire.LENGTHS.pack(3, wire.PAYLOAD_BYTES_MAX + 1),
        wire.LENGTHS.pack(3, 0) + b"\xc1\xc1\xc1",
        wire.LENGTHS.pack(1, 0) + b"\x90",
        framed(Result(1)),
    ],
)
async def test_what_is_no_frame_ends_the_session(house: House, data: bytes) -> None:
    assert await Stranger(house).send(data) == "WireError"


async def test_more_pieces_than_were_asked_for_end_the_session(house: House) -> None:
    house.local_objects.writer = lambda _, tier: _Stuck()  # type: ignore[method-assign,assignment,return-value]
    pieces = [framed(wire.Piece(1), bytes(1000)) for _ in range(wire.WINDOW + 3)]
    assert (
        await Stranger(house).send(framed(wire.Begin(1, IDENT, STANDARD)), *pieces) == "WireError"
    )


@pytest.mark.parametrize("what", ["feed", "close", "__init__", "directory", "apply", "nothing"])
async def test_what_is_not_for_gateways_cannot_be_asked(house: House, what: str) -> None:
    assert await Stranger(house).send(framed(Call(1, what), b"\x90"), framed(Ping(1))) == ""
    answer = house.session.ask(
        house.session.link_for(0), lambda number: Call(number, what), b"\x90"
    )
    with pytest.raises(Exception, match="WireError"):
        await answer


async def test_arguments_that_are_none_are_an_error_of_that_call(house: House) -> None:
    answer = house.session.ask(house.session.link_for(0), lambda n: Call(n, "put"), b"\xc1")
    with pytest.raises(Exception, match="DecodeError"):
        await answer
    assert await house.names.stamp()


async def test_a_pong_that_was_not_asked_for_ends_the_session() -> None:
    mine, theirs = await streams()
    session = Session([Link(*mine, wire.decode_told)], SystemClock(), lambda _: None)
    running = asyncio.create_task(session.run())
    theirs[1].write(framed(wire.Pong(7)))
    with pytest.raises(WireError):
        await asyncio.wait_for(running, 5)
    theirs[1].close()
