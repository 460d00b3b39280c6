"""Whatever stores bytes in a bucket says the bucket's tier."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from form_kit import form, policy, post, signed_v4
from gateway_kit import USERS, House, open_house

from dc.objects.tiers import TIER


class Seen:
    """The tiers that bodies were stored in."""

    def __init__(self, house: House) -> None:
        self.tiers: list[str] = []
        self._put, self._writer = house.objects.put, house.objects.writer
        house.objects.put = self.put  # type: ignore[method-assign]
        house.objects.writer = self.writer  # type: ignore[method-assign]

    async def put(self, ident: bytes, data: Any, *, tier: str = "unsaid") -> Any:
        self.tiers.append(tier)
        return await self._put(ident, data, tier=tier)

    def writer(self, ident: bytes, *, tier: str = "unsaid") -> Any:
        self.tiers.append(tier)
        return self._writer(ident, tier=tier)

    def take(self) -> set[str]:
        taken, self.tiers = set(self.tiers), []
        return taken


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        for name, tier in (("cold", "archive"), ("warm", "")):
            bucket = await opened.names.create_bucket(name, USERS["ann"], "eu")
            if tier:
                await opened.names.set_bucket_registers(bucket.id, {TIER: tier})
        yield opened


@pytest.mark.parametrize("size", [10, 3 << 20])
async def test_a_put_and_a_copy(house: House, size: int) -> None:
    seen = Seen(house)
    body = bytes(size)
    assert (await house.ask("PUT", "/warm/k", body=body)).status == 200
    assert seen.take() == {"standard"}
    assert (await house.ask("PUT", "/cold/k", body=body)).status == 200
    assert seen.take() == {"archive"}
    for source, target, tier in (("cold", "warm", "standard"), ("warm", "cold", "archive")):
        headers = {"x-amz-copy-source": f"/{source}/k"}
        assert (await house.ask("PUT", f"/{target}/copy", headers=headers)).status == 200
        assert seen.take() == {tier}


@pytest.mark.parametrize("size", [10, 5 << 20])
async def test_parts_of_an_upload(house: House, size: int) -> None:
    assert (await house.ask("PUT", "/warm/k", body=bytes(size))).status == 200
    seen = Seen(house)
    begun = await house.ask("POST", "/cold/up?uploads")
    upload = begun.body.split(b"<UploadId>")[1].split(b"<")[0].decode()
    where = f"/cold/up?uploadId={upload}&partNumber="
    assert (await house.ask("PUT", f"{where}1", body=bytes(size))).status == 200
    assert seen.take() == {"archive"}
    headers = {"x-amz-copy-source": "/warm/k"}
    assert (await house.ask("PUT", f"{where}2", headers=headers)).status == 200
    assert seen.take() == {"archive"}


async def test_a_form(house: House) -> None:
    seen = Seen(house)
    fields = signed_v4({"key": "k"}, policy(bucket="cold"))
    assert (await post(house, form(fields), "/cold")).status == 204
    assert seen.take() == {"archive"}


async def test_access_logs(house: House) -> None:
    target = house.names.directory.bucket("cold")
    assert target is not None
    seen = Seen(house)
    house.logs._objects = house.objects
    await house.logs._put(target, "log", b"lines")
    assert seen.take() == {"archive"}
