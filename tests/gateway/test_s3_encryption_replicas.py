"""Encrypted objects in other datacenters: the same bytes, read there by everything but a key that
only the client has."""

import asyncio
import hashlib
import itertools
import os
from base64 import b64encode
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import REGION, USERS, House
from paired_kit import house_of
from replica_kit import Dc, datacenters, eventually, pair, settled

from dc.accounts import Accounts
from dc.keyring import Keyring
from dc.names.model import DATA_KEYS, Extent, Version
from replicator import wire

KEY = bytes(range(32))
CUSTOMER = {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": b64encode(KEY).decode(),
    "x-amz-server-side-encryption-customer-key-MD5": b64encode(hashlib.md5(KEY).digest()).decode(),
}
SSE_S3 = {"x-amz-server-side-encryption": "AES256"}
BEGIN: dict[str, dict[str, Any]] = {
    "customer": {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY},
    "datacenter": {"ServerSideEncryption": "AES256"},
}
MIB = 1 << 20


@asynccontextmanager
async def paired(root: Path, *names: str):
    """Datacenters in a chain, each paired with the next; the bucket `photos` is in all."""
    async with AsyncExitStack() as stack:
        dcs = await stack.enter_async_context(datacenters(root, *names))
        for one, other in itertools.pairwise(dcs):
            await pair(one, other)
        await dcs[0].names.create_bucket("photos", USERS["ann"], REGION)
        for dc in dcs:
            await eventually(lambda dc=dc: dc.names.directory.bucket("photos") is not None)
        yield dcs, [await stack.enter_async_context(house_of(dc)) for dc in dcs]


async def version(dc: Dc, key: str) -> Version | None:
    bucket = dc.names.directory.bucket("photos")
    assert bucket is not None
    return await dc.names.current(bucket.id, key)


async def arrived(dc: Dc, key: str) -> Version:
    async def there() -> bool:
        return await version(dc, key) is not None

    await eventually(there)
    found = await version(dc, key)
    assert found is not None
    return found


async def stored(dc: Dc, found: Version) -> bytes:
    extents: list[Extent] = found.extents
    return b"".join([bytes(p) async for p in dc.objects.read(extents, 0, found.size)])


def upload(house: House, begin: dict[str, Any], parts: list[bytes]) -> None:
    """Each part is sent twice, first with other bytes."""
    client, again = house.boto(), {n: v for n, v in begin.items() if n.startswith("SSEC")}
    names = {"Bucket": "photos", "Key": "m"}
    made = client.create_multipart_upload(**names, **begin)
    done = []
    for number, part in enumerate(parts, 1):
        for body in (part[::-1], part):
            answer = client.upload_part(
                **names, UploadId=made["UploadId"], PartNumber=number, Body=body, **again
            )
        done.append({"PartNumber": number, "ETag": answer["ETag"]})
    client.complete_multipart_upload(
        **names, UploadId=made["UploadId"], MultipartUpload={"Parts": done}, **again
    )


@pytest.mark.parametrize("kind", BEGIN)
async def test_a_multipart_object_is_the_same_bytes_in_the_peer(tmp_path: Path, kind: str):
    parts = [os.urandom(5 * MIB + 3), os.urandom(5 * MIB), os.urandom(MIB + 11)]
    whole = b"".join(parts)
    begin = BEGIN[kind]
    again = {name: value for name, value in begin.items() if name.startswith("SSEC")}
    async with paired(tmp_path, "paris", "tokyo") as (dcs, (at_paris, at_tokyo)):
        await asyncio.to_thread(upload, at_paris, begin, parts)
        here, there = await arrived(dcs[0], "m"), await arrived(dcs[1], "m")
        sealed = await stored(dcs[0], here)
        assert sealed == await stored(dcs[1], there)
        assert sealed != whole and len(sealed) == len(whole)
        assert here.meta == there.meta

        client = at_tokyo.boto()

        def read(**more: Any) -> bytes:
            return client.get_object(Bucket="photos", Key="m", **again, **more)["Body"].read()

        assert await asyncio.to_thread(read) == whole
        for number, part in enumerate(parts, 1):
            assert await asyncio.to_thread(read, PartNumber=number) == part
        edge = len(parts[0])
        for first, last in ((0, 0), (edge - 1, edge), (edge - 100, edge + 5 * MIB + 100)):
            found = await asyncio.to_thread(read, Range=f"bytes={first}-{last}")
            assert found == whole[first : last + 1]


async def test_a_chain_of_datacenters_reads_what_the_first_has_encrypted(tmp_path: Path):
    async with paired(tmp_path, "paris", "tokyo", "lima") as (dcs, houses):
        for key, headers in (("s3", SSE_S3), ("c", CUSTOMER)):
            await houses[0].ask("PUT", f"/photos/{key}", b"a secret", headers)
        for dc, house in zip(dcs, houses, strict=True):
            await arrived(dc, "s3")
            await arrived(dc, "c")
            assert (await house.ask("GET", "/photos/s3")).body == b"a secret"
            assert (await house.ask("GET", "/photos/c", headers=CUSTOMER)).body == b"a secret"
            assert (await house.ask("GET", "/photos/c")).status == 400
        # Each writes with a data key of its own, and all can read it.
        await houses[2].ask("PUT", "/photos/back", b"from the end", SSE_S3)
        await arrived(dcs[0], "back")
        assert (await houses[0].ask("GET", "/photos/back")).body == b"from the end"
        await settled(*dcs)
        keys = [dc.names.directory.keys_of(DATA_KEYS) for dc in dcs]
        assert [len(each) for each in keys] == [2, 2, 2]
        secrets = {record.secret for each in keys for record in each}
        assert len(secrets) == 6, "at rest a key is encrypted by each DC's own master key"


async def test_a_peer_cannot_take_a_data_key_away(tmp_path: Path):
    async with paired(tmp_path, "paris", "tokyo") as (dcs, (at_paris, at_tokyo)):
        await at_paris.ask("PUT", "/photos/a", b"a secret", SSE_S3)
        await arrived(dcs[1], "a")
        (record,) = dcs[0].names.directory.keys_of(DATA_KEYS)
        gone = wire.AccessKeyRecord(
            seq=1, id=record.id, user=DATA_KEYS, secret=b"", stamp=record.stamp, deleted=True
        )
        batch = wire.decode_frame(
            wire.encode_frame(wire.Batch(after=0, last=1, end=1, records=[gone]))[4:]
        )
        assert isinstance(batch, wire.Batch)
        assert isinstance(batch.records[0], wire.UnreadableRecord)
        # And were it let through, it would change nothing.
        later = dcs[1].names.clock.now()
        for user in (DATA_KEYS, "a" * 64):
            other = type(record)(id=record.id, user=user, secret=b"x", stamp=later, deleted=True)
            await dcs[1].names.apply([other])
        assert [one.id for one in dcs[1].names.directory.keys_of(DATA_KEYS)] == [record.id]
        assert (await at_tokyo.ask("GET", "/photos/a")).body == b"a secret"


async def test_a_data_key_is_no_credential_and_shown_to_nobody(tmp_path: Path):
    async with paired(tmp_path, "paris", "tokyo") as (dcs, (at_paris, _)):
        await at_paris.ask("PUT", "/photos/a", b"a secret", SSE_S3)
        await arrived(dcs[1], "a")
        (record,) = dcs[1].names.directory.keys_of(DATA_KEYS)
        for dc in dcs:
            accounts: Accounts = dc.accounts
            assert accounts.lookup(record.id) is None
            assert accounts.users() == []
            assert dc.names.directory.key(record.id) is None
        # Nobody can become its owner: a user's id has another form.
        for user in (DATA_KEYS, "encryption@example.com"):
            with pytest.raises(wire.WireError):
                wire._check_record(
                    wire.UserRecord(seq=1, id=user, email="e@x", stamp=record.stamp, deleted=False)
                )


async def test_a_restarted_datacenter_goes_on_with_its_data_key(tmp_path: Path):
    async with datacenters(tmp_path, "paris") as (paris,):
        first = await Keyring(paris.names, paris.secrets, paris.randomness).current()
        again = await Keyring(paris.names, paris.secrets, paris.randomness).current()
        assert first == again
        many = Keyring(paris.names, paris.secrets, paris.randomness)
        assert set(await asyncio.gather(*[many.current() for _ in range(5)])) == {first}
        assert many.key("DKUNKNOWN") is None


async def test_an_object_ahead_of_its_key_is_not_there_yet(tmp_path: Path, monkeypatch: Any):
    async with paired(tmp_path, "paris", "tokyo") as (dcs, (at_paris, at_tokyo)):
        await at_paris.ask("PUT", "/photos/a", b"a secret", SSE_S3)
        await arrived(dcs[1], "a")
        monkeypatch.setattr(Keyring, "_records", lambda _: {})
        answer = await at_tokyo.ask("GET", "/photos/a")
        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        monkeypatch.undo()
        assert (await at_tokyo.ask("GET", "/photos/a")).body == b"a secret"
