"""Buckets deleted in one DC while another writes into them, and what comes after."""

from pathlib import Path

import pytest
from dcs_kit import bucket_of, exchange, sites, state
from names_kit import OWNER

from dc.names.api import NoSuchBucket
from dc.names.model import Bucket, bucket_id

PHOTOS = bucket_id(OWNER, "photos")


async def test_a_bucket_comes_back_for_an_object_that_was_not_seen(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await exchange(one, other)
        await one.names.delete_bucket(PHOTOS)
        made = await other.put(bucket, "k")
        await exchange(one, other)
        for site in (one, other):
            again = site.names.directory.bucket("photos")
            assert again is not None and again.revived > again.deleted > again.created
            current = await site.version(bucket, "k")
            assert current is not None and current.stamp == made.stamp
        assert await state(one.names) == await state(other.names)
        assert one.names.roots() == other.names.roots()


async def test_who_saw_the_deletion_of_the_object_deletes_the_bucket(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await other.put(await bucket_of(other), "k")
        await exchange(one, other)
        await one.delete(bucket, "k")
        await one.names.delete_bucket(PHOTOS)
        await exchange(one, other)
        for site in (one, other):
            assert site.names.directory.bucket("photos") is None
            with pytest.raises(NoSuchBucket):
                await site.put(bucket, "k")


@pytest.mark.parametrize("dc_id", ["0" * 16, "f" * 16])
async def test_a_revival_ahead_of_the_clock_can_be_deleted(tmp_path: Path, dc_id: str) -> None:
    async with sites(tmp_path, 1) as (one,):
        created = await bucket_of(one)
        moment = int(one.names.clock.now()[:16], 16) + 1
        deleted, revived = (f"{moment + more:016x}{dc_id}" for more in (0, 1))
        one.names.clock.observe(deleted)
        await one.names.apply([_with(created, deleted=deleted, revived=revived)])
        await one.names.delete_bucket(PHOTOS)
        assert one.names.directory.bucket("photos") is None
        again = await bucket_of(one)
        assert one.names.directory.bucket("photos") == again
        assert again.live


def _with(bucket: Bucket, deleted: str, revived: str) -> Bucket:
    return Bucket(
        id=bucket.id,
        name=bucket.name,
        owner=bucket.owner,
        region=bucket.region,
        created=bucket.created,
        deleted=deleted,
        revived=revived,
    )


async def test_a_bucket_made_anew_has_nothing_of_the_old_one(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        await bucket_of(one)
        await exchange(one, other)
        await other.names.set_bucket_registers(PHOTOS, {"acl": "public"})
        await one.names.delete_bucket(PHOTOS)
        one.clock.ms += 1000
        await bucket_of(one)
        await one.names.set_bucket_registers(PHOTOS, {"tags": "new"})
        await exchange(one, other)
        for site in (one, other):
            bucket = site.names.directory.bucket("photos")
            assert bucket is not None
            assert {name: one.value for name, one in bucket.registers.items()} == {"tags": "new"}
