"""Events: their topics hold no wildcard, their JSON no secret, and both say what changed where."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dc.events.kinds import KINDS
from dc.events.records import Records
from dc.names.model import (
    DATA_KEYS,
    AccessKey,
    Bucket,
    Change,
    Conflict,
    FeedEntry,
    Kind,
    Register,
    Site,
    Tombstone,
    User,
)
from dc.names.service import SqliteNames
from tests.dc.names.names_kit import OWNER, PARIS, TOKYO, opened, stamp_at, tombstone, version

ALL = frozenset(KINDS)
SECRET = b"c0ffee-secret"
MS = 1_800_000_000_123
DOCS = Path(__file__).parents[3] / "docs/events.md"


def told(
    names: SqliteNames, change: Change, kinds: frozenset[str] = ALL
) -> tuple[str, dict[str, Any]] | None:
    records = Records(names.directory, "paris", PARIS, "farshore-events/")
    found = records.told("epoch", FeedEntry(7, change), kinds)
    if found is None:
        return None
    assert SECRET not in found.payload
    return found.topic, json.loads(found.payload)


async def changes(names: SqliteNames) -> dict[str, Change]:
    """One of each kind, in a bucket that there is."""
    bucket = (await names.create_bucket("photos", OWNER, "paris")).id
    stamp = stamp_at(MS)
    loser = version(bucket, "a", stamp_at(MS - 1, origin=TOKYO))
    return {
        "object": version(bucket, "a/+#\n", stamp, vid="f" * 32),
        "marker": version(bucket, "a", stamp, kind=Kind.DELETE_MARKER),
        "deletion": tombstone(bucket, "a", stamp),
        "conflict": Conflict(loser=loser, winner=stamp),
        "bucket": names.directory.bucket_by_id(bucket) or pytest.fail("no bucket"),
        "user": User(id=OWNER, email="a@example.org", stamp=stamp),
        "key": AccessKey(id="AK1", user=OWNER, secret=SECRET, stamp=stamp, deleted=True),
        "datacenter": Site(dc_id=PARIS, name="paris", region="eu", stamp=stamp),
    }


async def test_each_kind_has_its_topic_and_can_be_left_out(tmp_path: Path) -> None:
    async with opened(tmp_path / "n.db") as names:
        for kind, change in (await changes(names)).items():
            found = told(names, change)
            assert found is not None
            in_bucket = kind not in ("user", "key", "datacenter")
            assert found[0] == f"farshore-events/paris/{kind}{'/photos' if in_bucket else ''}"
            assert found[1]["kind"] == kind and found[1]["position"] == 7
            assert told(names, change, ALL - {kind}) is None


async def test_an_object_says_what_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path / "n.db") as names:
        change = (await changes(names))["object"]
        found = told(names, change)
        assert found is not None and isinstance(change, msgspec.Struct)
        assert found[1] == {
            "v": 1, "kind": "object", "dc": "paris", "dc_id": PARIS, "epoch": "epoch",
            "position": 7, "stamp": stamp_at(MS), "time": "2027-01-15T08:00:00.123Z",
            "origin": "paris", "origin_id": PARIS, "local": True, "bucket": "photos",
            "bucket_id": change.bucket, "key": "a/+#\n", "version_id": "f" * 32,
            "size": 5, "etag": stamp_at(MS),
        }  # fmt: skip


async def test_an_attribute_that_is_set_elsewhere_makes_it_a_change_of_there(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "n.db") as names:
        bucket = (await names.create_bucket("photos", OWNER, "paris")).id
        later = stamp_at(MS + 5, origin=TOKYO)
        change = msgspec.structs.replace(
            version(bucket, "a", stamp_at(MS)), registers={"tags": Register(later, SECRET.decode())}
        )
        found = told(names, change)
        assert found is not None
        assert (found[1]["stamp"], found[1]["origin_id"], found[1]["local"]) == (
            later,
            TOKYO,
            False,
        )
        assert found[1]["attributes"] == {"tags": later} and found[1]["origin"] == ""


async def test_data_keys_are_nobodys_business(tmp_path: Path) -> None:
    async with opened(tmp_path / "n.db") as names:
        key = AccessKey(id="K", user=DATA_KEYS, secret=SECRET, stamp=stamp_at(MS))
        assert told(names, key) is None


@pytest.mark.parametrize("name", ["a+b", "a#", "a/b", "$SYS", "ä", "a b", "a\0b", "a%2Fb"])
async def test_no_name_of_a_bucket_leaves_its_level(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path / "n.db") as names:
        bucket = Bucket(id="0" * 16, name=name, owner=OWNER, region="eu", created=stamp_at(MS))
        await names.apply([bucket])
        gone = Tombstone(bucket=bucket.id, key="k", vid="", stamp=stamp_at(MS))
        for change in (bucket, gone):
            found = told(names, change)
            assert found is not None
            level = found[0].split("/")[3:]
            assert len(level) == 1 and not set(level[0]) & set("+#$ \0ä/")
            assert found[1]["bucket"] == name


async def test_a_bucket_that_is_not_known_yet_is_told_by_its_id(tmp_path: Path) -> None:
    async with opened(tmp_path / "n.db") as names:
        found = told(names, tombstone("0123456789abcdef", "k", stamp_at(MS)))
        assert found is not None and found[0].endswith("/deletion/0123456789abcdef")


async def test_the_page_has_every_field_and_kind(tmp_path: Path) -> None:
    page = DOCS.read_text()
    async with opened(tmp_path / "n.db") as names:
        for change in (await changes(names)).values():
            found = told(names, change)
            assert found is not None
            assert not [name for name in found[1] if f"`{name}`" not in page]
    assert not [kind for kind in KINDS if f"`{kind}`" not in page]
