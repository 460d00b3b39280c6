"""The hash trees are what the tables say: kept up by differences, over crashes and folding."""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from dcs_kit import Site, TickingClock, assert_trees, bucket_of, exchange, sites
from names_kit import OWNER, opened

from dc.names import writer
from dc.names.api import NamesClosed
from dc.names.model import Bucket
from dc.names.trees import LEAVES, TREE_BYTES, Tree, Trees, delta, item_hash, leaf_of, root_of


@pytest.fixture(params=[1, 7, 10_000])
def folding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(writer, "CHECKPOINT_COMMITS", request.param)
    yield request.param


async def live(site: Site, other: Site, bucket: Bucket, dice: random.Random) -> None:
    """A history with everything that trees are changed by."""
    for _ in range(40):
        key = f"k{dice.randrange(6)}"
        match dice.randrange(8):
            case 0 | 1 | 2:
                await site.put(bucket, key)
            case 3:
                await site.delete(bucket, key)
            case 4 if await site.version(bucket, key):
                await site.names.set_registers(bucket.id, key, "", {"acl": key})
            case 5:
                await other.put(bucket, key)
                await exchange(site, other)
            case 6:
                for one in await site.names.conflicts(limit=1):
                    await site.names.drop_conflict(bucket.id, one.loser.key, one.loser.stamp)
            case _:
                await site.names.put_site(key, "eu")
                await site.names.set_bucket_registers(bucket.id, {"tags": key})


def log_of(path: Path) -> int:
    db = sqlite3.connect(path)
    (count,) = db.execute("SELECT count(*) FROM tree_log").fetchone()
    db.close()
    return int(count)


async def test_after_any_history_and_any_crash(tmp_path: Path, folding: int) -> None:
    for seed in range(3):
        (folder := tmp_path / str(seed)).mkdir()
        async with sites(folder) as (one, other):
            bucket = await bucket_of(one)
            await exchange(one, other)
            dice = random.Random(seed)
            for _ in range(3):
                await live(one, other, bucket, dice)
                await assert_trees(one.names)
                roots = one.names.roots()
                # As a kill leaves it: nothing is closed.
                copy = folder / "copy.db"
                for suffix in ("", "-wal"):
                    shutil.copy(f"{one.path}{suffix}", f"{copy}{suffix}")
                copied = log_of(copy)
                assert copied > 40 if folding == 10_000 else copied < 40
                async with opened(copy, one.dc_id, TickingClock()) as again:
                    assert again.roots() == roots
                    await assert_trees(again)
                    await again.put_site("after", "eu")
                    await again.create_bucket("other", OWNER, "eu")
                    await assert_trees(again)
                await one.start_again()
                assert one.names.roots() == roots
            await exchange(one, other)
            assert one.names.roots() == other.names.roots()
            await assert_trees(other.names)


async def test_a_change_that_takes_no_position_is_logged_as_well(tmp_path: Path) -> None:
    async with sites(tmp_path, 1) as (one,):
        bucket = await bucket_of(one)
        await one.put(bucket, "k")
        roots = one.names.roots()
        await one.names.upkeep()
        await one.start_again()
        assert one.names.roots() == roots
        assert one.names.leaves(bucket.id) != bytes(TREE_BYTES)
        assert one.names.leaves("f" * 16) == bytes(TREE_BYTES)


def test_sparse_and_dense_are_one() -> None:
    dice = random.Random(7)
    changes = [(dice.randrange(LEAVES), dice.getrandbits(128)) for _ in range(2000)]
    small, large = Tree(), Tree(bytes(TREE_BYTES))
    for at, (leaf, value) in enumerate(changes):
        small.add(leaf, value)
        large.add(leaf, value)
        if at % 200 == 0:
            assert small.root() == large.root()
            assert small.leaves() == large.leaves()
    for leaf, value in dice.sample(changes, len(changes)):
        small.add(leaf, (1 << 128) - value)
    assert small.is_empty() and small.root() == ""


def test_what_is_put_back_is_stored_later() -> None:
    trees = Trees({})
    new = item_hash(("k", 1))
    trees.apply([delta(3, "k", "", new)])
    stored = trees.take_changed()
    assert [number for number, _ in stored] == [3] and trees.take_changed() == []
    trees.put_back(stored)
    assert [number for number, _ in trees.take_changed()] == [3]
    trees.apply([delta(3, "k", new, "")])
    assert trees.roots() == {}


def test_hashes_do_not_depend_on_the_order_of_names() -> None:
    assert item_hash(({"a": 1, "b": 2},)) == item_hash(({"b": 2, "a": 1},))
    assert item_hash(("a", "b")) != item_hash(("ab",))
    assert 0 <= leaf_of("\ud800 odd") < LEAVES
    assert root_of([("b", "1"), ("a", "2")]) == root_of([("a", "2"), ("b", "1")])
    assert root_of([]) != root_of([("a", "2")])


class Unasked:
    """A database on which a commit fails, though it takes effect, and which cannot say so."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._broken = False
        self.executemany = db.executemany

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, text: str, *values: object) -> sqlite3.Cursor:
        if self._broken:
            raise sqlite3.OperationalError("disk I/O error")
        done = self._db.execute(text, *values)  # type: ignore[arg-type]
        if text == "COMMIT":
            self._broken = True
            raise sqlite3.OperationalError("disk I/O error")
        return done


async def test_a_commit_that_could_not_be_asked_for_is_followed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sites(tmp_path, 1) as (one,):
        bucket = await bucket_of(one)
        transact = writer.Writer._transact
        with monkeypatch.context() as patch:
            patch.setattr(
                writer.Writer,
                "_transact",
                lambda self, db, *more: transact(self, Unasked(db), *more),
            )
            with pytest.raises(NamesClosed):
                await one.put(bucket, "a")
        one.names._writer._fold = True
        await one.names.upkeep()
        await one.put(bucket, "b")
        assert await one.version(bucket, "a") is not None
        await assert_trees(one.names)
        await one.start_again()
        await assert_trees(one.names)
        assert await one.version(bucket, "b") is not None
