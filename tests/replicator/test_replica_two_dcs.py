"""Two DCs, paired: what is done at one is so at the other."""

from pathlib import Path

from replica_kit import datacenters, pair, settled


async def test_put_here_is_there(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "a/ключ %2F+&\x01", b"hello")
        await paris.put(bucket, "empty", b"")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "a/ключ %2F+&\x01") == b"hello"
        assert await tokyo.get(bucket, "empty") == b""
        assert tokyo.names.directory.bucket("photos") == bucket
        found = await tokyo.names.version(bucket.id, "empty", "")
        assert found is not None and found.meta.user == {"who": "ännä"}
