"""Versions, locks and conditional writes in two datacenters: what is promised where."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway_kit import Answer, House
from replica_kit import Dc, eventually, settled
from test_s3_replication_status import two

LOCKED = {"versioning": "Enabled", "object-lock": '{"ObjectLockEnabled":"Enabled"}'}


@contextlib.asynccontextmanager
async def versioned(
    root: Path, registers: dict[str, str]
) -> AsyncIterator[tuple[Dc, Dc, House, House]]:
    """Two datacenters, and the bucket `photos` with these settings in both."""
    async with two(root) as (paris, tokyo, at_paris, at_tokyo):
        bucket = paris.names.directory.bucket("photos")
        assert bucket is not None
        await paris.names.set_bucket_registers(bucket.id, registers)
        await settled(paris, tokyo)
        yield paris, tokyo, at_paris, at_tokyo


@contextlib.asynccontextmanager
async def apart(paris: Dc, tokyo: Dc) -> AsyncIterator[None]:
    """Neither hears of the other; then both do."""
    await tokyo.replicator.stop()
    await paris.replicator.stop()
    try:
        yield
    finally:
        await paris.start()
        await tokyo.start()
    await settled(paris, tokyo)


async def put(house: House, body: bytes = b"body", **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await house.ask("PUT", "/photos/k", body, sent)
    assert answer.status == 200, answer.body
    return answer


async def there(house: House) -> list[tuple[str, str]]:
    answer = await house.ask("GET", "/photos?versions")
    return [*zip(answer.texts("VersionId"), answer.texts("IsLatest"), strict=True)]


async def test_versions_and_markers_have_the_same_ids_everywhere(tmp_path: Path) -> None:
    registers = {"versioning": "Enabled"}
    async with versioned(tmp_path, registers) as (paris, tokyo, at_paris, at_tokyo):
        first = await put(at_paris, b"first", x_amz_storage_class="GLACIER")
        await settled(paris, tokyo)
        await put(at_tokyo, b"second")
        marker = await at_tokyo.ask("DELETE", "/photos/k")
        await settled(paris, tokyo)
        assert await there(at_paris) == await there(at_tokyo)
        assert len(await there(at_paris)) == 3
        gone = await at_paris.ask("GET", "/photos/k")
        assert gone.headers["x-amz-version-id"] == marker.headers["x-amz-version-id"]
        target = f"/photos/k?versionId={first.headers['x-amz-version-id']}"
        read = await at_tokyo.ask("GET", target)
        assert read.body == b"first"
        assert read.headers["x-amz-replication-status"] == "REPLICA"
        assert read.headers["x-amz-storage-class"] == "GLACIER"
        listed = await at_tokyo.ask("GET", "/photos?versions")
        assert listed.texts("StorageClass") == ["STANDARD", "GLACIER"]
        assert (await at_tokyo.ask("DELETE", target)).status == 204
        marker_id = marker.headers["x-amz-version-id"]
        assert (await at_paris.ask("DELETE", f"/photos/k?versionId={marker_id}")).status == 204
        await settled(paris, tokyo)
        for house in (at_paris, at_tokyo):
            assert (await house.ask("GET", target)).code == "NoSuchVersion"
            assert (await house.ask("GET", "/photos/k")).body == b"second"


async def test_a_lock_that_a_version_is_born_with_holds_wherever_it_is(tmp_path: Path) -> None:
    async with versioned(tmp_path, LOCKED) as (paris, tokyo, at_paris, at_tokyo):
        written = await put(
            at_paris,
            x_amz_object_lock_mode="GOVERNANCE",
            x_amz_object_lock_retain_until_date="2140-01-01T00:00:00Z",
        )
        target = f"/photos/k?versionId={written.headers['x-amz-version-id']}"
        early = await at_tokyo.ask("DELETE", target)
        assert early.code in ("NoSuchVersion", "AccessDenied"), "nothing is deleted unheard"
        await settled(paris, tokyo)
        assert (await at_tokyo.ask("DELETE", target)).code == "AccessDenied"
        head = (await at_tokyo.ask("HEAD", target)).headers
        assert head["x-amz-object-lock-mode"] == "GOVERNANCE"
        assert head["x-amz-object-lock-retain-until-date"] == "2140-01-01T00:00:00.000Z"
        bypass = {"x-amz-bypass-governance-retention": "true"}
        assert (await at_tokyo.ask("DELETE", target, headers=bypass)).status == 204
        await settled(paris, tokyo)
        assert (await at_paris.ask("GET", target)).code == "NoSuchVersion"


async def hold(house: House, dc: Dc) -> None:
    """Set a legal hold on the newest version of `k`."""
    bucket = dc.names.directory.bucket("photos")
    assert bucket is not None
    version = await dc.names.current(bucket.id, "k")
    assert version is not None
    await dc.names.set_registers(bucket.id, "k", version.vid, {"hold": "ON"})
    assert (await house.ask("HEAD", "/photos/k")).headers["x-amz-object-lock-legal-hold"] == "ON"


async def test_a_lock_set_later_holds_where_it_has_arrived(tmp_path: Path) -> None:
    async with versioned(tmp_path, LOCKED) as (paris, tokyo, at_paris, at_tokyo):
        written = await put(at_paris)
        target = f"/photos/k?versionId={written.headers['x-amz-version-id']}"
        await settled(paris, tokyo)
        async with apart(paris, tokyo):
            await hold(at_paris, paris)
            assert (await at_paris.ask("DELETE", target)).code == "AccessDenied"
        assert (await at_tokyo.ask("DELETE", target)).code == "AccessDenied"
        assert (await at_tokyo.ask("GET", target)).status == 200


async def test_a_deletion_that_had_not_heard_of_the_lock_counts(tmp_path: Path) -> None:
    async with versioned(tmp_path, LOCKED) as (paris, tokyo, at_paris, at_tokyo):
        written = await put(at_paris)
        target = f"/photos/k?versionId={written.headers['x-amz-version-id']}"
        await settled(paris, tokyo)
        async with apart(paris, tokyo):
            await hold(at_paris, paris)
            assert (await at_tokyo.ask("DELETE", target)).status == 204
        for house in (at_paris, at_tokyo):
            assert (await house.ask("GET", target)).code == "NoSuchVersion"


@pytest.mark.parametrize("state", ["", "Enabled"])
async def test_conditions_hold_within_one_datacenter(tmp_path: Path, state: str) -> None:
    registers = {"versioning": state} if state else {}
    async with versioned(tmp_path, registers) as (paris, tokyo, at_paris, at_tokyo):
        first = {"If-None-Match": "*"}
        async with apart(paris, tokyo):
            for house, body in ((at_paris, b"paris"), (at_tokyo, b"tokyo")):
                answers = await asyncio.gather(
                    *(house.ask("PUT", "/photos/k", body, first) for _ in range(5))
                )
                assert sorted(one.status for one in answers) == [200, *[412] * 4]
        bodies = [(await house.ask("GET", "/photos/k")).body for house in (at_paris, at_tokyo)]
        assert bodies == [b"tokyo", b"tokyo"], "the later one"
        for house, dc in ((at_paris, paris), (at_tokyo, tokyo)):
            assert (await house.ask("PUT", "/photos/k", b"x", first)).status == 412
            assert len(await there(house)) == (2 if state else 1)
            assert await dc.names.conflict_count() == (0 if state else 1), "nothing is lost"


async def test_a_condition_counts_what_has_arrived(tmp_path: Path) -> None:
    async with versioned(tmp_path, {}) as (paris, tokyo, at_paris, at_tokyo):
        written = await put(at_paris)
        etag = {"If-Match": written.headers["etag"]}

        async def done() -> bool:
            answer = await at_tokyo.ask("PUT", "/photos/k", b"next", etag)
            assert answer.status in (200, 404)
            return answer.status == 200

        await eventually(done)
        await settled(paris, tokyo)
        assert (await at_paris.ask("PUT", "/photos/k", b"x", etag)).status == 412
