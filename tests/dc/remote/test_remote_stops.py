"""Bodies that are given up in the middle: nothing of them is left at the datacenter."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from remote_kit import Pair, begin, datacenter

from dc.positions import position_of
from dc.remote.copies import Copies
from dc.remote.errors import Unreachable
from dc.remote.names import remote_names
from dc.remote.objects import RemoteObjects
from dc.system import SystemClock

IDENT = b"\x01" * 16
SIZE = 16 << 20


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with datacenter(tmp_path) as (names, objects):
        made = await begin(names, objects, Copies(SystemClock()))
        yield made
        await made.end()


async def soon(ready: Callable[[], bool]) -> None:
    """Fails when it is not so within two seconds."""
    for _ in range(200):
        if ready():
            return
        await SystemClock().sleep(0.01)
    raise AssertionError("not so after two seconds")


async def test_a_read_that_is_given_up_is_ended(pair: Pair) -> None:
    store = RemoteObjects(pair.session)
    writer = store.writer(IDENT)
    for _ in range(SIZE >> 20):
        await writer.write(os.urandom(1 << 20))
    extents = await writer.finish()
    for _ in range(20):
        reading = store.read(extents, 0, SIZE)
        await anext(reading)
        assert pair.serving._bodies
        await reading.aclose()  # type: ignore[attr-defined]
        await soon(lambda: not pair.serving._bodies)
        assert not pair.session._bodies and not pair.session._waiting


async def test_a_write_that_is_given_up_is_forgotten(pair: Pair) -> None:
    store = RemoteObjects(pair.session)
    for _ in range(20):
        writer = store.writer(IDENT)
        for _ in range(4):
            await writer.write(os.urandom(1 << 20))
        await soon(lambda: bool(pair.serving._bodies))
        writer.abort()
        await soon(lambda: not pair.serving._bodies)
        assert not pair.session._bodies and not pair.session._waiting
    with pytest.raises(Exception, match="finished or was aborted"):
        await writer.write(b"x")


async def test_what_waits_is_ended_with_the_session(pair: Pair) -> None:
    store = RemoteObjects(pair.session)
    writer = store.writer(IDENT)
    for _ in range(3):
        await writer.write(os.urandom(1 << 20))
    pair.session.close()
    await soon(lambda: not pair.serving._bodies and not pair.serving._tasks)
    with pytest.raises(Exception, match="cannot be reached"):
        await writer.finish()


async def test_who_waits_for_a_write_is_told_of_the_end_and_forgotten(pair: Pair) -> None:
    names, _ = remote_names(pair.session)
    never = position_of((await names.stamp())[:16] + "e" * 16, "b")
    assert await names.missing([never], 0.05) == [never]
    arrivals = pair.serving._names.arrivals  # type: ignore[attr-defined]
    task = asyncio.ensure_future(names.missing([never], 60))
    await soon(lambda: arrivals._count == 1)
    await pair.end()
    with pytest.raises(Unreachable):
        await task
    await soon(lambda: arrivals._count == 0)
    assert not arrivals._waiting
