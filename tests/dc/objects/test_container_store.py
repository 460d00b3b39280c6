"""Bodies in, the same bytes out: at all sizes and ranges, together, cancelled, and after close."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from object_checks import FOLDER, noise, scan_image, settle, store_on, upload, whole
from object_disks import MemoryDisk

from dc.objects import lane, store, writer
from dc.objects.api import MissingData, ObjectsError
from dc.objects.format import file_name
from dc.objects.store import ContainerStore
from dc.system import SystemClock, SystemDisk, SystemRandomness

K = 1 << 10
M = 1 << 20
SIZES = [0, 1, 4095, 64 * K - 1, 64 * K, 64 * K + 1, M - 1, M, M + 1, 5 * M]


@pytest.mark.parametrize("size", SIZES)
async def test_round_trip_on_a_real_disk(tmp_path: Path, size: int) -> None:
    objects = ContainerStore(
        tmp_path, disk=SystemDisk(), clock=SystemClock(), randomness=SystemRandomness()
    )
    await objects.open()
    data = noise(size)
    streamed = (await upload(objects, b"ident", data))[1]
    bodies = [streamed]
    if size <= M:
        bodies.append(await objects.put(b"ident", data))
    for extents in bodies:
        assert sum(extent.length for extent in extents) == size
        assert await whole(objects, extents, 0, size) == data
        assert (
            await whole(objects, extents, size // 3, size - size // 5)
            == (data[size // 3 : size - size // 5])
        )
        assert objects.read_cached(extents) in (data, None)
    assert objects.stats().bytes_on_disk == sum(
        path.stat().st_size for path in (tmp_path / "containers").iterdir()
    )
    await objects.close()


@settings(max_examples=60, deadline=None)
@given(
    size=st.sampled_from(SIZES),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    nudge=st.sampled_from([-1, 0, 1]),
    step=st.sampled_from([999, 16 * K, 64 * K, 100_000, 3 * M]),
)
def test_any_range_of_any_size(size: int, ends: tuple[float, float], nudge: int, step: int) -> None:
    start, stop = sorted(
        min(size, max(0, round(end * size) // (64 * K) * (64 * K) + nudge)) for end in ends
    )

    async def scenario() -> None:
        objects = store_on(MemoryDisk())
        await objects.open()
        data = noise(size)
        _, extents, _ = await upload(objects, b"x", data, step)
        assert await whole(objects, extents, start, stop) == data[start:stop]
        await objects.close()

    asyncio.run(scenario())


async def test_pieces_are_at_most_one_mebibyte_and_ranges_are_checked() -> None:
    objects = store_on(MemoryDisk())
    await objects.open()
    _, extents, _ = await upload(objects, b"x", noise(3 * M + 5))
    sizes = [len(piece) async for piece in objects.read(extents, 10, 3 * M + 5)]
    assert sizes == [M - 10, M, M, 5]
    for start, stop in ((-1, 1), (2, 1), (0, 3 * M + 6)):
        with pytest.raises(ValueError, match="not within"):
            await whole(objects, extents, start, stop)
    await objects.close()


async def test_short_buffers_may_be_reused_never_mixed_up() -> None:
    objects = store_on(MemoryDisk())
    await objects.open()
    mine = bytearray(b"abc")
    async with objects.writer(b"x") as body:
        await body.write(mine)
        await body.write(b"def")
        await body.write(b"")
        extents = await body.finish()
    assert mine == b"abc"
    assert await whole(objects, extents, 0, 6) == b"abcdef"
    await objects.close()


async def test_puts_that_arrive_together_share_a_sync() -> None:
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    bodies = await asyncio.gather(*(objects.put(b"%d" % n, noise(4096, n)) for n in range(64)))
    assert disk.syncs == 1
    for number, extents in enumerate(bodies):
        assert objects.read_cached(extents) is None or number
        assert await whole(objects, extents, 0, 4096) == noise(4096, number)
        assert objects.read_cached(extents) == noise(4096, number)
    assert objects.stats().appends == 64
    assert objects.stats().syncs == 1
    await objects.close()


async def test_a_group_is_bounded_and_so_is_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "GROUP_MAX_BYTES", 8 * K)
    monkeypatch.setattr(lane, "QUEUE_MAX_BYTES", 20 * K)
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    puts = [asyncio.ensure_future(objects.put(b"", noise(3 * K, n))) for n in range(30)]
    most = 0
    while not all(put.done() for put in puts):
        await asyncio.sleep(0)
        most = max(most, objects._standard.small._budget.used)
    assert 10 * K < most <= 20 * K
    assert disk.syncs == 15
    for number, put in enumerate(puts):
        assert await whole(objects, put.result(), 0, 3 * K) == noise(3 * K, number)
    assert objects._standard.small._budget.used == 0
    await objects.close()


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancelled_put_harms_nobody(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "QUEUE_MAX_BYTES", 20 * K)
    objects = store_on(MemoryDisk())
    await objects.open()
    puts = [asyncio.ensure_future(objects.put(b"", noise(3 * K, n))) for n in range(24)]
    await settle(turns)
    for put in puts[::2]:
        put.cancel()
    results = await asyncio.gather(*puts, return_exceptions=True)
    for number, result in enumerate(results):
        if isinstance(result, list):
            assert await whole(objects, result, 0, 3 * K) == noise(3 * K, number)
        else:
            assert isinstance(result, asyncio.CancelledError)
            assert number % 2 == 0
    assert objects._standard.small._budget.used == 0
    await objects.close()


async def test_a_container_that_is_full_is_sealed_and_another_begun() -> None:
    disk = MemoryDisk()
    objects = store_on(disk, container_max_bytes=10_000)
    await objects.open()
    bodies = [await objects.put(b"%d" % n, noise(4096, n)) for n in range(7)]
    assert len({extents[0].container for extents in bodies}) == 4
    assert objects.stats().containers == len(disk.names) == 4
    assert all(len(content) <= 10_000 for content in disk.image().values())
    for number, extents in enumerate(bodies):
        assert await whole(objects, extents, 0, 4096) == noise(4096, number)
    await objects.close()
    assert disk.open_files == 0


async def test_a_restart_reads_the_old_and_appends_to_none_of_it() -> None:
    disk = MemoryDisk()
    first = store_on(disk)
    await first.open()
    [old] = await first.put(b"a", b"first")
    await first.close()
    before = disk.image()
    second = store_on(disk)
    await second.open()
    assert second.stats() == (1, len(next(iter(before.values()))), 0, 0)
    [new] = await second.put(b"b", b"second")
    assert new.container != old.container
    assert await whole(second, [old], 0, 5) == b"first"
    assert before.items() <= disk.image().items()
    await second.close()


async def test_a_body_streams_in_one_piece_with_few_frames_in_memory() -> None:
    objects = store_on(MemoryDisk())
    await objects.open()
    bodies = await asyncio.gather(*(upload(objects, b"%d" % n, noise(5 * M, n)) for n in range(4)))
    for ident, extents, data in bodies:
        assert len({extent.container for extent in extents}) == 1
        assert await whole(objects, extents, 0, 5 * M) == data
        records = scan_image(objects._disk.image(), extents[0].container)  # type: ignore[attr-defined]
        assert [record.position for record in records] == [n * M for n in range(5)]
        assert [record.last for record in records] == [False] * 4 + [True]
        assert {record.ident for record in records} == {ident}
    assert [one.writers for one in objects._standard.bulk] == [0, 0, 0, 0]
    await objects.close()


async def test_bodies_that_finish_together_share_a_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BULK_LANES", 1)
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    await asyncio.gather(*(upload(objects, b"%d" % n, noise(M, n)) for n in range(3)))
    assert disk.syncs == 1
    await objects.close()


async def test_syncs_run_beside_a_long_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "SYNC_EACH_BYTES", 4 * K)
    monkeypatch.setattr(writer, "RECORD_MAX_BYTES", K)
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    _, extents, data = await upload(objects, b"x", noise(40 * K), 700)
    assert 8 <= disk.syncs <= 12
    assert await whole(objects, extents, 0, len(data)) == data
    await objects.close()


@pytest.mark.parametrize("turns", range(8))
async def test_an_upload_cancelled_or_aborted_leaves_the_lane_working(turns: int) -> None:
    objects = store_on(MemoryDisk())
    await objects.open()
    going = asyncio.ensure_future(upload(objects, b"x", noise(5 * M)))
    await settle(turns)
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    body = objects.writer(b"y")
    await body.write(noise(3 * M))
    body.abort()
    body.abort()
    with pytest.raises(ObjectsError, match="begin a new one"):
        await body.write(b"more")
    _, extents, data = await upload(objects, b"z", noise(2 * M))
    assert await whole(objects, extents, 0, 2 * M) == data
    assert [one.writers for one in objects._standard.bulk] == [0, 0, 0, 0]
    await objects.close()
    assert [one._budget.used for one in objects._standard.bulk] == [0, 0, 0, 0]


async def test_close_writes_what_is_queued_and_refuses_what_comes_later() -> None:
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    puts = [asyncio.ensure_future(objects.put(b"", noise(100, n))) for n in range(5)]
    body = objects.writer(b"open")
    await body.write(b"x" * 100)
    await asyncio.sleep(0)
    await objects.close()
    assert all(len(put.result()) == 1 for put in puts)
    for late in (objects.put(b"", b"late"), body.finish()):
        with pytest.raises(ObjectsError):
            await late
    await objects.close()
    assert disk.open_files == 0


async def test_readers_that_stop_early_leave_nothing_behind(tmp_path: Path) -> None:
    objects = ContainerStore(
        tmp_path,
        disk=SystemDisk(),
        clock=SystemClock(),
        randomness=SystemRandomness(),
        files_max=1,
        container_max_bytes=5 * M,
    )
    await objects.open()
    bodies = [await upload(objects, b"%d" % n, noise(4 * M, n)) for n in range(4)]

    async def read_some(number: int) -> None:
        _, extents, data = bodies[number % 4]
        got = b""
        pieces = objects.read(extents, 0, len(data))
        async for piece in pieces:
            got += bytes(piece)
            if number % 3 == 0 and len(got) >= 2 * M:
                await pieces.aclose()  # type: ignore[attr-defined]
                break
        assert got == data[: len(got)]

    readers = [asyncio.ensure_future(read_some(number)) for number in range(24)]
    await asyncio.sleep(0.005)
    for reader in readers[1::3]:
        reader.cancel()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
    await asyncio.sleep(0.05)
    assert len(objects._files._opened) == 1
    assert [opened.borrowers for opened in objects._files._opened.values()] == [0]
    await objects.close()


async def test_what_is_not_cached_is_left_to_read() -> None:
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    extents = await objects.put(b"", b"body")
    assert objects.read_cached(extents) is None
    assert await whole(objects, extents, 0, 4) == b"body"
    disk.cached = False
    assert objects.read_cached(extents) is None
    large = await objects.put(b"", noise(256 * K + 1))
    assert objects.read_cached(large) is None
    assert objects.read_cached([]) == b""
    await objects.close()


async def test_a_container_that_is_gone_is_missing_data() -> None:
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    extents = await objects.put(b"", b"body")
    disk.remove(FOLDER / file_name(extents[0].container))
    with pytest.raises(MissingData, match=file_name(extents[0].container)):
        await whole(objects, extents, 0, 4)
    await objects.close()


async def test_wrong_use_is_refused() -> None:
    objects = store_on(MemoryDisk())
    with pytest.raises(ObjectsError, match="not open"):
        await objects.put(b"", b"x")
    await objects.open()
    with pytest.raises(ValueError, match="use writer"):
        await objects.put(b"", bytes(M + 1))
    with pytest.raises(ValueError, match="ident"):
        await objects.put(bytes(1 << 16), b"x")
    with pytest.raises(ValueError, match="at most"):
        store_on(MemoryDisk(), container_max_bytes=1 << 33)
    await objects.close()


async def test_a_container_that_somebody_deleted_is_told_and_another_is_begun(
    tmp_path: Path,
) -> None:
    objects = ContainerStore(
        tmp_path, disk=SystemDisk(), clock=SystemClock(), randomness=SystemRandomness()
    )
    await objects.open()
    await objects.put(b"a", b"first")
    [path] = (tmp_path / "containers").iterdir()
    path.unlink()
    with pytest.raises(ObjectsError, match="deleted"):
        await objects.put(b"b", b"second")
    extents = await objects.put(b"b", b"second")
    assert await whole(objects, extents, 0, 6) == b"second"
    [path] = (tmp_path / "containers").iterdir()
    path.unlink()
    path.parent.rmdir()
    for _ in range(2):
        with pytest.raises(ObjectsError):
            await objects.put(b"c", b"third")
    path.parent.mkdir()
    assert await whole(objects, await objects.put(b"c", b"third"), 0, 5) == b"third"
    await objects.close()
