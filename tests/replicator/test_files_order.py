"""Files of one feed, imported in any order, more than once, end in the same state."""

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from file_kit import export, pair_offline, root, take
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replica_kit import Dc, datacenters

from dc.names.exchanges import Span
from dc.names.model import Cursor
from replicator.errors import FileRefused
from replicator.importing import over
from replicator.limits import MIB

PIECES = 4


class Made:
    """Paris, its files for tokyo, and who tokyo is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[bytes] = []
        self.ends: list[int] = []
        self.root = ""
        self.paris: Dc
        self.tokyo: Dc


async def make(made: Made) -> None:
    """Four pieces of a feed, with overwrites, deletions, a large body and a restart in between."""
    async with datacenters(made.folder, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        made.paris, made.tokyo = paris, tokyo
        bucket = await paris.bucket()
        chance = iter(range(1000))
        end = 0
        for piece in range(PIECES):
            for number in range(6):
                await paris.put(bucket, f"key {number + piece}", os.urandom(500 + next(chance)))
            await paris.put(bucket, f"large {piece % 2}", os.urandom(MIB))
            await paris.put(bucket, "version", b"v", versioned=True)
            await paris.delete(bucket, f"key {piece}")
            file, report = await export(paris, tokyo, position=end)
            made.files.append(file)
            made.ends.append(end := report.last)
            if piece in (1, 2):
                await paris.down()
                await paris.up()
        made.root = root(paris)


async def fresh(made: Made, folder: Path) -> Dc:
    """Tokyo, which has nothing yet."""
    tokyo = Dc(folder, "tokyo")
    tokyo.identity = made.tokyo.identity
    await tokyo.open()
    for peer in await _peers(made):
        await tokyo.names.add_peer(peer)
    await tokyo.start()
    return tokyo


async def _peers(made: Made):  # type: ignore[no-untyped-def]
    if not hasattr(made, "peers"):
        await made.tokyo.open()
        made.peers = made.tokyo.names.peers()  # type: ignore[attr-defined]
        await made.tokyo.objects.close()
        await made.tokyo.names.close()
    return made.peers  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    result = Made(tmp_path_factory.mktemp("made"))
    asyncio.run(make(result))
    return result


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    first=st.permutations(range(PIECES)),
    again=st.lists(st.integers(0, PIECES - 1), max_size=2),
    cut=st.none() | st.integers(0, PIECES - 1),
)
def test_any_order_any_number_of_times(
    made: Made, first: list[int], again: list[int], cut: int | None
) -> None:
    asyncio.run(_in_order(made, [*first, *again], cut))


async def _in_order(made: Made, order: list[int], cut: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokyo = await fresh(made, Path(folder))
        try:
            taken: set[int] = set()
            for number in order:
                file = made.files[number]
                if number == cut:
                    cut = None
                    with pytest.raises(FileRefused):
                        await take(tokyo, file[: len(file) // 2])
                report = await take(tokyo, file)
                taken.add(number)
                assert report.complete and report.unfinished == 0
                whole = next((one for one in range(PIECES) if one not in taken), PIECES)
                assert report.position == (made.ends[whole - 1] if whole else 0)
                assert report.gap == (number >= whole)
            assert root(tokyo) == made.root
            cursor = await tokyo.names.cursor(made.paris.dc_id)
            assert cursor is not None and cursor.seq == made.ends[-1]
            assert (await tokyo.names.exchanges.of(made.paris.dc_id)).spans == []
        finally:
            await tokyo.down()


def test_the_cursor_goes_over_pieces_of_its_own_feed_only() -> None:
    spans = [Span("b", 10, 20, {"a": 12}), Span("b", 20, 30, {"a": 12}), Span("b", 40, 50, {})]
    cursor, left = over(Cursor("a", 10), spans, {})
    assert cursor == Cursor("b", 30) and left == spans[2:]
    assert over(Cursor("a", 13), spans, {}) == (Cursor("a", 13), spans), "b does not know that"
    assert over(Cursor("x", 10), spans, {}) == (Cursor("x", 10), spans)
    # An older piece of the same feed, taken after a newer one.
    assert over(Cursor("c", 10), spans, {"b": 60})[0] == Cursor("c", 30)
    assert over(Cursor("b", 9), spans, {}) == (Cursor("b", 9), spans), "there is a gap"
    # Pieces that go beyond the end of their epoch: the peer was put back to a backup since.
    assert over(Cursor("c", 10), spans, {"b": 19}) == (Cursor("c", 10), [])
    assert over(Cursor("b", 10), spans, {"b": 25}) == (Cursor("b", 20), []), "also of its own epoch"
