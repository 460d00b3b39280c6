"""Names that were made again: what has no entry is noted once more."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dc.names.model import Extent, Kind, Meta, Register, Version
from dc.names.notary_outbox import Noted
from dc.names.service import SqliteNames, open_names
from dc.notary import NOTARY, ON
from dc.stamps import utc_text
from dc.system import SystemClock, SystemDatabases, SystemRandomness
from notary import tables
from notary.catching_up import DONE_SECONDS, PAGE, CatchUp
from notary.entries import Entry, encode
from notary.note import origin_of
from notary.store import Store, open_store

PARIS, TOKYO = "1111111111111111", "2222222222222222"
OWNER = "a" * 64


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[tuple[SqliteNames, Store]]:
    names = await open_names(
        path / "names.db",
        databases=SystemDatabases(),
        clock=SystemClock(),
        randomness=SystemRandomness(),
        dc_id=PARIS,
    )
    store = await open_store(path / "log.db", SystemDatabases())
    await store.act(lambda db: tables.begin_log(db, origin_of(PARIS), b"k" * 32))
    try:
        yield names, store
    finally:
        await store.close()
        await names.close()


async def put(names: SqliteNames, bucket: str, key: str, sha256: str | None) -> Version:
    stamp = await names.stamp()
    registers = {} if sha256 is None else {NOTARY: Register(stamp, sha256)}
    place = [Extent(1 << 60, 64, 3)]
    made = Version(
        bucket, key, "", stamp, Kind.OBJECT, 3, "etag", Meta(), place, registers=registers
    )
    await names.put(made)
    return made


async def forget(names: SqliteNames) -> None:
    """As if the names had been made again."""
    rows = await names.notary_outbox.page(10_000)
    await names.notary_outbox.done([number for number, _ in rows])


async def noted(names: SqliteNames) -> list[Noted]:
    return [one for _, one in await names.notary_outbox.page(10_000)]


async def run(names: SqliteNames, store: Store) -> int:
    """Until it is done; how many steps that took."""
    catching_up, steps = CatchUp(names, store), 1
    await catching_up.open()
    while await catching_up.step() != DONE_SECONDS:
        steps += 1
    return steps


async def test_what_has_no_entry_is_noted_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as (names, store):
        bucket = await names.create_bucket("photos", OWNER, "eu", registers={NOTARY: ON})
        known = await put(names, bucket.id, "known", "ab" * 32)
        lacking = await put(names, bucket.id, "lacking", "cd" * 32)
        to_read = await put(names, bucket.id, "to-read", "-")
        await put(names, bucket.id, "plain", None)
        entry = Entry(
            v=1,
            type="version",
            dc="paris",
            dc_id=PARIS,
            bucket="photos",
            bucket_id=bucket.id,
            stamp=known.stamp,
            time=utc_text(0),
        )

        def append(db: tables.Connection) -> None:
            tables.append(db, tables.logs(db)[0], [encode(entry)])

        await store.act(append)
        await forget(names)
        assert await run(names, store) == 1
        found = await noted(names)
        assert [(one.key, one.stamp, one.sha256) for one in found] == [
            ("lacking", lacking.stamp, ""),
            ("to-read", to_read.stamp, ""),
        ]
        for one, of in zip(found, (lacking, to_read), strict=True):
            assert one.version is not None, "whatever is said of its bytes, they are read"
            assert one.version.extents == of.extents
        # A generation is looked through once.
        await forget(names)
        await run(names, store)
        assert await noted(names) == []


async def test_what_is_written_since_the_start_is_noted_anyway(tmp_path: Path) -> None:
    async with opened(tmp_path) as (names, store):
        bucket = await names.create_bucket("photos", OWNER, "eu", registers={NOTARY: ON})
        catching_up = CatchUp(names, store)
        await catching_up.open()
        await put(names, bucket.id, "k", "cd" * 32)
        await catching_up.step()
        assert [one.sha256 for one in await noted(names)] == ["cd" * 32]


async def test_what_others_have_made_is_theirs(tmp_path: Path) -> None:
    async with opened(tmp_path) as (names, store):
        bucket = await names.create_bucket("photos", OWNER, "eu", registers={NOTARY: ON})
        stamp = f"{1_800_000_000_000:012x}0000{TOKYO}"
        theirs = Version(
            bucket.id, "k", "", stamp, Kind.OBJECT, 0, "e", Meta(), [],
            registers={NOTARY: Register(stamp, "ab" * 32)},
        )  # fmt: skip
        await names.apply([theirs])
        await run(names, store)
        assert await noted(names) == []


async def test_a_new_generation_is_looked_through_page_by_page(tmp_path: Path) -> None:
    async with opened(tmp_path) as (names, store):
        bucket = await names.create_bucket("photos", OWNER, "eu", registers={NOTARY: ON})
        await run(names, store)
        for number in range(PAGE + 5):
            await put(names, bucket.id, f"{number}", "ab" * 32)
        await forget(names)
        await run(names, store)
        assert await noted(names) == [], "the generation is the same"
        await store.act(lambda db: tables.set_fact(db, "generation", "another"))
        assert await run(names, store) == 2
        assert len(await noted(names)) == PAGE + 5


async def test_where_nothing_is_notarized_nothing_is_looked_through(tmp_path: Path) -> None:
    async with opened(tmp_path) as (names, store):
        bucket = await names.create_bucket("photos", OWNER, "eu")
        for number in range(PAGE + 5):
            await put(names, bucket.id, f"{number}", None)
        assert await run(names, store) == 1
        generation, _, _ = await names.journal.load()
        assert await store.read(lambda db: tables.fact(db, "generation")) == generation
