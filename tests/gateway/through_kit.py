"""Paired datacenters with a bucket that is read through, whose changes can be held back."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from gateway_kit import REGION, USERS, House
from paired_kit import house_of
from replica_kit import Dc, datacenters, eventually, pair, settled

from dc.names.model import Bucket
from dc.placement import REPLICATION
from dc.read_through import ON, READ_THROUGH

NOWHERE = '{"Role": "", "Rules": []}'
THROUGH, UNASKED = "x-farshore-read-through", "x-farshore-unasked"
Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Gate:
    """What holds back the changes that come to a datacenter, but those of buckets."""

    def __init__(self, dc: Dc) -> None:
        self._apply = dc.names.apply
        self._open = asyncio.Event()
        self._open.set()
        dc.names.apply = self._held  # type: ignore[method-assign]

    async def _held(self, changes: Any, **more: Any) -> None:
        if any(not isinstance(one, Bucket) for one in changes):
            await self._open.wait()
        await self._apply(changes, **more)

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()


class World:
    """All of them are paired with each other. The bucket `photos` is in all."""

    def __init__(self, dcs: list[Dc], houses: list[House]) -> None:
        self.dcs = {dc.name: dc for dc in dcs}
        self.houses = {dc.name: house for dc, house in zip(dcs, houses, strict=True)}
        self.gates = {dc.name: Gate(dc) for dc in dcs}

    @property
    def bucket(self) -> Bucket:
        found = self.dcs["paris"].names.directory.bucket("photos")
        assert found is not None
        return found

    async def set(self, **registers: str) -> None:
        """Set attributes of the bucket everywhere; `_` stands for `-` in their names."""
        said = {name.replace("_", "-"): text for name, text in registers.items()}
        await self.dcs["paris"].names.set_bucket_registers(self.bucket.id, said)
        for dc in self.dcs.values():
            await eventually(lambda dc=dc: self._has(dc, said))

    def _has(self, dc: Dc, said: dict[str, str]) -> bool:
        found = dc.names.directory.bucket_by_id(self.bucket.id)
        return found is not None and all(
            name in found.registers and found.registers[name].value == text
            for name, text in said.items()
        )

    async def settled(self) -> None:
        await settled(*self.dcs.values())

    async def stop(self, name: str) -> None:
        """Stop the replicator of a datacenter."""
        await self.dcs[name].replicator.stop()
        await self.dcs[name].let_go()

    def answer(self, name: str, route: str, answering: Answering) -> None:
        """Let a datacenter answer a request of its peers otherwise."""

        async def handle(request: web.BaseRequest, _: object) -> web.StreamResponse:
            return await answering(request)

        method = "GET" if route == "read" else "POST"
        self.dcs[name].replicator._server._routes[method, route] = handle

    def handler(self, name: str, route: str) -> Any:
        method = "GET" if route == "read" else "POST"
        return self.dcs[name].replicator._server._routes[method, route]


@asynccontextmanager
async def world(root: Path, *names: str, on: bool = True, **registers: str) -> AsyncIterator[World]:
    """`registers` of the bucket, besides."""
    async with AsyncExitStack() as stack:
        dcs = await stack.enter_async_context(datacenters(root, *(names or ("paris", "tokyo"))))
        for one, other in itertools.combinations(dcs, 2):
            await pair(one, other)
        await dcs[0].names.create_bucket("photos", USERS["ann"], REGION)
        for dc in dcs:
            await eventually(lambda dc=dc: dc.names.directory.bucket("photos") is not None)
        houses = [await stack.enter_async_context(house_of(dc)) for dc in dcs]
        found = World(dcs, houses)
        if on:
            registers[READ_THROUGH] = ON
        if registers:
            await found.set(**registers)
        await found.settled()
        try:
            yield found
        finally:
            for gate in found.gates.values():
                gate.open()


async def put(house: House, key: str, body: bytes = b"body", **headers: str) -> dict[str, str]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await house.ask("PUT", f"/photos/{key}", body, sent)
    assert answer.status == 200, answer.body
    return answer.headers


__all__ = ["NOWHERE", "REPLICATION", "THROUGH", "UNASKED", "World", "put", "world"]
