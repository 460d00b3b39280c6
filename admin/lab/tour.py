"""`farshore lab --demo`: what redundancy is for, done and looked at, step by step.

Each step says what it does, and then what it saw; one that sees anything else ends the tour with
an AdminError.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from admin.commands.comparing import size
from admin.errors import AdminError
from admin.lab.child import Child
from admin.lab.demo import DemoUser, request
from dc.objects.redundancy import Mode
from dc.ports import Clock, Randomness

SMALL, SMALL_BYTES = 60, 16 << 10
LARGE, LARGE_BYTES = 4, 4 << 20
AT_ONCE = 8
ARRIVE_SECONDS_MAX = 60.0
MENDED_SECONDS_MAX = 120.0
POLL_SECONDS = 0.5


class Place(NamedTuple):
    """An S3 endpoint."""

    name: str
    address: str
    region: str


class Tour:
    """Of the first datacenter and its nodes; `others`: where its objects arrive by themselves."""

    def __init__(
        self,
        first: Place,
        others: list[Place],
        datacenter: Child,
        nodes: list[Child],
        mode: Mode,
        user: DemoUser,
        bucket: str,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._first = first
        self._others = others
        self._datacenter = datacenter
        self._nodes = nodes
        self._mode = mode
        self._user = user
        self._bucket = bucket
        self._clock = clock
        self._randomness = randomness
        self._bodies: dict[str, bytes] = {}

    async def run(self) -> None:
        """AdminError at the first thing that is not as it should be."""
        await self._ask("PUT", f"/{self._bucket}", self._first)
        sizes = [SMALL_BYTES] * SMALL + [LARGE_BYTES] * LARGE
        await self._put(sizes)
        await self._read(self._first)
        for place in self._others:
            await self._arrive(place)
        lost = self._nodes[-self._mode.m :]
        names = " and ".join(one.name for one in lost)
        await self._kill(lost[:1])
        await self._put([SMALL_BYTES] * SMALL)
        await self._kill(lost[1:])
        await self._read(self._first)
        gone = _empty(lost[0])
        _say(f"{lost[0].name}: {gone} files on its disk removed, as if the disk were a new one.")
        for one in lost:
            one.revive()
        _say(f"{names}: started again.")
        await self._mended()
        others = self._nodes[: self._mode.m]
        await self._kill(others)
        await self._read(self._first)
        _say("All is as it was put.")

    async def _kill(self, nodes: list[Child]) -> None:
        for one in nodes:
            await one.kill()
            _say(f"{one.name}: killed (SIGKILL).")

    async def _put(self, sizes: list[int]) -> None:
        began = self._clock.monotonic()
        first = len(self._bodies)
        new = {f"object-{first + n}": self._randomness.token(one) for n, one in enumerate(sizes)}

        async def put(key: str) -> None:
            await self._ask("PUT", f"/{self._bucket}/{key}", self._first, new[key])

        await _each(list(new), put)
        self._bodies |= new
        took = self._clock.monotonic() - began
        total = size(sum(sizes))
        _say(f"{self._first.name}: {len(new)} objects put, {total}, in {took:.1f} s.")

    async def _read(self, place: Place) -> None:
        began = self._clock.monotonic()

        async def read(key: str) -> None:
            found = await self._ask("GET", f"/{self._bucket}/{key}", place)
            if found != self._bodies[key]:
                raise AdminError(f"{place.name}: {key} is not what was put")

        await _each(list(self._bodies), read)
        took = self._clock.monotonic() - began
        _say(
            f"{place.name}: all {len(self._bodies)} objects read, byte for byte as they were put,"
            f" in {took:.1f} s."
        )

    async def _arrive(self, place: Place) -> None:
        """Wait until all is there, and read it."""
        deadline = self._clock.monotonic() + ARRIVE_SECONDS_MAX
        for key in self._bodies:
            while True:
                status, _ = await self._request("HEAD", f"/{self._bucket}/{key}", place)
                if status == 200:
                    break
                if self._clock.monotonic() > deadline:
                    raise AdminError(f"{key} is not in {place.name}, see `replication status`")
                await self._clock.sleep(POLL_SECONDS)
        await self._read(place)

    async def _mended(self) -> None:
        """Wait until all objects have all their fragments."""
        began, last = self._clock.monotonic(), ""
        while True:
            facts = await asyncio.to_thread(self._datacenter.client.get, "objects")
            nodes = await asyncio.to_thread(self._datacenter.client.get, "nodes")
            away = [one["name"] for one in nodes["nodes"] if one["state"] != "ok"]
            space, repair = facts["space"], facts["repair"]
            text = f"{space['objects_whole']} of {space['objects']} objects at full redundancy"
            if text != last:
                _say(f"{self._datacenter.name}: {text}; repair: {repair['doing']}.")
                last = text
            if _is_whole(space, len(self._bodies)) and not away:
                break
            if self._clock.monotonic() > began + MENDED_SECONDS_MAX:
                raise AdminError(f"it was not mended in {MENDED_SECONDS_MAX:.0f} s: {text}")
            await self._clock.sleep(POLL_SECONDS)
        took = self._clock.monotonic() - began
        _say(f"{self._datacenter.name}: mended, {took:.0f} s after the start of the nodes.")

    async def _ask(self, method: str, path: str, place: Place, body: bytes = b"") -> bytes:
        status, answer = await self._request(method, path, place, body)
        if status != 200:
            raise AdminError(f"{place.name}: {method} {path} is answered with {status}")
        return answer

    async def _request(
        self, method: str, path: str, place: Place, body: bytes = b""
    ) -> tuple[int, bytes]:
        now, (_, address, region) = self._clock.wall_ms(), place
        return await asyncio.to_thread(
            request, method, path, address, region, self._user, now, body
        )


def _is_whole(space: dict[str, Any], objects: int) -> bool:
    return bool(space["objects"] >= objects and space["objects_whole"] == space["objects"])


async def _each(keys: list[str], work: Callable[[str], Awaitable[None]]) -> None:
    """Several at once."""
    for at in range(0, len(keys), AT_ONCE):
        await asyncio.gather(*(work(key) for key in keys[at : at + AT_ONCE]))


def _empty(node: Child) -> int:
    """Remove the containers of a node that does not run; how many files there were."""
    files = list((node.layout.root / "disk" / "containers").iterdir())
    for file in files:
        file.unlink()
    return len(files)


def _say(text: str) -> None:
    print(text, flush=True)
