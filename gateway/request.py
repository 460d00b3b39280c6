"""One S3 request: what came over the wire, and what the gateway has found out about it.

It takes the place of aiohttp's request object, which costs more to make than the rest of a small
GET. Its `method`, `raw_path`, `raw_query` and `headers` are what was sent, not decoded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from aiohttp import StreamReader
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping

from dc.names.model import Bucket, Upload, Version
from dc.ports import Buffer
from gateway.counts import UNKNOWN
from gateway.errors import S3Error
from gateway.reply import Reply
from gateway.sigv4 import AuthResult
from gateway.target import Target


class Wire(Protocol):
    """The connection of a request (`gateway.connection`)."""

    transport: asyncio.Transport | None

    def send_continue(self) -> None: ...
    async def read(self, payload: StreamReader) -> bytes: ...
    def send(self, request: Request, reply: Reply) -> None: ...
    async def write(self, data: Buffer) -> None: ...
    def abort(self) -> None: ...


class Access(Protocol):
    """What the sender of a request may do (`gateway.access.gate`)."""

    is_owner: bool
    """Whether the bucket is the sender's."""
    is_short: bool
    """Whether only an object's own access control list is to be looked at."""

    def check(
        self, version: Version | None, facts: Mapping[str, list[str] | None] | None = None
    ) -> None: ...
    def check_upload(self, upload: Upload | None, *, by_initiator: bool) -> None: ...
    def check_key(self, key: str, version_id: str | None) -> None: ...
    def demand_too(
        self,
        action: str,
        version: Version | None = None,
        facts: Mapping[str, list[str] | None] | None = None,
    ) -> None: ...
    def may_bypass(self, key: str) -> bool: ...
    def may_seek(self) -> bool: ...


NOBODY = cast(Access, None)
"""The `access` of a request of which nothing runs."""


class Deleted(NamedTuple):
    """One of the objects that a DeleteObjects names. `code` is the error's, "" when it was done."""

    key: str
    version_id: str
    code: str


class Request:
    """`target`, `auth`, `user`, `plain`, `bucket` and `access` are set one after the other by
    `gateway.service`, `access` only while an operation runs; `time`, in seconds since 1970, is when
    it came.

    `plain`: no header says anything about the object or sets a condition (`gateway.metadata`).
    `close`: nothing may follow on the connection. `common`: header lines that every answer has.
    `reply`: what was sent, or began to be. `batch`: what DeleteObjects has come to, for
    logs; `acl_required`: whether a grant of an access control list was what allowed it, for logs.
    `operation`: what it asks for, `received` and `sent`: bytes of bodies, on the wire, for counts.
    `late`: the error of positions that have not come in time, which what is elsewhere may mend.
    `continue_due`: the client waits for "100 Continue" before it sends the body.
    """

    __slots__ = (
        "access",
        "acl_required",
        "auth",
        "batch",
        "bucket",
        "close",
        "common",
        "connection",
        "continue_due",
        "headers",
        "http10",
        "id",
        "late",
        "method",
        "operation",
        "payload",
        "plain",
        "raw_path",
        "raw_query",
        "received",
        "reply",
        "sent",
        "target",
        "time",
        "user",
    )
    target: Target
    auth: AuthResult
    user: str
    plain: bool
    bucket: Bucket
    access: Access
    time: float
    headers: MultiMapping[str]
    put_event = "ObjectCreated:Put"
    """What notifications call it when this puts an object."""
    length_is_bound = False
    """Whether Content-Length is only the most that the body may have (`gateway.post`)."""

    def __init__(self, message: RawRequestMessage, payload: StreamReader, connection: Wire) -> None:
        self.method: str = message.method
        path, _, query = message.path.partition("?")
        self.raw_path = path
        self.raw_query = query
        self.headers = message.headers
        self.payload = payload
        self.connection = connection
        self.close: bool = message.should_close or message.upgrade
        self.http10 = message.version[1] == 0
        self.continue_due = "Expect" in message.headers
        self.id = ""
        self.common = ""
        self.reply: Reply | None = None
        self.batch: Sequence[Deleted] = ()
        self.late: S3Error | None = None
        self.acl_required = False
        self.operation = UNKNOWN
        self.received = 0
        self.sent = 0

    @property
    def query(self) -> dict[str, str]:
        return self.target.query

    @property
    def key(self) -> str:
        return self.target.key

    @property
    def peer_address(self) -> str:
        """The address that the connection comes from; "" when it is gone."""
        transport = self.connection.transport
        name = None if transport is None else transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    @property
    def is_secure(self) -> bool:
        """Whether it came by TLS."""
        transport = self.connection.transport
        return transport is not None and transport.get_extra_info("sslcontext") is not None

    def take_hoisted(self) -> None:
        """Take the x-amz-* parameters of a presigned URL for the headers which they stand for."""
        headers = CIMultiDict(self.headers)
        for name, value in self.auth.hoisted.items():
            if headers.get(name, value) != value:
                raise S3Error("InvalidRequest", f"{name} is in the query and in a header.")
            headers[name] = value
        self.headers = CIMultiDictProxy(headers)

    async def read(self) -> bytes:
        """The next bytes of the body as sent; empty at its end. Waits a bounded time only."""
        payload = self.payload
        if self.continue_due:
            # Also when the body is empty. Amazon's CLI takes an answer that comes instead for that
            # of its next request on the connection, too, and waits a minute for the rest of it.
            self.continue_due = False
            if self.headers.get("Expect", "").lower() == "100-continue" and not self.http10:
                self.connection.send_continue()
        if payload.is_eof():
            data = payload.read_nowait()
        else:
            data = await self.connection.read(payload)
        self.received += len(data)
        return data

    def _cancel(self, error: BaseException) -> None:
        """Called when the connection is lost: whoever reads the body gets the error."""
        self.payload.set_exception(error)


class DerivedRequest(Request):
    """A request that stands for another one, whose connection it answers on: it has the same id and
    the same body, unless whoever derives it gives it others."""

    __slots__ = ()

    def __init__(self, request: Request) -> None:
        self.method = request.method
        self.raw_path = request.raw_path
        self.raw_query = request.raw_query
        self.headers = request.headers
        self.payload = request.payload
        self.connection = request.connection
        self.close = request.close
        self.http10 = request.http10
        self.continue_due = request.continue_due
        self.id = request.id
        self.reply = None
        self.batch = ()
        self.late = request.late
        self.acl_required = False
        self.operation = request.operation
        self.received = 0
        self.sent = 0
        self.common = request.common
        self.time = request.time
