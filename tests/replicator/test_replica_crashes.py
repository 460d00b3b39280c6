"""The consumer dies at every step it takes, before or after the step had its effect."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from replica_kit import Dc, datacenters, pair, settled

from dc.names.model import Bucket
from replicator.limits import MIB

STEPS = ("apply", "inbox_update", "cursor", "inbox", "inbox_state", "known", "put", "finish")


class Fuse:
    """Burns down with each step; at zero the process is dead: no step ever returns."""

    def __init__(self, steps: int, after: bool) -> None:
        self.steps = steps
        self.after = after
        self.dead = asyncio.Event()
        self.log: list[str] = []

    async def step(self, name: str, work: Any) -> Any:
        if self.dead.is_set():
            await asyncio.Event().wait()
        self.steps -= 1
        self.log.append(name)
        if self.steps == 0:
            if self.after:
                await work()
            self.dead.set()
            await asyncio.Event().wait()
        return await work()


class Fused:
    """Names, objects or a writer whose steps burn the fuse."""

    def __init__(self, real: Any, fuse: Fuse) -> None:
        self._real = real
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name == "writer":
            return lambda *args, **kwargs: Fused(real(*args, **kwargs), self._fuse)
        if name not in STEPS:
            return real
        return lambda *args, **kwargs: self._fuse.step(name, lambda: real(*args, **kwargs))


async def workload(paris: Dc, bucket: Bucket, number: int) -> dict[str, bytes | None]:
    bodies: dict[str, bytes | None] = {
        f"small {number}": os.urandom(5000),
        f"large {number}": os.urandom(9 * MIB),
        f"gone {number}": None,
    }
    await paris.put(bucket, f"gone {number}", b"x")
    for key, body in bodies.items():
        if body is not None:
            await paris.put(bucket, key, body)
    await paris.delete(bucket, f"gone {number}")
    return bodies


# A dead consumer leaves its connections open; Python says so when it finds them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("after", [False, True])
async def test_every_step(tmp_path: Path, after: bool) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        expected: dict[str, bytes | None] = {}
        seen: set[str] = set()
        for number in range(1, 60):
            await tokyo.down()
            expected |= await workload(paris, bucket, number)
            await tokyo.open()
            names, objects = tokyo.names, tokyo.objects
            fuse = Fuse(number, after)
            tokyo.names, tokyo.objects = Fused(names, fuse), Fused(objects, fuse)  # type: ignore[assignment]
            await tokyo.start()
            done = False
            try:
                async with asyncio.timeout(1.5):
                    await fuse.dead.wait()
            except TimeoutError:
                done = True
            await tokyo.replicator.stop()
            await objects.close()
            await names.close()
            seen |= set(fuse.log)
            await tokyo.up()
            await settled(paris, tokyo)
            for key, body in expected.items():
                assert await tokyo.get(bucket, key) == body, (number, key, fuse.log)
            if done:
                break
            expected = {}
        assert seen >= set(STEPS)
        assert number > 10
