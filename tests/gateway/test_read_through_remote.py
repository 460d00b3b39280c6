"""Read-through by a gateway on another machine: by way of its datacenter."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from gateway_kit import EMPTY_SHA256, House, request_bytes, sign
from paired_kit import house_of
from remote_kit import remote_session
from replica_kit import eventually
from through_kit import NOWHERE, THROUGH, UNASKED, World, put, world

from replicator import reading

LARGE = 3_000_000


@asynccontextmanager
async def far(one: World) -> AsyncIterator[House]:
    """A gateway of Tokyo's, on another machine."""
    dc = one.dcs["tokyo"]
    mark, others = dc.replicator.mark, dc.replicator.others
    async with (
        remote_session(dc.names, dc.objects, mark, others) as session,
        house_of(dc, session=session) as house,
    ):
        yield house


async def test_it_serves_and_lists_what_is_elsewhere(tmp_path: Path) -> None:
    body = os.urandom(LARGE)
    async with world(tmp_path, replication=NOWHERE) as one, far(one) as house:
        paris = one.houses["paris"]
        await put(paris, "known", body)
        await one.settled()
        one.gates["tokyo"].shut()
        await put(paris, "new", body)
        await put(paris, "small", b"12345")
        for key, wanted in (("known", body), ("new", body), ("small", b"12345")):
            answer = await house.ask("GET", f"/photos/{key}")
            assert (answer.status, answer.body == wanted) == (200, True)
            assert answer.headers[THROUGH] == "paris"
            ranged = await house.ask("GET", f"/photos/{key}", headers={"Range": "bytes=1-3"})
            assert (ranged.status, ranged.body) == (206, wanted[1:4])
        assert (await house.ask("HEAD", "/photos/new")).headers[THROUGH] == "paris"
        assert (await house.ask("GET", "/photos/none")).code == "NoSuchKey"
        listed = await house.ask("GET", "/photos?list-type=2")
        assert listed.texts("Key") == ["known", "new", "small"]
        assert listed.headers["x-farshore-merged"] == "paris"
        folders = await house.ask("GET", "/photos?list-type=2&delimiter=e")
        assert folders.texts("Prefix")[1:] == ["ne"]
        versions = await house.ask("GET", "/photos?versions&key-marker=known")
        assert versions.texts("Key") == ["new", "small"]
        folders = await house.ask("GET", "/photos?versions&delimiter=e")
        assert folders.texts("Prefix")[1:] == ["ne"]
        assert one.dcs["tokyo"].replicator.others._bodies.count == 0


async def test_errors_and_clients_that_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READ_FIRST_SECONDS", 0.3)
    async with world(tmp_path, replication=NOWHERE) as one, far(one) as house:
        await put(one.houses["paris"], "k", os.urandom(30 << 20))
        await one.settled()
        others = one.dcs["tokyo"].replicator.others
        # A client that reads nothing holds nothing up but its own body, and nothing is left of it.
        _, writer = await house.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        headers = sign("GET", "/photos/k", {"Host": house.host}, EMPTY_SHA256)
        writer.write(request_bytes("GET", "/photos/k", headers))
        await eventually(lambda: others._bodies.count == 1)
        await asyncio.sleep(0.5)
        assert others._bodies.count == 1
        writer.transport.abort()
        await eventually(lambda: others._bodies.count == 0)
        others._asked._most = others._bodies._most = 0
        for path in ("/photos/none", "/photos/k", "/photos", "/photos?versions"):
            answer = await house.ask("GET", path)
            assert (answer.status, answer.code) == (503, "SlowDown")
        others._asked._most = others._bodies._most = 9
        await one.stop("paris")
        answer = await house.ask("GET", "/photos/k")
        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        answer = await house.ask("GET", "/photos/none")
        assert (answer.code, answer.headers[UNASKED]) == ("NoSuchKey", "paris")
        await one.dcs["paris"].start()
