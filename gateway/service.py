"""The gateway: every request goes through `Gateway.serve`, and in this order.

1. It gets its id. 2. Its target is parsed, once, into bucket, key and query. 3. Its signature is
verified: a request is authenticated before anything is looked up. 4. Its operation is found.
5. Headers that the operation does not know are refused; if it names positions of writes, they are
waited for (`gateway.waiting`). 6. It is authorised (`gateway.access.gate`); who sends no
signature may list the buckets that are theirs, which are none. It is run. 7. The answer, or the
error as S3's XML document, is sent, with the request id.

Nothing is logged for a request that succeeded or was refused; errors of ours are, with the id.
"""

from collections.abc import Awaitable
from traceback import format_exception

import msgspec
import structlog
from aiohttp.http_exceptions import InvalidURLError, LineTooLong
from aiohttp.web_protocol import RequestPayloadError

from dc.names.api import (
    GatewayNames,
    NamesClosed,
    NamesFull,
    NoSuchBucket,
    StampTooOld,
)
from dc.names.model import Peer, Version
from dc.objects.api import ObjectsError, ObjectStore, OutOfSpace, TooFewDisks
from dc.ports import Clock, Randomness
from gateway.access.gate import Access
from gateway.access_logs.delivery import AccessLogs
from gateway.authentication import authenticate
from gateway.buckets import check_bucket_name
from gateway.connection import Connection, Server
from gateway.context import (
    Config,
    Context,
    Credential,
    Credentials,
    Keyring,
    Offload,
    Others,
    Proofs,
    Replication,
    alone,
)
from gateway.cors import cors_lines, preflight
from gateway.counts import PREFLIGHT, WEBSITE, Counts
from gateway.dates import http_date
from gateway.errors import S3Error
from gateway.headers import are_plain, check_headers
from gateway.notary import sha256_of
from gateway.operations import (
    CREATE_BUCKET,
    GET_OBJECT,
    HEAD_OBJECT,
    POST_OBJECT,
    PUT_OBJECT,
    Row,
    find_row,
    run,
)
from gateway.positions import POSITION, PositionNotHere
from gateway.post import read_upload
from gateway.refusals import refusal_of
from gateway.reply import XML_HEAD, Reply, header_line, serialise
from gateway.request import NOBODY, Request
from gateway.sigv4 import AuthResult
from gateway.target import Target, parse_target
from gateway.uri import decode_path
from gateway.waiting import wait_for_positions
from gateway.website import Website, website_bucket

log = structlog.get_logger("gateway")

_CLOSING_CODES = frozenset({"RequestTimeout", "IncompleteBody"})


class Gateway:
    """S3 for one datacenter. `server()` is what to listen with."""

    def __init__(
        self,
        *,
        names: GatewayNames,
        objects: ObjectStore,
        credentials: Credentials,
        keyring: Keyring,
        clock: Clock,
        randomness: Randomness,
        config: Config,
        offload: Offload,
        replication: Replication = alone,
        others: Others | None = None,
        proofs: Proofs | None = None,
        logs: AccessLogs | None = None,
        counts: Counts | None = None,
    ) -> None:
        self._context = Context(
            names=names,
            objects=objects,
            keyring=keyring,
            offload=offload,
            randomness=randomness,
            config=config,
            replication=replication,
            others=others,
            proofs=proofs,
        )
        self._directory = names.directory
        self._credentials = credentials
        self._logs = logs
        self._clock = clock
        self._config = config
        self._next_id = int.from_bytes(randomness.token(7), "big")
        self._found: Credential | None = None
        self._peers: list[Peer] | None = None
        self._signing = config
        self._second = -1
        self._date = ""
        self.counts = counts or Counts()

    async def sha256(self, version: Version) -> tuple[str, bool]:
        """The SHA-256 of an object, by reading it (`gateway.notary.sha256_of`)."""
        return await sha256_of(self._context, version)

    def server(self) -> Server:
        """Made in the running event loop."""
        return Server(self.serve, self.refuse, self.counts)

    async def serve(self, request: Request) -> None:
        """Answer one request. Raises ConnectionError only."""
        now_ms, began, code = self._clock.wall_ms(), self._clock.monotonic(), ""
        self.counts.begun += 1
        self._begin(request, now_ms // 1000)
        request.time = now_ms / 1000
        try:
            try:
                reply = await self._answer(request)
            except S3Error as error:
                reply, code = self._error_reply(request, error), error.code
            except ConnectionError:
                raise
            except Exception as error:
                translated = self._translated(request, error)
                reply, code = self._error_reply(request, translated), translated.code
            finally:
                # They know each other: what nobody frees by its count waits for the collector.
                request.access = NOBODY
            if reply is not None:
                request.connection.send(request, reply)
        finally:
            self.counts.end(request, self._clock.monotonic() - began)
        if code:
            self.counts.codes[code] += 1
        if self._logs is not None:
            self._logs.note(request, code, now_ms)

    def _begin(self, request: Request, second: int) -> None:
        """The id, and the header lines of every answer."""
        if second != self._second:
            self._second = second
            self._date = f"Date: {http_date(second)}\r\n"
            if self._config.host_id:
                self._date += header_line("x-amz-id-2", self._config.host_id)
        self._next_id += 1
        request.id = f"{self._next_id:016X}"
        request.common = f"{self._date}x-amz-request-id: {request.id}\r\n"

    def _answer(self, request: Request) -> Awaitable[Reply | None]:
        """Find out who asks for what. What is returned does it; this is no coroutine itself, since
        each that is awaited by another costs every request."""
        config = self._config
        headers = request.headers
        host = headers.get("Host", "")
        site = website_bucket(host, config.website_domains)
        if site is not None:
            return self._website(request, site)
        request.target = parse_target(
            request.raw_path, request.raw_query, host, config.base_domains
        )
        if request.method == "OPTIONS":
            return self._preflight(request)
        if "Origin" in headers:
            request.common += cors_lines(self._directory, request)
        self._found = None
        request.auth = auth = authenticate(request, self._secret, request.time, self._signed_for())
        request.user = self._caller(auth)
        if auth.hoisted:
            request.take_hoisted()
        row = find_row(request)
        request.operation = row.name
        if row is POST_OBJECT:
            return self._post(request)
        return self._perform(request, row)

    def _signed_for(self) -> Config:
        """The settings, and the regions of all paired DCs: a client that has lost its own may ask
        here as it is. A region only binds the signature to the words that were signed."""
        peers = self._context.names.peers()
        if peers is not self._peers:
            regions = self._config.region_aliases.union(peer.region for peer in peers)
            self._signing = msgspec.structs.replace(self._config, region_aliases=regions)
            self._peers = peers
        return self._signing

    async def _preflight(self, request: Request) -> Reply:
        request.operation = PREFLIGHT
        return preflight(self._directory, request)

    async def _website(self, request: Request, bucket: str) -> Reply | None:
        request.target = Target(bucket, "", {})
        request.operation = WEBSITE
        if request.method == "OPTIONS":
            return preflight(self._directory, request)
        if "Origin" in request.headers:
            request.common += cors_lines(self._directory, request)

        async def perform(page: Request) -> Reply | None:
            row = HEAD_OBJECT if page.method == "HEAD" else GET_OBJECT
            return await self._perform_for(page, row)

        return await Website(self._context, perform, request, bucket).answer()

    async def _post(self, request: Request) -> Reply:
        upload = await read_upload(request, self._credentials, request.time, self._signed_for())
        reply = await self._perform_for(upload, PUT_OBJECT)
        assert reply is not None
        return upload.answer(reply)

    async def _perform_for(self, request: Request, row: Row) -> Reply | None:
        """The same as `_perform`, for a request that stands for another."""
        try:
            return await self._perform(request, row)
        finally:
            request.access = NOBODY

    def _perform(self, request: Request, row: Row) -> Awaitable[Reply | None]:
        """What runs an operation for who was authenticated, when that may be."""
        request.plain = plain = are_plain(request.headers)
        if not plain:
            check_headers(request.headers, row.name)
            if POSITION in request.headers:
                return self._perform_after(request, row)
        return self._admit(request, row)

    async def _perform_after(self, request: Request, row: Row) -> Reply | None:
        """The same for what is to see what was written elsewhere."""
        try:
            await wait_for_positions(self._context.names, request)
        except PositionNotHere as late:
            if row is not GET_OBJECT and row is not HEAD_OBJECT:
                raise
            return await self._perform_late(request, row, late)
        return await self._admit(request, row)

    async def _perform_late(
        self, request: Request, row: Row, late: PositionNotHere
    ) -> Reply | None:
        """The same for an object of which others may have what has not come in time. What is here
        does not refuse it: the bucket, or who is let in, may be what has not come."""
        try:
            access = self._access(request, row)
            if not access.is_short:
                await access.admit(self._context.names)
        except S3Error:
            raise late from None
        request.late = late
        reply: Reply | None = await row.handler(self._context, request)
        return reply

    def _admit(self, request: Request, row: Row) -> Awaitable[Reply | None]:
        """What runs an operation, if its sender may ask for it."""
        if not request.target.bucket or row is CREATE_BUCKET:
            if request.target.bucket and not request.user:
                raise S3Error("AccessDenied")
            return run(self._context, request, row)
        access = self._access(request, row)
        if not access.is_short:
            return self._admitted(access, request, row)
        return row.handler(self._context, request) if row.hot else run(self._context, request, row)

    async def _admitted(self, access: Access, request: Request, row: Row) -> Reply | None:
        """The same for who has to be let in first."""
        await access.admit(self._context.names)
        if row.hot:
            reply: Reply | None = await row.handler(self._context, request)
            return reply
        return await run(self._context, request, row)

    def _secret(self, access_key: str) -> str | None:
        """For `authenticate`, which asks once; whose the key is stays in `_found` meanwhile."""
        self._found = found = self._credentials.lookup(access_key)
        return None if found is None else found.secret

    def _caller(self, auth: AuthResult) -> str:
        """The canonical id of who sent the request, "" when nobody signed it."""
        if auth.access_key is None:
            return ""
        if self._found is None or not self._found.user:
            raise S3Error("AccessDenied")
        return self._found.user

    def _access(self, request: Request, row: Row) -> Access:
        """Set the bucket, which must be there, and what the caller may do in it."""
        name = request.target.bucket
        bucket = self._directory.bucket(name)
        if bucket is None:
            check_bucket_name(name)
            raise S3Error("NoSuchBucket", extra={"BucketName": name})
        if not request.plain:
            expected = request.headers.get("x-amz-expected-bucket-owner")
            if expected is not None and expected != bucket.owner:
                raise S3Error("AccessDenied")
        request.bucket = bucket
        target = request.target
        action = row.version_action if "versionId" in target.query else row.action
        access = Access(self._directory, request, bucket, target.key, action, row.permission)
        request.access = access
        return access

    # -- errors ---------------------------------------------------------------------------------

    def _error_reply(self, request: Request, error: S3Error) -> Reply:
        if error.code in _CLOSING_CODES:
            request.close = True
        body = error.to_xml(request.id, _shown(request.raw_path))
        return Reply(error.status, XML_HEAD + error.head, body)

    def _translated(self, request: Request, error: Exception) -> S3Error:
        """What an exception that is no S3Error means to the client."""
        if isinstance(error, NoSuchBucket):
            return S3Error("NoSuchBucket", extra={"BucketName": request.target.bucket})
        if (refusal := refusal_of(error)) is not None:
            return refusal
        if isinstance(error, RequestPayloadError):
            request.close = True
            return S3Error("IncompleteBody", "The body is not well-formed.")
        if request.connection.transport is None:
            raise ConnectionResetError("The client has gone") from error
        request.close = True
        if isinstance(error, NamesClosed | StampTooOld):
            log.error("name server is closed", request=request.id, error=str(error))
            return S3Error("ServiceUnavailable")
        if isinstance(error, OutOfSpace | NamesFull):
            log.error("disk is full", request=request.id, error=str(error))
            return S3Error("InsufficientStorage", "The disk is full.")
        if isinstance(error, TooFewDisks):
            log.error("too few disks can be written", request=request.id, error=str(error))
            return S3Error("ServiceUnavailable", "Too few disks can be written. Try again later.")
        known = isinstance(error, ObjectsError)
        log.error(
            "request failed",
            request=request.id,
            method=request.method,
            path=request.raw_path,
            error=f"{type(error).__name__}: {error}",
            # As text: what renders exceptions for people may show local variables, secrets too.
            trace="" if known else "".join(format_exception(error)),
        )
        return S3Error("InternalError")

    def refuse(self, connection: Connection, error: BaseException) -> None:
        """Answer what is not even HTTP; the connection is closed after it."""
        self.counts.malformed += 1
        transport = connection.transport
        if transport is None:
            return
        if isinstance(error, LineTooLong) or "Too many headers" in str(error):
            answer = S3Error("RequestHeaderSectionTooLarge")
        elif isinstance(error, InvalidURLError):
            answer = S3Error("InvalidURI")
        else:
            answer = S3Error("InvalidRequest", "The request is not well-formed HTTP.")
        self._next_id += 1
        request_id = f"{self._next_id:016X}"
        common = f"x-amz-request-id: {request_id}\r\n"
        body = answer.to_xml(request_id, "")
        head = serialise(common, Reply(answer.status, XML_HEAD, body), close=True, http10=False)
        transport.write(head + body)


def _shown(raw_path: str) -> str:
    """The path for an error document: decoded when that can be done."""
    try:
        return decode_path(raw_path)
    except S3Error:
        return raw_path
