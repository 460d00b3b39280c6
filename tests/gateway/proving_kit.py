"""A gateway with a notary, whose certificates are read by the second reader of `tests/notary`."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway_kit import Answer, House, open_house
from notary_checker import verify_certificate

from dc.channel import Channel
from dc.keyring import Keyring
from dc.names.service import SqliteNames
from dc.notary import NOTARY, OFF, ON
from dc.objects.api import ObjectStore
from dc.objects.store import ContainerStore
from dc.read_through import Others
from dc.system import SystemClock, SystemDatabases, SystemDisk, SystemRandomness
from gateway.context import Config
from gateway.service import Gateway
from notary import publishing, tables
from notary.service import Notary
from notary.store import open_store
from tokens.identity import Identity
from tokens.secret_store import SecretStore

MARK = "x-farshore-notary"
QUICK = {"GATHER_SECONDS": 0.01, "INTERVAL_SECONDS": 0.02}
"""To be set in `notary.publishing`: checkpoints come at once."""


class Nobody(Channel):
    """There are no peers."""

    def serve(self, answers: Any) -> None:
        pass


class Proven:
    """A house, and its notary, which stands still until `prove`."""

    def __init__(self, house: House, notary: Notary) -> None:
        self.house = house
        self.names = house.names
        self.notary = notary

    async def switch(self, bucket: str, on: bool = True) -> None:
        """What `farshore notary enable` does."""
        found = self.names.directory.bucket(bucket)
        assert found is not None
        await self.names.set_bucket_registers(found.id, {NOTARY: ON if on else OFF})

    async def prove(self) -> list[dict[str, Any]]:
        """Let the notary come to its end. All entries of the log."""
        self.notary.start()
        for _ in range(1000):
            # First this: what waits no more is an entry by then.
            waiting = await self.names.notary_outbox.waiting()
            status = await self.notary.status()
            if not waiting and not status["waiting"] and status["entries"] == status["published"]:
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError(status)
        return await self.entries()

    async def entries(self) -> list[dict[str, Any]]:
        """Of the log, as far as it is."""
        found = await self.notary.store.read(lambda db: tables.page(db, 1, 0, 1 << 30))
        return [json.loads(one) for one in found]

    async def entry(self, target: str, **more: Any) -> dict[str, Any]:
        """The entry that the certificate of an object proves."""
        mark = "&" if "?" in target else "?"
        answer = await self.house.ask("GET", f"{target}{mark}notary", **more)
        assert answer.status == 200, answer
        assert answer.headers["content-type"] == "application/vnd.farshore.certificate+json"
        keys = [str(key) for key, _ in await self.notary.public_keys()]
        return verify_certificate(answer.body, keys)

    async def mark(self, target: str, method: str = "GET", **more: Any) -> str | None:
        """What the header says of an object."""
        answer: Answer = await self.house.ask(method, target, **more)
        assert answer.status < 400, answer
        return answer.headers.get(MARK)

    async def put(self, target: str, body: bytes = b"bytes", **headers: str) -> str:
        """The id of the version, if it has one."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        answer = await self.house.ask("PUT", target, body, named)
        assert answer.status == 200, answer
        return answer.headers.get("x-amz-version-id", "")


def facts(entry: dict[str, Any]) -> tuple[str, int, str]:
    """What an entry says of the bytes."""
    return entry["sha256"], entry["size"], entry["of"]


def of(body: bytes, what: str = "object") -> tuple[str, int, str]:
    """What it is to say."""
    return hashlib.sha256(body).hexdigest(), len(body), what


@asynccontextmanager
async def open_proven(
    root: Path, *, elsewhere: bool = False, **settings: Any
) -> AsyncIterator[Proven]:
    """With a bucket `photos`, in which new versions are notarized."""
    identity = Identity.generate(SystemRandomness().token)
    made: list[Notary] = []

    @asynccontextmanager
    async def proving(names: SqliteNames, objects: ContainerStore) -> AsyncIterator[Notary]:
        store = await open_store(root / "log.db", SystemDatabases())
        notary = Notary(
            names=names,
            store=store,
            identity=identity,
            name="paris",
            channel=Nobody(),
            clock=SystemClock(),
        )
        await notary.open()
        notary.log.digest = reader(names, objects).sha256
        made.append(notary)
        yield notary
        await notary.stop()

    async with open_house(
        root,
        elsewhere=elsewhere,
        dc_id=identity.dc_id,
        proving=proving,
        ssec_over_http=True,
        **settings,
    ) as house:
        proven = Proven(house, made[0])
        await house.bucket()
        await proven.switch("photos")
        yield proven


def reader(names: SqliteNames, objects: ObjectStore, others: Others | None = None) -> Gateway:
    """The datacenter's own gateway, by which its notary reads objects."""
    clock, randomness = SystemClock(), SystemRandomness()
    return Gateway(
        names=names,
        objects=objects,
        credentials=_Nobody(),
        keyring=Keyring(names, SecretStore(bytes(32), randomness.token), randomness),
        clock=clock,
        randomness=randomness,
        config=Config(region="paris", host_id="dc"),
        offload=SystemDisk(),
        others=others,
    )


class _Nobody:
    def lookup(self, access_key: str) -> None:
        return None


def set_quick(monkeypatch: Any) -> None:
    for name, seconds in QUICK.items():
        monkeypatch.setattr(publishing, name, seconds)
