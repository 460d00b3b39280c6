"""Which names the buckets are shown by, after two DCs gave one name away."""

from itertools import permutations
from pathlib import Path

import pytest
from names_kit import OWNER, PARIS, TOKYO, opened, stamp_at, version

from dc.names.api import BucketExists
from dc.names.directory import MemoryDirectory
from dc.names.model import Bucket, Change, Site, bucket_id

OTHER, THIRD = "b" * 64, "c" * 64


def bucket(owner: str, ms: int, origin: str, name: str = "photos") -> Bucket:
    return Bucket(
        id=bucket_id(owner, name),
        name=name,
        owner=owner,
        region="eu",
        created=stamp_at(ms, origin=origin),
    )


def site(name: str, dc_id: str = TOKYO) -> Site:
    return Site(dc_id=dc_id, name=name, region="ap", stamp=stamp_at(1, origin=dc_id))


def shown(changes: list[Change]) -> dict[str, str]:
    """Who is shown by which name."""
    directory = MemoryDirectory()
    directory.update(changes)
    found = {}
    for owner in (OWNER, OTHER, THIRD):
        for one in directory.buckets_of(owner):
            assert directory.bucket(one.name) == one
            assert directory.shown_name(one.id) == one.name
            found[one.name] = owner
    return found


def test_the_later_bucket_is_shown_by_the_name_of_the_dc_that_made_it() -> None:
    changes: list[Change] = [
        bucket(OWNER, 5, PARIS),
        bucket(OTHER, 6, TOKYO),
        bucket(THIRD, 7, TOKYO),
        site("tokyo"),
    ]
    for order in permutations(changes):
        directory = MemoryDirectory()
        for change in order:
            directory.update([change])
        assert {name: one.owner for name, one in directory._named.items()} == {
            "photos": OWNER,
            "photos--conflict-tokyo": OTHER,
            "photos--conflict-tokyo-2": THIRD,
        }
        renamed = directory.renamed_buckets()
        assert [one.owner for one in renamed] == [OTHER, THIRD]
        assert {one.name for one in renamed} == {"photos"}
        assert directory.site(TOKYO) == site("tokyo")


@pytest.mark.parametrize(
    "name", ["Tokyo", "tokyo-", "-tokyo", "", "t.k", "to kyo", "x" * 33, "s3alias", "a--x-s3", "é"]
)
def test_a_name_that_cannot_end_a_bucket_name_is_not_used(name: str) -> None:
    found = shown([bucket(OWNER, 5, PARIS), bucket(OTHER, 6, TOKYO), site(name)])
    assert found == {"photos": OWNER, f"photos--conflict-{TOKYO[:8]}": OTHER}


def test_an_unknown_dc_is_shown_by_its_id() -> None:
    found = shown([bucket(OWNER, 5, PARIS), bucket(OTHER, 6, TOKYO), site("paris", PARIS)])
    assert found == {"photos": OWNER, f"photos--conflict-{TOKYO[:8]}": OTHER}


@pytest.mark.parametrize("name", ["n" * 63, "n" * 45 + ".-" + "n" * 10, "n" * 20 + "." + "n" * 9])
def test_names_stay_short_and_apart(name: str) -> None:
    long = "k" * 32
    owners = (OWNER, OTHER, THIRD)
    changes: list[Change] = [
        bucket(owner, ms, TOKYO, name) for ms, owner in enumerate(owners, start=5)
    ]
    found = shown([*changes, site(long)])
    assert sorted(found.values()) == sorted(owners)
    assert all(len(one) <= 63 and ".-" not in one.removeprefix(name) for one in found)
    assert sum(one.endswith((f"--conflict-{long}", f"--conflict-{long}-2")) for one in found) == 2


def test_a_bucket_made_under_such_a_name_keeps_it() -> None:
    theirs = bucket(THIRD, 9, PARIS, "photos--conflict-tokyo")
    found = shown([theirs, bucket(OTHER, 6, TOKYO), bucket(OWNER, 5, PARIS), site("tokyo")])
    assert found == {
        "photos": OWNER,
        "photos--conflict-tokyo": THIRD,
        "photos--conflict-tokyo-2": OTHER,
    }


async def test_a_name_by_which_a_bucket_is_shown_is_taken(tmp_path: Path) -> None:
    async with opened(tmp_path / "n.db") as names:
        await names.apply([bucket(OWNER, 5, PARIS), bucket(OTHER, 6, TOKYO), site("tokyo")])
        with pytest.raises(BucketExists) as error:
            await names.create_bucket("photos--conflict-tokyo", THIRD, "eu")
        assert error.value.bucket.owner == OTHER
        # It is a bucket like any other; and it has its own name when that is free.
        renamed = names.directory.bucket("photos--conflict-tokyo")
        assert renamed is not None
        await names.put(version(renamed.id, "k", names.clock.now()))
        await names.delete_bucket(bucket_id(OWNER, "photos"))
        back = names.directory.bucket("photos")
        assert back is not None and back.owner == OTHER
        assert names.directory.bucket("photos--conflict-tokyo") is None
        assert await names.current(back.id, "k") is not None
        assert names.directory.renamed_buckets() == []
