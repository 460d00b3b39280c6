"""What policies may ask about a request, looked up only when one asks.

A bucket with a policy pays for what its conditions ask, and nothing else: no header is read and no
tag fetched before. Keys that are not here have no value (`gateway.access.condition_keys`).
"""

from asyncio import Transport
from collections.abc import Callable, Mapping
from functools import partial
from ssl import SSLObject

from gateway.access.condition_keys import EXISTING_TAG, REQUEST_TAG
from gateway.access.principals import ANONYMOUS, Caller
from gateway.dates import iso_time, parse_iso_ms, parse_timestamp, timestamp_of_date
from gateway.errors import S3Error
from gateway.limits import LIST_KEYS_MAX
from gateway.model.matching import COPY_SOURCE, SUBRESOURCES
from gateway.request import Request
from gateway.sigv4 import AuthKind
from gateway.tags import HEADER as TAGGING
from gateway.tags import TAGGING_DIRECTIVE, tags_of_header
from gateway.uri import parse_query, text_of

_DAY_MS = 86_400_000
_MAX_KEYS = str(LIST_KEYS_MAX)
_LISTINGS = ("", "list-type", "versions")
_CREATES = {
    ("PUT", ""): "true",
    ("POST", ""): "true",
    ("POST", "uploadId"): "true",
    ("POST", "uploads"): "false",
    ("PUT", "uploadId"): "false",
}
"""Whether an object comes to be, by method and subresource: of a part of an upload it does not."""
_AUTH_TYPES: Mapping[AuthKind, str] = {
    AuthKind.HEADER: "REST-HEADER",
    AuthKind.HEADER_V2: "REST-HEADER",
    AuthKind.PRESIGNED: "REST-QUERY-STRING",
    AuthKind.PRESIGNED_V2: "REST-QUERY-STRING",
    AuthKind.FORM: "POST",
    AuthKind.FORM_V2: "POST",
}
_VERSION_2 = frozenset((AuthKind.HEADER_V2, AuthKind.PRESIGNED_V2, AuthKind.FORM_V2))
_ANONYMOUS = "anonymous"
TAG_KEYS = "s3:requestobjecttagkeys"

Tags = Callable[[], Mapping[str, str]]


def facts_of_tags(tags: Mapping[str, str]) -> dict[str, list[str]]:
    """What policies may ask about the tags that a request gives an object."""
    return {**_by_key(REQUEST_TAG, tags), TAG_KEYS: list(tags)}


def _by_key(prefix: str, tags: Mapping[str, str]) -> dict[str, list[str]]:
    """The values of tags by condition key, which has no case: so one may have several."""
    found: dict[str, list[str]] = {}
    for name, value in tags.items():
        found.setdefault(f"{prefix}{name.lower()}", []).append(value)
    return found


class RequestFacts:
    """The facts of a request, which `caller` sends at `now`. `owner` is whose the bucket is.

    `tags` gives those of the object that is there. `extra` is said of the request besides, whatever
    it says by itself: keys in lower-case letters, values None for there are none.
    """

    __slots__ = ("_caller", "_extra", "_now", "_owner", "_request", "_tags")

    def __init__(
        self,
        request: Request,
        caller: Caller,
        now: float,
        *,
        owner: str = "",
        tags: Tags | None = None,
        extra: Mapping[str, list[str] | None] | None = None,
    ) -> None:
        self._request = request
        self._caller = caller
        self._now = now
        self._owner = owner
        self._tags = tags
        self._extra = extra or {}

    def get(self, key: str, /) -> list[str] | None:
        """The values of a condition key; None when the request has none."""
        if key in self._extra:
            return self._extra[key]
        known = FACTS.get(key)
        if known is not None:
            value = known(self)
            return None if value is None else [value]
        if key.startswith(EXISTING_TAG):
            return None if self._tags is None else _by_key(EXISTING_TAG, self._tags()).get(key)
        if key == TAG_KEYS or key.startswith(REQUEST_TAG):
            return self._tags_asked().get(key)
        return None

    def _tags_asked(self) -> Mapping[str, list[str]]:
        """What a request says of tags in its header, unless it copies, and takes its source's."""
        if self.header(COPY_SOURCE) is not None and self.header(TAGGING_DIRECTIVE) != "REPLACE":
            return {}
        try:
            return facts_of_tags(tags_of_header(self.header(TAGGING) or ""))
        except S3Error:
            return {}  # The operation refuses the request.

    # -- facts of one value -----------------------------------------------------------------------

    def header(self, name: str) -> str | None:
        return self._request.headers.get(name)

    def list_header(self, name: str) -> str | None:
        """Of a header that may stand in several lines, all of which count."""
        headers = self._request.headers
        return ",".join(headers.getall(name)) if name in headers else None

    def parameter(self, name: str) -> str | None:
        return self._request.query.get(name)

    def subresource(self) -> str:
        """The parameter that makes another operation of the request."""
        return next((name for name in self._request.query if name in SUBRESOURCES), "")

    def is_listing(self) -> bool:
        request = self._request
        return request.method == "GET" and not request.key and self.subresource() in _LISTINGS

    def listing_parameter(self, name: str) -> str | None:
        return self.parameter(name) if self.is_listing() else None

    def keys_most(self) -> str | None:
        """How many keys a listing is to have; it is never without a number."""
        return (self.parameter("max-keys") or _MAX_KEYS) if self.is_listing() else None

    def copy_source(self) -> str | None:
        text = self.header(COPY_SOURCE)
        if text is None:
            return None
        try:
            text = text_of(text.partition("?")[0].encode("utf-8", "surrogateescape"))
        except S3Error:
            pass  # The operation refuses the request.
        return text.removeprefix("/")

    def retention_days(self) -> str | None:
        until = self.get("s3:object-lock-retain-until-date")
        until_ms = parse_iso_ms(until[0]) if until else None
        return None if until_ms is None else str(int(until_ms - self._now * 1000) // _DAY_MS)

    def creates(self) -> str | None:
        request = self._request
        return _CREATES.get((request.method, self.subresource())) if request.key else None

    def owner(self) -> str | None:
        return self._owner or None

    def transport(self) -> Transport:
        """What it came by. ConnectionResetError when the client has gone: then nobody can tell,
        and must not decide, what its network may do."""
        transport = self._request.connection.transport
        if transport is None:
            raise ConnectionResetError("The client has gone")
        return transport

    def source_address(self) -> str:
        return str(self.transport().get_extra_info("peername")[0])

    def is_secure(self) -> str:
        return str(self.transport().get_extra_info("sslcontext") is not None).lower()

    def tls_version(self) -> str | None:
        tls: SSLObject | None = self.transport().get_extra_info("ssl_object")
        version = tls.version() if tls is not None else None
        return None if version is None else version.removeprefix("TLSv")

    def auth_type(self) -> str | None:
        return _AUTH_TYPES.get(self._request.auth.kind)

    def signature_version(self) -> str | None:
        if self.auth_type() is None:
            return None
        return "AWS" if self._request.auth.kind in _VERSION_2 else "AWS4-HMAC-SHA256"

    def signature_age(self) -> str | None:
        """In milliseconds; always 0 of version 2."""
        kind = self._request.auth.kind
        if kind in _VERSION_2:
            return "0"
        if kind is AuthKind.PRESIGNED:
            sent = dict(parse_query(self._request.raw_query)).get("X-Amz-Date")
        elif kind in (AuthKind.HEADER, AuthKind.FORM):
            sent = self.header("x-amz-date") or timestamp_of_date(self.header("Date") or "")
        else:
            return None
        signed_at = parse_timestamp(sent or "")
        return None if signed_at is None else str(round((self._now - signed_at) * 1000))

    def region(self) -> str | None:
        return self._request.auth.region or None

    def current_time(self) -> str:
        return iso_time(self._now)

    def epoch_time(self) -> str:
        return str(int(self._now))

    # -- of who asks ------------------------------------------------------------------------------

    def user_id(self) -> str | None:
        """Which is the account too: each user is one."""
        return None if self._caller.service else self._caller.id or _ANONYMOUS

    def user_name(self) -> str | None:
        return self._caller.name or None

    def principal_type(self) -> str | None:
        if self._caller.service:
            return None
        return "User" if self._caller.id else "Anonymous"

    def principal_arn(self) -> str | None:
        caller = self._caller
        return f"arn:aws:iam::{caller.id}:user/{caller.name}" if caller.id else None

    def service(self) -> str | None:
        return self._caller.service or None

    def is_service(self) -> str | None:
        """Of all that are not anonymous."""
        if self._caller == ANONYMOUS:
            return None
        return "true" if self._caller.service else "false"

    def is_for_somebody(self) -> str:
        """Whether a service asks in the name of a user, which none does."""
        return "false"


FACTS: Mapping[str, Callable[[RequestFacts], str | None]] = {
    **{
        f"s3:{name}": partial(RequestFacts.header, name=name)
        for name in (
            *("x-amz-acl", "x-amz-server-side-encryption"),
            "x-amz-server-side-encryption-aws-kms-key-id",
            "x-amz-server-side-encryption-customer-algorithm",
            *("x-amz-metadata-directive", "x-amz-storage-class", "x-amz-content-sha256"),
            "x-amz-website-redirect-location",
        )
    },
    **{
        f"s3:{name}": partial(RequestFacts.list_header, name=name)
        for name in (
            *("x-amz-grant-full-control", "x-amz-grant-read", "x-amz-grant-read-acp"),
            *("x-amz-grant-write", "x-amz-grant-write-acp", "if-match", "if-none-match"),
        )
    },
    **{
        f"s3:{name}": partial(RequestFacts.header, name=f"x-amz-{name}")
        for name in ("object-lock-mode", "object-lock-retain-until-date", "object-lock-legal-hold")
    },
    "s3:object-lock-remaining-retention-days": RequestFacts.retention_days,
    "s3:x-amz-copy-source": RequestFacts.copy_source,
    "s3:objectcreationoperation": RequestFacts.creates,
    "s3:prefix": partial(RequestFacts.listing_parameter, name="prefix"),
    "s3:delimiter": partial(RequestFacts.listing_parameter, name="delimiter"),
    "s3:max-keys": RequestFacts.keys_most,
    "s3:versionid": partial(RequestFacts.parameter, name="versionId"),
    "s3:authtype": RequestFacts.auth_type,
    "s3:signatureversion": RequestFacts.signature_version,
    "s3:signatureage": RequestFacts.signature_age,
    "s3:tlsversion": RequestFacts.tls_version,
    "s3:resourceaccount": RequestFacts.owner,
    "aws:resourceaccount": RequestFacts.owner,
    "aws:requestedregion": RequestFacts.region,
    "aws:sourceip": RequestFacts.source_address,
    "aws:securetransport": RequestFacts.is_secure,
    "aws:referer": partial(RequestFacts.header, name="Referer"),
    "aws:useragent": partial(RequestFacts.header, name="User-Agent"),
    "aws:currenttime": RequestFacts.current_time,
    "aws:epochtime": RequestFacts.epoch_time,
    "aws:userid": RequestFacts.user_id,
    "aws:username": RequestFacts.user_name,
    "aws:principaltype": RequestFacts.principal_type,
    "aws:principalaccount": RequestFacts.user_id,
    "aws:principalarn": RequestFacts.principal_arn,
    **dict.fromkeys(
        ("aws:principalservicename", "aws:principalservicenameslist"), RequestFacts.service
    ),
    "aws:principalisawsservice": RequestFacts.is_service,
    "aws:viaawsservice": RequestFacts.is_for_somebody,
}
