"""Single changes that cannot be finished: kept, shown, retried, and in nobody's way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from replica_kit import datacenters, eventually, new_epoch, pair, settled

import replicator.inbox
from dc.names.api import NamesClosed
from dc.names.model import Change, Meta, Version
from dc.objects.api import MissingData, OutOfSpace
from dc.stamps import stamp_origin
from replicator.records import is_from


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicator.inbox, "CHANGE_RETRY_MAX_SECONDS", 0.3)


async def test_a_change_that_cannot_be_applied_does_not_hold_up_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await paris.bucket()
        for number in range(20):
            await paris.put(bucket, f"k{number}", b"x" * number)
        apply, poisoned = tokyo.names.apply, True

        async def poison(changes: Sequence[Change], **more: Any) -> None:
            for change in changes:
                if poisoned and isinstance(change, Version) and change.key == "k7":
                    raise NamesClosed("the name server could not commit: it tastes bad")
            await apply(changes, **more)

        monkeypatch.setattr(tokyo.names, "apply", poison)
        await pair(paris, tokyo)

        async def others_are_there() -> bool:
            return await tokyo.get(bucket, "k19") is not None

        await eventually(others_are_there)
        await eventually(lambda: len(tokyo.peer(paris).problems) == 1)
        problem = tokyo.peer(paris).problems[0]
        assert "'k7'" in problem.what and "tastes bad" in problem.reason
        assert await tokyo.get(bucket, "k7") is None
        poisoned = False
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "k7") == b"x" * 7


async def test_a_secret_that_its_dc_cannot_read(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        made = await paris.accounts.add_user("ann@example.com")
        key = paris.names.directory.key(made.key_id)
        assert key is not None
        broken = msgspec.structs.replace(
            key, secret=key.secret[:-1] + b"?", stamp=paris.names.clock.now()
        )
        await paris.names.apply([broken])
        await pair(paris, tokyo)
        await eventually(lambda: len(tokyo.peer(paris).problems) == 1)
        assert made.key_id in tokyo.peer(paris).problems[0].what
        assert tokyo.names.directory.users_of_email("ann@example.com")
        assert tokyo.names.directory.key(made.key_id) is None
        # Renewed at its DC, it comes by the feed, and the old entry goes.
        await paris.names.apply([msgspec.structs.replace(key, stamp=paris.names.clock.now())])
        await settled(paris, tokyo)
        found = tokyo.accounts.lookup(made.key_id)
        assert found is not None and found.secret == made.secret


async def test_a_body_that_its_dc_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await paris.bucket()

        def gone(*_: object) -> None:
            raise MissingData("the container is not there")

        with monkeypatch.context() as patch:
            patch.setattr(paris.objects, "read_cached", gone)
            patch.setattr(paris.objects, "read", gone)
            await paris.put(bucket, "lost", b"x")
            await pair(paris, tokyo)
            await eventually(
                lambda: (
                    [p.reason for p in tokyo.peer(paris).problems]
                    == ["BodyUnavailable: the peer cannot read its bytes now (503)"]
                )
            )
            assert tokyo.peer(paris).state in ("STREAMING", "BEHIND")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "lost") == b"x"


async def test_a_full_disk_heals_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)

        async def full(*_: object, **__: object) -> None:
            raise OutOfSpace("no space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(tokyo.objects, "put", full)
            await paris.put(bucket, "k", b"x")
            await eventually(lambda: tokyo.peer(paris).state == "FAILED")
            assert "no space left" in tokyo.peer(paris).last_error
            assert await tokyo.get(bucket, "k") is None
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "k") == b"x"


async def test_a_bucket_with_stamps_of_two_dcs_is_nobodys_own(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        await tokyo.names.delete_bucket(bucket.id)
        await settled(paris, tokyo)
        deleted = paris.names.directory.bucket_by_id(bucket.id)
        assert deleted is not None and stamp_origin(deleted.deleted) == tokyo.dc_id
        assert not is_from(deleted, tokyo.dc_id) and not is_from(deleted, paris.dc_id)
        assert is_from(bucket, paris.dc_id)
        again = await paris.bucket()
        await settled(paris, tokyo)
        assert tokyo.names.directory.bucket("photos") == paris.names.directory.bucket("photos")
        assert again.created > deleted.deleted


async def test_nothing_is_acknowledged_past_what_is_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        with monkeypatch.context() as patch:

            async def cannot(*_: object) -> None:
                raise OutOfSpace("no space left on device")

            patch.setattr(replicator.inbox.Transfer, "run", cannot)
            await paris.put(bucket, "large", bytes(300_000))
            position = paris.names.feed_end
            await paris.put(bucket, "small", b"x")
            await eventually(lambda: tokyo.peer(paris).inbox == 1)
            await eventually(lambda: paris.peer(tokyo).our_acked == position - 1)
            await eventually(lambda: (paris.peer(tokyo).lag_seconds or 0) > 0.5)
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "large") == bytes(300_000)


async def test_the_inbox_of_an_old_epoch_is_dropped_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        body = bytes(range(250)) * 2000
        with monkeypatch.context() as patch:

            async def cannot(*_: object) -> None:
                raise OutOfSpace("no space left on device")

            patch.setattr(replicator.inbox.Transfer, "run", cannot)
            await paris.put(bucket, "kept", body)
            await paris.put(bucket, "gone", body)
            await eventually(lambda: tokyo.peer(paris).inbox == 2)
            await paris.down()
            await paris.open()
            new_epoch(paris)
            await paris.delete(bucket, "gone")
            await paris.start()
            await eventually(lambda: tokyo.peer(paris).inbox == 1)
            await eventually(lambda: tokyo.peer(paris).state == "BEHIND")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "kept") == body
        assert await tokyo.get(bucket, "gone") is None


async def test_metadata_larger_than_any_client_may_send_is_relayed(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        one = await paris.put(bucket, "one", b"")
        meta = Meta(user={f"n{number}": "x" * 8000 for number in range(10)})
        many = [
            msgspec.structs.replace(one, key=f"k{number}", stamp=paris.names.clock.now(), meta=meta)
            for number in range(150)
        ]
        await paris.names.apply(many)
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "k149") == b""
