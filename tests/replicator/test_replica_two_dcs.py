"""Two DCs, paired: what is done at one is so at the other."""

import asyncio
import os
from pathlib import Path

import msgspec
from replica_kit import Dc, datacenters, eventually, new_epoch, pair, settled

from dc.names.model import Kind, Version
from dc.stamps import version_id


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
        ours = await paris.names.version(bucket.id, "empty", "")
        assert found is not None and ours is not None
        assert msgspec.structs.replace(found, seq=0) == msgspec.structs.replace(ours, seq=0)
        # Nothing of it was sent back; the pairing was one change each.
        assert paris.peer(tokyo).changes_out == 4 and tokyo.peer(paris).changes_out == 1


async def test_changes_go_both_ways_and_the_later_stands(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        await asyncio.gather(
            paris.put(bucket, "from paris", b"p"),
            tokyo.put(bucket, "from tokyo", b"t"),
            paris.put(bucket, "both", b"paris wrote"),
            tokyo.put(bucket, "both", b"tokyo wrote"),
        )
        await settled(paris, tokyo)
        for dc in (paris, tokyo):
            assert await dc.get(bucket, "from paris") == b"p"
            assert await dc.get(bucket, "from tokyo") == b"t"
        assert await paris.get(bucket, "both") == await tokyo.get(bucket, "both")
        await tokyo.put(bucket, "both", b"after both")
        await settled(paris, tokyo)
        assert await paris.get(bucket, "both") == b"after both"


async def test_deletes_markers_and_versions_travel(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        gone = await paris.put(bucket, "gone", b"x", versioned=True)
        kept = await paris.put(bucket, "kept", b"v1", versioned=True)
        await paris.put(bucket, "null", b"x")
        await settled(paris, tokyo)
        await tokyo.delete(bucket, "gone", gone.vid)
        await tokyo.delete(bucket, "null")
        stamp = tokyo.names.clock.now()
        await tokyo.names.put(
            Version(
                bucket=bucket.id,
                key="kept",
                vid=version_id(stamp),
                stamp=stamp,
                kind=Kind.DELETE_MARKER,
                size=0,
                etag="",
                meta=kept.meta.__class__(),
                extents=[],
            )
        )
        await settled(paris, tokyo)
        assert await paris.get(bucket, "gone", gone.vid) is None
        assert await paris.get(bucket, "null") is None
        assert await paris.get(bucket, "kept", kept.vid) == b"v1"
        current = await paris.names.current(bucket.id, "kept")
        assert current is not None and current.kind == Kind.DELETE_MARKER
        for key in ("kept",):
            await tokyo.delete(bucket, key, kept.vid)
            await tokyo.delete(bucket, key, current.vid)
        await settled(paris, tokyo)
        await paris.names.delete_bucket(bucket.id)
        await settled(paris, tokyo)
        assert tokyo.names.directory.bucket("photos") is None


async def test_both_sides_hold_data_before_the_pairing(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await paris.bucket()
        assert await tokyo.bucket() != bucket
        bodies = {f"k{number}": os.urandom(number) for number in range(0, 3000, 7)}
        for number, (key, body) in enumerate(bodies.items()):
            await (paris, tokyo)[number % 2].put(bucket, key, body)
        await paris.put(bucket, "same", b"older")
        await asyncio.sleep(0.01)  # they know nothing of each other: only wall clocks order them
        await tokyo.put(bucket, "same", b"newer")
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        for dc in (paris, tokyo):
            for key, body in bodies.items():
                assert await dc.get(bucket, key) == body
            assert await dc.get(bucket, "same") == b"newer"
        assert paris.names.directory.bucket("photos") == tokyo.names.directory.bucket("photos")


async def test_users_and_keys_travel_sealed(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        made = await paris.accounts.add_user("ann@example.com")
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        found = tokyo.accounts.lookup(made.key_id)
        assert found is not None and found.secret == made.secret
        here = paris.names.directory.key(made.key_id)
        there = tokyo.names.directory.key(made.key_id)
        assert here is not None and there is not None and here.secret != there.secret
        await tokyo.accounts.revoke_key("ann@example.com", made.key_id)
        await settled(paris, tokyo)
        assert paris.accounts.lookup(made.key_id) is None
        for dc in (paris, tokyo):
            for path in sorted(dc.root.rglob("*")):
                assert not path.is_file() or made.secret.encode() not in path.read_bytes()


async def test_stopped_for_a_while_catches_up_by_itself(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        await tokyo.down()
        await eventually(lambda: paris.peer(tokyo).state == "UNREACHABLE")
        await paris.put(bucket, "meanwhile", b"m")
        assert not paris.peer(tokyo).streaming_to
        await eventually(lambda: (paris.peer(tokyo).lag_seconds or 0) > 0)
        await tokyo.up()
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "meanwhile") == b"m"
        assert paris.peer(tokyo).lag_seconds == 0


async def test_a_restart_repeats_nothing(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        for number in range(50):
            await paris.put(bucket, f"k{number}", b"x" * 5000)
        await settled(paris, tokyo)
        appends = tokyo.objects.stats().appends
        assert appends >= 50
        await tokyo.down()
        await tokyo.up()
        await paris.put(bucket, "one more", b"y")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "one more") == b"y"
        assert tokyo.objects.stats().appends <= 2


async def test_another_epoch_is_read_from_the_beginning_without_storing_bodies_again(
    tmp_path: Path,
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        for number in range(50):
            await paris.put(bucket, f"k{number}", b"x" * 5000)
        await settled(paris, tokyo)
        await paris.down()
        await _new_epoch(paris)
        before = tokyo.objects.stats().appends
        await paris.start()
        await paris.put(bucket, "new", b"n")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "new") == b"n"
        cursor = await tokyo.names.cursor(paris.dc_id)
        assert cursor is not None and cursor.epoch == paris.names.epoch
        assert tokyo.objects.stats().appends <= before + 1


async def _new_epoch(dc: Dc) -> None:
    await dc.open()
    new_epoch(dc)


async def test_a_dc_that_lost_its_names_gets_back_what_it_made(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "small", b"made in paris")
        await paris.put(bucket, "large", b"x" * 600_000)
        await settled(paris, tokyo)
        (peer,) = paris.names.peers()
        await paris.down()
        for name in paris.root.glob("names.db*"):
            name.unlink()
        await paris.open()
        await paris.names.add_peer(peer)
        await paris.start()

        async def back() -> bool:
            return (
                await paris.get(bucket, "small") == b"made in paris"
                and await paris.get(bucket, "large") == b"x" * 600_000
            )

        await eventually(back)
        assert paris.names.directory.bucket("photos") is not None
