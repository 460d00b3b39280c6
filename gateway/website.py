"""Buckets as websites: what a browser gets from BUCKET below one of the website domains.

The source of the rules is "Hosting a static website using Amazon S3" in the Amazon S3 User Guide. A
page is a GetObject without a signature: it is authorised and run as the operation is, with the
headers that mean something to a reader (conditions, ranges), and nothing else of the request; what
signs a request, and its query, say nothing here. Beside that there are the index document of each
folder, redirects (of everything, by rules, of single objects, of folders to their slash), and error
documents; errors are HTML.

A redirect leads where the bucket's owner says, or to another path of the same host. Such a path
never begins with two slashes, which browsers take for a host.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from multidict import CIMultiDict, CIMultiDictProxy

from dc.names.model import Bucket, Kind
from dc.ports import Buffer
from gateway.buckets import check_bucket_name
from gateway.chunked import PayloadMode
from gateway.context import Context
from gateway.errors import S3Error
from gateway.limits import KEY_BYTES_MAX
from gateway.metadata import REDIRECT_LOCATION
from gateway.reply import Reply, header_line
from gateway.request import DerivedRequest, Request, Wire
from gateway.settings import setting
from gateway.sigv4 import AuthKind, AuthResult
from gateway.target import Target
from gateway.uri import decode_path

_KEPT = ("Host", "Origin", "Referer", "User-Agent")
_READ = (
    "Range",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "If-Range",
)
_HOSTS_REMEMBERED = 256
_METHODS = frozenset(("GET", "HEAD"))
_ANONYMOUS = AuthResult(None, AuthKind.ANONYMOUS, PayloadMode.UNSIGNED)
_REDIRECT_LINE = f"{REDIRECT_LOCATION}: "

Perform = Callable[[Request], Awaitable[Reply | None]]
"""GetObject or HeadObject, authorised and run; None when the answer was streamed."""


class _Moved(Exception):
    """The object says that it is elsewhere."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


class _PageWire:
    """The connection of a page: an answer may be streamed with another status, or be a redirect."""

    def __init__(self, wire: Wire, status: int) -> None:
        self._wire = wire
        self._status = status
        self.transport = wire.transport

    def send_continue(self) -> None:
        self._wire.send_continue()

    async def read(self, payload: Any) -> bytes:
        return await self._wire.read(payload)

    def send(self, request: Request, reply: Reply) -> None:
        self._wire.send(request, _page(reply, self._status))

    async def write(self, data: Buffer) -> None:
        await self._wire.write(data)

    def abort(self) -> None:
        self._wire.abort()


def _page(reply: Reply, status: int) -> Reply:
    """The answer of an object as a page, with `status` in place of 200. Raises `_Moved`."""
    for line in reply.head.split("\r\n"):
        if line.startswith(_REDIRECT_LINE):
            raise _Moved(line[len(_REDIRECT_LINE) :])
    reply.status = status if reply.status == HTTPStatus.OK else reply.status
    return reply


class _PageRequest(DerivedRequest):
    """The GetObject that a page is."""

    def __init__(self, request: Request, bucket: str, key: str, status: int) -> None:
        super().__init__(request)
        names = _KEPT + _READ if status == HTTPStatus.OK else _KEPT
        self.headers = CIMultiDictProxy(
            CIMultiDict((name, request.headers[name]) for name in names if name in request.headers)
        )
        self.raw_query = ""
        self.target = Target(bucket, key, {})
        self.auth = _ANONYMOUS
        self.user = ""
        self.connection = _PageWire(request.connection, status)


@lru_cache(maxsize=_HOSTS_REMEMBERED)
def website_bucket(host: str, domains: tuple[str, ...]) -> str | None:
    """The bucket whose website a Host header names, None when it is no website's."""
    lower = host.lower()
    for domain in domains:
        if domain in lower:
            name = lower.partition(":")[0]
            if name == domain or name.endswith(f".{domain}"):
                return name[: -len(domain)].removesuffix(".")
    return None


class Website:
    """The website of one request's bucket."""

    def __init__(self, context: Context, perform: Perform, request: Request, name: str) -> None:
        self._context = context
        self._perform = perform
        self._request = request
        self._name = name
        self._rules: Sequence[Any] = ()
        self._error_key: str | None = None
        self._bucket: Bucket

    async def answer(self) -> Reply | None:
        """The page, or where it is, or an error in HTML."""
        try:
            return await self._answer()
        except S3Error as error:
            return self._html(error)

    async def _answer(self) -> Reply | None:
        request = self._request
        if request.method not in _METHODS:
            raise S3Error("MethodNotAllowed", extra={"Method": request.method})
        bucket = self._context.names.directory.bucket(self._name)
        if bucket is None:
            check_bucket_name(self._name)
            raise S3Error("NoSuchBucket", extra={"BucketName": self._name})
        self._bucket = bucket
        site = setting(bucket, "website")
        if site is None:
            raise S3Error("NoSuchWebsiteConfiguration", extra={"BucketName": self._name})
        key = decode_path(request.raw_path)[1:]
        if site.RedirectAllRequestsTo is not None:
            there = site.RedirectAllRequestsTo
            query = f"?{request.raw_query}" if request.raw_query else ""
            return _redirect(_location(there.Protocol, there.HostName, key) + query)
        self._rules = site.RoutingRules or ()
        self._error_key = None if site.ErrorDocument is None else site.ErrorDocument.Key
        moved = self._by_rule(key, None)
        return await self._object(key, site.IndexDocument.Suffix) if moved is None else moved

    async def _object(self, key: str, suffix: str) -> Reply | None:
        page = f"{key}{suffix}" if not key or key.endswith("/") else key
        try:
            return await self._get(page, HTTPStatus.OK)
        except S3Error as error:
            if page == key and await self._is_folder(key, suffix):
                return _redirect(_location(None, None, f"{key}/"), HTTPStatus.FOUND)
            moved = self._by_rule(key, error)
            if moved is not None:
                return moved
            if self._error_key is None or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return await self._error_page(self._error_key, error)

    async def _get(self, key: str, status: int) -> Reply | None:
        if len(key.encode()) > KEY_BYTES_MAX or "\0" in key:
            raise S3Error("NoSuchKey", extra={"Key": key[:KEY_BYTES_MAX]})
        request = _PageRequest(self._request, self._name, key, status)
        try:
            reply = await self._perform(request)
            self._request.reply = request.reply
            return None if reply is None else _page(reply, status)
        except _Moved as moved:
            return _redirect(moved.location)
        finally:
            self._request.close = self._request.close or request.close
            self._request.common = request.common

    async def _is_folder(self, key: str, suffix: str) -> bool:
        """Whether a key that is no object is a folder with an index that anyone may read."""
        names, page = self._context.names, f"{key}/{suffix}"
        if len(page.encode()) > KEY_BYTES_MAX:
            return False
        there = await names.current(self._bucket.id, key)
        index = await names.current(self._bucket.id, page)
        if there is not None and there.kind is Kind.OBJECT:
            return False
        if index is None or index.kind is not Kind.OBJECT:
            return False
        request = _PageRequest(self._request, self._name, page, HTTPStatus.NOT_FOUND)
        request.method = "HEAD"
        try:
            await self._perform(request)
        except S3Error:
            return False
        return True

    async def _error_page(self, key: str, error: S3Error) -> Reply | None:
        try:
            return await self._get(key, error.status)
        except S3Error as second:
            return self._html(error, second)

    def _by_rule(self, key: str, error: S3Error | None) -> Reply | None:
        """The redirect of the first rule that is for this key and error, or for no error."""
        for rule in self._rules:
            condition = rule.Condition
            code = None if condition is None else condition.HttpErrorCodeReturnedEquals
            prefix = "" if condition is None else condition.KeyPrefixEquals or ""
            if code != (None if error is None else str(error.status)):
                continue
            if key.startswith(prefix):
                return self._follow(rule.Redirect, key, prefix)
        return None

    def _follow(self, redirect: Any, key: str, prefix: str) -> Reply:
        if redirect.ReplaceKeyWith is not None:
            key = redirect.ReplaceKeyWith
        elif redirect.ReplaceKeyPrefixWith is not None:
            key = redirect.ReplaceKeyPrefixWith + key[len(prefix) :]
        host = redirect.HostName
        if host is None and redirect.Protocol is not None:
            name, _, port = self._request.headers.get("Host", "").lower().partition(":")
            host = f"{name}:{port}" if port.isdigit() else name
        status = int(redirect.HttpRedirectCode or HTTPStatus.MOVED_PERMANENTLY)
        return _redirect(_location(redirect.Protocol, host, key), status)

    def _html(self, error: S3Error, second: S3Error | None = None) -> Reply:
        title = f"{error.status} {HTTPStatus(error.status).phrase}"
        body = f"<h1>{title}</h1>\n{_list(error, ('RequestId', self._request.id))}"
        if second is not None:
            body += (
                "<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>\n"
                f"{_list(second)}"
            )
        text = (
            f"<html>\n<head><title>{title}</title></head>\n<body>\n{body}<hr/>\n</body>\n</html>\n"
        )
        head = "Content-Type: text/html; charset=utf-8\r\n"
        head += f"x-amz-error-code: {error.code}\r\n"
        return Reply(error.status, head, text.encode("utf-8", "replace"))


def _list(error: S3Error, *more: tuple[str, str]) -> str:
    items = [("Code", error.code), ("Message", error.message), *error.extra.items(), *more]
    lines = "".join(f"<li>{escape(name)}: {escape(text)}</li>\n" for name, text in items)
    return f"<ul>\n{lines}</ul>\n"


def _location(protocol: str | None, host: str | None, key: str) -> str:
    """A path of this host when none is named. The slash that a key begins with is encoded: it must
    not make a host of what follows."""
    path = quote(key)
    path = f"/%2F{path[1:]}" if path.startswith("/") else f"/{path}"
    return path if host is None else f"{protocol or 'http'}://{host}{path}"


def _redirect(location: str, status: int = HTTPStatus.MOVED_PERMANENTLY) -> Reply:
    known = HTTPStatus.MOVED_PERMANENTLY <= status <= HTTPStatus.PERMANENT_REDIRECT
    usable = known and status in set(HTTPStatus) and status != HTTPStatus.NOT_MODIFIED
    return Reply(
        status if usable else HTTPStatus.MOVED_PERMANENTLY, header_line("Location", location)
    )
