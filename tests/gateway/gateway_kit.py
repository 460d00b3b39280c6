"""A gateway on real names and containers, behind a real loopback socket; and a client that can
sign anything, and send what no proper client would."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes
from xml.etree import ElementTree

import boto3
from botocore.config import Config as BotoConfig
from remote_kit import datacenter, remote_session

from dc.keyring import Keyring
from dc.names.api import GatewayNames
from dc.names.service import SqliteNames
from dc.notary import Proofs
from dc.objects.api import ObjectStore
from dc.objects.store import ContainerStore
from dc.remote.names import remote_names
from dc.remote.objects import RemoteObjects
from dc.remote.others import RemoteProofs
from dc.system import SystemClock, SystemDisk, SystemRandomness
from gateway.access_logs.delivery import AccessLogs
from gateway.connection import Server
from gateway.context import Config, Credential
from gateway.service import Gateway
from tokens.secret_store import SecretStore

REGION = "paris"
USERS = {"ann": "a" * 64, "bob": "b" * 64}
SECRETS = {
    f"AK{name.upper()}": Credential(user, f"secret of {name}") for name, user in USERS.items()
}
Proving = Callable[[SqliteNames, ContainerStore], AbstractAsyncContextManager[Proofs]]
"""Makes the notary of a datacenter."""
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


class Answer(NamedTuple):
    """`headers` by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of S3's error document; "" when the body is none."""
        if not self.body.startswith(b"<?xml"):
            return ""
        return ElementTree.fromstring(self.body).findtext("Code") or ""

    def texts(self, name: str) -> list[str]:
        """The texts of all elements of a name."""
        root = ElementTree.fromstring(self.body)
        return [e.text or "" for e in root.iter() if e.tag.rpartition("}")[2] == name]


class Credentials:
    def lookup(self, access_key: str) -> Credential | None:
        return SECRETS.get(access_key)


def amz_date(shift_s: float = 0) -> str:
    now = datetime.now(UTC).timestamp() + shift_s
    return datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")


def signing_key(secret: str, date: str, region: str = REGION) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(
    method: str,
    target: str,
    headers: dict[str, str],
    payload: str,
    *,
    user: str = "ann",
    stamp: str | None = None,
    secret: str | None = None,
    region: str = REGION,
) -> dict[str, str]:
    """`headers` with an Authorization over all of them; `payload` is x-amz-content-sha256."""
    stamp = stamp or amz_date()
    headers = {**headers, "x-amz-date": stamp, "x-amz-content-sha256": payload}
    path, _, query = target.partition("?")
    path = quote(unquote_to_bytes(path), safe="/-_.~")
    pairs = [part.partition("=") for part in query.split("&") if part]
    pairs = sorted(
        (quote(unquote_to_bytes(n), safe="-_.~"), "", quote(unquote_to_bytes(v), safe="-_.~"))
        for n, _, v in pairs
    )
    signed = {name.lower(): value.strip() for name, value in headers.items()}
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    canonical = "\n".join(
        (method, path, "&".join(f"{n}={v}" for n, _, v in pairs), lines, names, payload)
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    access = f"AK{user.upper()}"
    key = signing_key(secret or f"secret of {user}", stamp[:8], region)
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, "
        f"Signature={signature}"
    )
    return headers


async def read_answer(reader: asyncio.StreamReader, method: str = "GET") -> Answer:
    """One answer off a connection, which may stay open."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("utf-8", "surrogateescape")
    status_line, *lines = head[:-4].split("\r\n")
    headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
    status = int(status_line.split(" ")[1])
    length = int(headers.get("content-length", "0"))
    if method == "HEAD" or status in (100, 204, 304):
        length = 0
    return Answer(status, headers, await reader.readexactly(length))


def request_bytes(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{head}\r\n".encode("utf-8", "surrogateescape") + body


class House:
    """One datacenter's gateway."""

    keyring: Keyring
    logs: AccessLogs

    def __init__(self, names: SqliteNames, objects: ContainerStore, server: Server, port: int):
        self.names = names
        self.objects = objects
        self.server = server
        self.counts = server.counts
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.endpoint = f"http://{self.host}"
        self._clients: list[Any] = []

    def boto(self, user: str = "ann", **config: Any) -> Any:
        """A client to be used in a thread."""
        config = {"retries": {"max_attempts": 0}, "s3": {"addressing_style": "path"}, **config}
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=f"AK{user.upper()}",
            aws_secret_access_key=f"secret of {user}",
            region_name=REGION,
            config=BotoConfig(**config),
        )
        self._clients.append(client)
        return client

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, data: bytes, method: str = "GET", *, eof: bool = False) -> Answer:
        """Send bytes, read one answer, close."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            if eof:
                writer.write_eof()
            return await asyncio.wait_for(read_answer(reader, method), 20)
        finally:
            writer.close()

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        payload: str | None = None,
        user: str | None = "ann",
        unsigned: dict[str, str] | None = None,
        length: bool = True,
        **signing: Any,
    ) -> Answer:
        """A signed request. `unsigned` headers are added after signing; `length`: send one."""
        sent = {"Host": self.host, **(headers or {})}
        if user is not None:
            payload = payload or hashlib.sha256(body).hexdigest()
            sent = sign(method, target, sent, payload, user=user, **signing)
        if (body or method in ("PUT", "POST")) and length and "Content-Length" not in sent:
            sent["Content-Length"] = str(len(body))
        return await self.raw(
            request_bytes(method, target, {**sent, **(unsigned or {})}, body), method
        )

    async def bucket(self, name: str = "photos", user: str = "ann") -> str:
        await self.names.create_bucket(name, USERS[user], REGION)
        return name

    async def keys(self, name: str = "photos") -> list[str]:
        """The keys in a bucket."""
        bucket = self.names.directory.bucket(name)
        assert bucket is not None
        return [item.key for item in (await self.names.list_objects(bucket.id)).objects]

    async def close(self) -> None:
        for client in self._clients:
            client.close()


@asynccontextmanager
async def open_house(
    root: Path,
    *,
    elsewhere: bool = False,
    dc_id: str = "00000000000000aa",
    proving: Proving | None = None,
    **settings: Any,
) -> AsyncIterator[House]:
    """`elsewhere`: as if the gateway was on another machine. `proving` makes the notary. `settings`
    are further ones of the gateway's Config."""
    async with AsyncExitStack() as stack:
        names, objects = await stack.enter_async_context(datacenter(root, dc_id))
        proofs = None
        if proving is not None:
            proofs = await stack.enter_async_context(proving(names, objects))
        seen: tuple[GatewayNames, ObjectStore] = names, objects
        if elsewhere:
            session = await stack.enter_async_context(remote_session(names, objects, proofs=proofs))
            seen = remote_names(session)[0], RemoteObjects(session)
            proofs = None if proofs is None else RemoteProofs(session)
        async with _open(names, objects, *seen, proofs, settings) as house:
            yield house


@asynccontextmanager
async def _open(
    names: SqliteNames,
    objects: ContainerStore,
    seen_names: GatewayNames,
    seen_objects: ObjectStore,
    proofs: Proofs | None,
    settings: dict[str, Any],
) -> AsyncIterator[House]:
    """The gateway on what it sees of names and objects."""
    clock, randomness, disk = SystemClock(), SystemRandomness(), SystemDisk()
    keyring = Keyring(seen_names, SecretStore(bytes(32), randomness.token), randomness)
    logs = AccessLogs(
        names=seen_names,
        objects=seen_objects,
        clock=clock,
        randomness=randomness,
        every_ms=300_000,
        host_id="dc",
        notifications=False,
    )
    gateway = Gateway(
        names=seen_names,
        objects=seen_objects,
        credentials=Credentials(),
        keyring=keyring,
        clock=clock,
        randomness=randomness,
        config=Config(
            region=REGION,
            region_aliases=frozenset({"us-east-1"}),
            base_domains=("s3.localhost", "localhost"),
            host_id="dc",
            **settings,
        ),
        offload=disk,
        proofs=proofs,
        logs=logs,
    )
    server = gateway.server()
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    house = House(names, objects, server, listener.sockets[0].getsockname()[1])
    house.keyring = keyring
    house.logs = logs
    try:
        yield house
    finally:
        await house.close()
        listener.close()
        server.pre_shutdown()
        await server.shutdown(2)
