"""The body of an import, as the admin API reads it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from admin import files_api
from admin.files_api import Exchange, FilesApi


class Reads:
    """A replicator that reads ten bytes, twice."""

    async def take(self, read: Callable[[int], Awaitable[bytes]], _: Any) -> dict[str, str]:
        return {"read": (await read(10) + b"|" + await read(10)).decode()}


async def asked(pieces: AsyncIterator[bytes]) -> tuple[int, dict[str, str]]:
    app = web.Application()
    app.add_routes(FilesApi(cast(Exchange, Reads()), list).routes())
    async with TestClient(TestServer(app)) as client:
        response = await client.post("/replication/import", data=pieces)
        return response.status, await response.json()


async def slowly() -> AsyncIterator[bytes]:
    for _ in range(14):
        await asyncio.sleep(0.05)
        yield b"x"


async def stalled() -> AsyncIterator[bytes]:
    yield b"x"
    await asyncio.sleep(3600)


async def test_a_file_may_come_slowly_but_not_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_api, "FILE_IDLE_SECONDS", 0.4)
    assert await asked(slowly()) == (200, {"read": "x" * 10 + "|xxxx"})
    status, told = await asked(stalled())
    assert status == 409 and told["error"] == "cut_short"
    assert "nothing of the file came" in told["message"]
