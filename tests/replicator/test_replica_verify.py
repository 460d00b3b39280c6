"""Two DCs are compared: what differs is named exactly, and nothing else is."""

from pathlib import Path

from replica_kit import datacenters, pair, settled
from verify_kit import damage, drop_feed, verify


async def test_identical_says_the_root(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        for number in range(20):
            await paris.put(bucket, f"k{number}", b"x")
        await settled(paris, tokyo)
        for one, other in ((paris, tokyo), (tokyo, paris)):
            report = await verify(one, other)
            assert report.identical and not report.differences
            assert len(report.root) == 32
            assert report.bytes_moved < 1000


async def test_a_lost_row_is_named_and_comes_back(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        for number in range(20):
            await paris.put(bucket, f"k{number}", b"x" * 5000)
        await settled(paris, tokyo)
        await damage(tokyo, drop_feed("versions", "key = 'k7'"))
        report = await verify(tokyo, paris)
        assert (report.only_here, report.only_there, report.different) == (0, 1, 0)
        (found,) = report.differences
        assert (found.what, found.bucket, found.key) == ("only_there", "photos", "k7")
        assert found.here is None and found.there is not None and found.there.kind == "object"
        report = await verify(paris, tokyo)
        assert (report.only_here, report.only_there, report.different) == (1, 0, 0)
        report = await verify(paris, tokyo, repair=True)
        assert report.repaired == 1 and report.identical and report.root
        assert await tokyo.get(bucket, "k7") == b"x" * 5000
