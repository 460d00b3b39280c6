"""Who sent a request: AWS Signature Version 4, in the Authorization header or in the query.

`authenticate` is called once for each request, before routing. It rebuilds what the client must
have signed, from the bytes that came, and compares signatures in constant time. The source of the
rules is "Authenticating Requests (AWS Signature Version 4)" in the Amazon S3 API Reference.

The canonical path and query are decoded once and encoded again by AWS's rules (only letters,
digits and `-._~` stand for themselves, `/` too in a path; nothing is normalised, no `..` is
resolved). Nearly every client sends them in that form already, which one pass of
`bytes.translate` finds out, and then nothing is decoded at all. `decode_path` and `parse_query`
are the same parser: what was verified and what is routed cannot differ.

Every `x-amz-*` header must be among the signed ones, or the request is refused: an unsigned one
would change what a valid signature permits. The one exception is `x-amz-content-sha256:
UNSIGNED-PAYLOAD` beside a presigned URL, where it says what holds without it.

An access key that is not known is verified against a fixed secret before it is refused, so that it
takes as long as a wrong signature. Dates and regions are checked first, so only keys that exist can
fill the cache of `gateway.signing_keys`, and it is bounded besides.

Nearly all presigned queries are written alike, which one regular expression finds out. The others
are taken apart, and mean the same.

It does not decide what an identity may do (an anonymous request is a result, not an error), does
not read the body (`gateway.chunked`, `gateway.checksums`), and does not speak SigV4A; SigV2 is in
`gateway.sigv2`, and both are behind `gateway.authentication`.
"""

from __future__ import annotations

import enum
import hmac
import re
from collections.abc import Callable, Mapping, Set
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple, Protocol

from multidict import MultiMapping

from gateway import errors
from gateway.chunked import (
    SHA256_HEADER,
    SIGNED_MODES,
    UNSIGNED_PAYLOAD,
    PayloadMode,
    StreamSeed,
    payload_mode,
)
from gateway.dates import ascii_digits, iso_time, parse_timestamp, timestamp_of_date
from gateway.errors import S3Error
from gateway.limits import HEADERS_MAX
from gateway.signing_keys import signing_key
from gateway.uri import NO_QUERY, SIGNATURE, Query, canonical_path, scan_query, text_of
from gateway.uri import decode_path as decode_path
from gateway.uri import parse_query as parse_query

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_SECONDS_MAX = 900  # S3's own; a presigned URL may lie as far in the future
EXPIRES_SECONDS_MAX = 604_800  # seven days, S3's own
# What strangers send is remembered below, so it is short: all of it together is a few MiB.
CREDENTIAL_CHARS_MAX = 512
SIGNED_HEADERS_CHARS_MAX = 4096  # the names of all metadata that may be, and as much again

Secret = str
Lookup = Callable[[str], Secret | None]

NOTHING: Mapping[str, str] = MappingProxyType({})


class AuthKind(enum.Enum):
    ANONYMOUS = "anonymous"
    HEADER = "header"
    PRESIGNED = "presigned"
    HEADER_V2 = "header-v2"
    PRESIGNED_V2 = "presigned-v2"
    FORM = "form"
    FORM_V2 = "form-v2"


class SignedRequest(Protocol):
    """A request as it came: the path and the query (without `?`) still percent-encoded."""

    @property
    def method(self) -> str: ...
    @property
    def raw_path(self) -> str: ...
    @property
    def raw_query(self) -> str: ...
    @property
    def headers(self) -> MultiMapping[str]: ...


class FormConfig(Protocol):
    """The regions that a signature may name."""

    @property
    def region(self) -> str: ...
    @property
    def region_aliases(self) -> frozenset[str]: ...


class AuthResult(NamedTuple):
    """Who asks, and what their signature says of the body.

    `payload_sha256` is set in the mode SIGNED_SHA256 (64 lower-case hex digits), `seed` in the two
    signed streaming modes. `hoisted` holds the `x-amz-*` parameters of a presigned URL that are not
    of the signature: some SDKs move signed headers there; names are lower-case, values decoded.
    `region` is the one that was signed for.
    """

    access_key: str | None
    kind: AuthKind
    payload: PayloadMode
    payload_sha256: str | None = None
    seed: StreamSeed | None = None
    hoisted: Mapping[str, str] = NOTHING
    region: str = ""


class _Credential(NamedTuple):
    access_key: str
    date: str
    region: str
    scope: str


class _Claim(NamedTuple):
    """What a request says of its own signature, whichever place it says it in."""

    kind: AuthKind
    credential: _Credential
    signed_headers: str
    signature: str
    timestamp: str


def _malformed(kind: AuthKind, message: str, **extra: str) -> S3Error:
    if kind is AuthKind.FORM:
        return S3Error("InvalidArgument", message, extra=extra)
    if kind is AuthKind.PRESIGNED:
        return S3Error("AuthorizationQueryParametersError", message, extra=extra)
    text = f"The authorization header is malformed; {message}"
    return S3Error("AuthorizationHeaderMalformed", text, extra=extra)


@lru_cache(maxsize=1024)
def _parse_credential(text: str) -> _Credential | str:
    """The parts of a Credential, or what is wrong with it."""
    parts = text.split("/")
    if len(parts) != 5 or not parts[0]:
        return 'the Credential is mal-formed; expecting "<AKID>/YYYYMMDD/REGION/s3/aws4_request".'
    access_key, date, region, service, terminator = parts
    if len(date) != 8 or not ascii_digits(date):
        return f'incorrect date format "{date}". The date in the credential must be "yyyyMMdd".'
    if service != "s3":
        return f'incorrect service "{service}". This endpoint belongs to "s3".'
    if terminator != "aws4_request":
        return f'incorrect terminal "{terminator}". This endpoint uses "aws4_request".'
    return _Credential(access_key, date, region, text[len(access_key) + 1 :])


def _credential(
    kind: AuthKind, text: str, stamp: str, region: str, aliases: Set[str]
) -> _Credential:
    if len(text) > CREDENTIAL_CHARS_MAX:
        raise _malformed(kind, "the Credential is too long.")
    credential = _parse_credential(text)
    if isinstance(credential, str):
        raise _malformed(kind, credential)
    if credential.region != region and credential.region not in aliases:
        message = f"the region '{credential.region}' is wrong; expecting '{region}'"
        raise _malformed(kind, message, Region=region)
    if credential.date != stamp[:8]:
        message = f'Invalid credential date "{credential.date}". This date is not the same as '
        raise _malformed(kind, f'{message}X-Amz-Date: "{stamp[:8]}".')
    return credential


@lru_cache(maxsize=1024)
def _usual_head(head: str) -> tuple[str, str] | None:
    """Credential and SignedHeaders of an Authorization header up to its Signature, if it is written
    as clients write it: then it is the same for many requests."""
    first, _, rest = head.partition(",")
    second, _, end = rest.partition(",")
    credential = first.removeprefix(f"{ALGORITHM} Credential=")
    signed_headers = second.strip().removeprefix("SignedHeaders=")
    if credential == first or signed_headers == second.strip() or end.strip():
        return None
    return (credential, signed_headers) if credential and signed_headers else None


def _authorization(text: str) -> tuple[str, str, str]:
    """Credential, SignedHeaders and Signature of an Authorization header."""
    head, _, signature = text.rpartition("Signature=")
    usual = _usual_head(head) if signature.isalnum() and len(head) < 1024 else None
    if usual is not None:
        return (*usual, signature)
    scheme, _, rest = text.strip().partition(" ")
    if scheme != ALGORITHM:
        raise errors.unsupported_authorization(scheme, text)
    fields: dict[str, str] = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        if name in fields or name not in ("Credential", "SignedHeaders", "Signature"):
            raise _malformed(AuthKind.HEADER, f"the component {name!r} is unknown or doubled.")
        fields[name] = value
    for name in ("Credential", "SignedHeaders", "Signature"):
        if not fields.get(name):
            raise _malformed(AuthKind.HEADER, f"it requires the existence of a {name!r} component.")
    return fields["Credential"], fields["SignedHeaders"], fields["Signature"]


def _header_claim(request: SignedRequest, now: float, region: str, aliases: Set[str]) -> _Claim:
    headers = request.headers
    authorizations = headers.getall("Authorization")
    stamps = headers.getall("X-Amz-Date", ())
    if len(authorizations) > 1 or len(stamps) > 1 or len(headers.getall("Host", ())) > 1:
        message = "One of the headers Authorization, X-Amz-Date and Host was given more than once."
        raise S3Error("InvalidArgument", message)
    credential_text, signed_headers, signature = _authorization(authorizations[0])
    stamp = stamps[0] if stamps else timestamp_of_date(headers.get("Date", ""))
    sent = None if stamp is None else parse_timestamp(stamp)
    if stamp is None or sent is None:
        raise S3Error(
            "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"
        )
    if abs(now - sent) > SKEW_SECONDS_MAX:
        raise errors.request_time_too_skewed(stamp, iso_time(now), SKEW_SECONDS_MAX)
    credential = _credential(AuthKind.HEADER, credential_text, stamp, region, aliases)
    return _Claim(AuthKind.HEADER, credential, signed_headers, signature, stamp)


_USUAL = re.compile(
    "(X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=([A-Za-z0-9._~-]+(?:%2F[A-Za-z0-9._~-]+)*)"
    "&X-Amz-Date=([0-9]{8}T[0-9]{6}Z)&X-Amz-Expires=([0-9]+)"
    "&X-Amz-SignedHeaders=([a-z0-9._~-]+(?:%3B[a-z0-9._~-]+)*))&X-Amz-Signature=([A-Za-z0-9]+)"
)
_QUERY_AUTH = frozenset(
    f"X-Amz-{name}"
    for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
)


class _Presigned(NamedTuple):
    """What a presigned query says of its signature, but the signature itself; `text` is the
    canonical query."""

    text: str
    credential: str
    stamp: str
    signed_at: int
    expires: str
    expires_at: int
    signed_headers: str


def _presigned(query: Query) -> _Presigned:
    kind = AuthKind.PRESIGNED
    fields = query.fields
    if query.doubled:
        raise _malformed(kind, f"{query.doubled} was given more than once.")
    if not fields.keys() >= _QUERY_AUTH:
        raise _malformed(
            kind,
            "Query-string authentication version 4 requires the X-Amz-Algorithm, "
            "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and "
            "X-Amz-Expires parameters.",
        )
    if fields["X-Amz-Algorithm"] != ALGORITHM:
        raise _malformed(kind, f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    stamp = _plain(fields["X-Amz-Date"])
    signed_at = parse_timestamp(stamp)
    if signed_at is None:
        raise _malformed(kind, "X-Amz-Date must be in the ISO8601 Long Format yyyyMMddTHHmmssZ")
    expires = fields["X-Amz-Expires"]
    expires_at = signed_at + _expires_seconds(_plain(expires))
    credential, signed = _plain(fields["X-Amz-Credential"]), _plain(fields["X-Amz-SignedHeaders"])
    return _Presigned(query.text, credential, stamp, signed_at, expires, expires_at, signed)


def _usual_presigned(raw_query: str) -> tuple[_Presigned, str] | None:
    """That, and the signature, of a query that has nothing else and is written as clients write it:
    in order, and encoded as it is signed."""
    match = _USUAL.fullmatch(raw_query)
    if match is None:
        return None
    text, credential, stamp, expires, signed, signature = match.groups()
    signed_at = parse_timestamp(stamp)
    if signed_at is None:
        return None
    expires_at = signed_at + _expires_seconds(expires)
    credential, signed = credential.replace("%2F", "/"), signed.replace("%3B", ";")
    return _Presigned(text, credential, stamp, signed_at, expires, expires_at, signed), signature


def _query_claim(
    said: _Presigned, signature: str, now: float, region: str, aliases: Set[str]
) -> _Claim:
    kind = AuthKind.PRESIGNED
    credential = _credential(kind, said.credential, said.stamp, region, aliases)
    if said.signed_at - now > SKEW_SECONDS_MAX:
        raise S3Error("AccessDenied", "Request is not valid yet")
    if now > said.expires_at:
        raise errors.request_expired(said.expires, iso_time(said.expires_at), iso_time(now))
    return _Claim(kind, credential, said.signed_headers, signature, said.stamp)


def _plain(value: str) -> str:
    """A value of the query, decoded."""
    if "%" not in value:
        return value
    value = value.replace("%2F", "/").replace("%3B", ";")
    return text_of(value.encode()) if "%" in value else value


@lru_cache(maxsize=1024)
def _expires_seconds(text: str) -> int:
    kind = AuthKind.PRESIGNED
    if text[:1] == "-" and ascii_digits(text[1:]):
        raise _malformed(kind, "X-Amz-Expires must be non-negative")
    if not ascii_digits(text):
        raise _malformed(kind, "X-Amz-Expires should be a number")
    if len(text) > 10 or int(text) > EXPIRES_SECONDS_MAX:
        message = f"X-Amz-Expires must be less than a week, {EXPIRES_SECONDS_MAX} seconds"
        raise _malformed(kind, message)
    return int(text)


UNKNOWN_SECRET = "the secret of every access key that does not exist"


@lru_cache(maxsize=256)
def _signed_names(text: str) -> tuple[str, ...] | None:
    names = tuple(text.split(";"))
    if not all(names) or text != text.lower() or len(set(names)) != len(names):
        return None
    return names


def _canonical_headers(headers: MultiMapping[str], claim: _Claim) -> str:
    text = claim.signed_headers
    if len(text) > SIGNED_HEADERS_CHARS_MAX or text.count(";") >= HEADERS_MAX:
        raise _malformed(claim.kind, "SignedHeaders names too many headers.")
    names = _signed_names(text)
    if names is None:
        raise _malformed(claim.kind, "SignedHeaders must be lower-case names, each once.")
    values: dict[str, str | None] = dict.fromkeys(names)
    unsigned = [] if "host" in values else ["host"]
    for name, value in headers.items():
        name = name.lower()
        if name in values:
            value = value.strip(" \t")
            while "  " in value:
                value = value.replace("  ", " ")
            before = values[name]
            values[name] = value if before is None else f"{before},{value}"
        elif name.startswith("x-amz-") and not (
            name == SHA256_HEADER and value == UNSIGNED_PAYLOAD and claim.kind is AuthKind.PRESIGNED
        ):
            unsigned.append(name)
    if unsigned:
        raise errors.headers_not_signed(unsigned)
    if None in values.values():
        raise S3Error("SignatureDoesNotMatch", "A header named in SignedHeaders was not sent.")
    text = "".join([f"{name}:{found}\n" for name, found in values.items()])
    if text.count("\n") != len(values):
        raise S3Error("InvalidRequest", "A signed header holds a line break.")
    return text


def verify_form(fields: Mapping[str, str], lookup: Lookup, now: float, config: FormConfig) -> str:
    """The access key that has signed the policy of a form, whose fields (by lower-case name) are
    all there. Such a form holds for as long as a presigned URL may, or shorter by its policy."""
    kind = AuthKind.FORM
    if fields["x-amz-algorithm"] != ALGORITHM:
        raise _malformed(kind, f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    stamp = fields["x-amz-date"]
    signed_at = parse_timestamp(stamp)
    if signed_at is None:
        raise _malformed(kind, "X-Amz-Date must be in the ISO8601 Long Format yyyyMMddTHHmmssZ")
    credential = _credential(
        kind, fields["x-amz-credential"], stamp, config.region, config.region_aliases
    )
    if signed_at - now > SKEW_SECONDS_MAX:
        raise S3Error("AccessDenied", "Request is not valid yet")
    if now > signed_at + EXPIRES_SECONDS_MAX:
        expired = iso_time(signed_at + EXPIRES_SECONDS_MAX)
        raise errors.request_expired(str(EXPIRES_SECONDS_MAX), expired, iso_time(now))
    claim = _Claim(kind, credential, "", fields["x-amz-signature"], stamp)
    _compare(fields["policy"], "", claim, lookup)
    return credential.access_key


def _verify(canonical_request: str, claim: _Claim, lookup: Lookup) -> bytes:
    """The signing key, once the signature is the right one; raises otherwise."""
    credential = claim.credential
    digest = sha256(canonical_request.encode("utf-8", "surrogateescape")).hexdigest()
    to_sign = f"{ALGORITHM}\n{claim.timestamp}\n{credential.scope}\n{digest}"
    return _compare(to_sign, canonical_request, claim, lookup)


def _compare(to_sign: str, canonical_request: str, claim: _Claim, lookup: Lookup) -> bytes:
    credential = claim.credential
    secret = lookup(credential.access_key)
    if secret is None:
        key = signing_key("", UNKNOWN_SECRET, credential.date, credential.region)
    else:
        key = signing_key(credential.access_key, secret, credential.date, credential.region)
    expected = key.sign(to_sign.encode())
    provided = claim.signature.encode("utf-8", "surrogateescape")
    matches = hmac.compare_digest(expected.encode(), provided)
    if secret is None:
        raise S3Error("InvalidAccessKeyId", extra={"AWSAccessKeyId": credential.access_key})
    if not matches:
        raise errors.signature_does_not_match(
            credential.access_key, to_sign, claim.signature, canonical_request
        )
    return key.key


def _auth_place(headers: MultiMapping[str], fields: Mapping[str, str]) -> AuthKind:
    in_header = "Authorization" in headers
    if not fields:
        return AuthKind.HEADER if in_header else AuthKind.ANONYMOUS
    in_query = SIGNATURE in fields or "X-Amz-Credential" in fields or "X-Amz-Algorithm" in fields
    if in_header and in_query:
        raise errors.two_auth_mechanisms()
    if in_header:
        return AuthKind.HEADER
    return AuthKind.PRESIGNED if in_query else AuthKind.ANONYMOUS


HEADER_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~")  # RFC 9110, 5.6.2


def _hoisted(fields: Mapping[str, str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in fields.items():
        lower = name.lower()
        if lower.startswith("x-amz-") and name not in _QUERY_AUTH:
            lower = text_of(lower.encode())
            if not HEADER_CHARS.issuperset(lower):
                raise _malformed(AuthKind.PRESIGNED, f"{name} cannot be the name of a header.")
            if lower in found:
                raise _malformed(AuthKind.PRESIGNED, f"{name} was given more than once.")
            found[lower] = text_of(value.encode())
    return found or NOTHING


def authenticate(
    request: SignedRequest,
    lookup: Lookup,
    now: float,
    region: str,
    aliases: Set[str] = frozenset(),
) -> AuthResult:
    """Who sent `request`, or ANONYMOUS when it carries no authentication at all.

    `lookup` gives the secret of an access key or None; `now` is in epoch seconds; `region` is the
    one that errors name, `aliases` are accepted besides. Raises `S3Error` for everything else.
    """
    headers = request.headers
    path = canonical_path(request.raw_path)
    query, hoisted = NO_QUERY, NOTHING
    in_header = "Authorization" in headers
    usual = _usual_presigned(request.raw_query) if request.raw_query and not in_header else None
    if usual is not None:
        kind, said = AuthKind.PRESIGNED, usual[0].text
        claim = _query_claim(*usual, now, region, aliases)
    else:
        query = scan_query(request.raw_query) if request.raw_query else NO_QUERY
        kind, said = _auth_place(headers, query.fields), query.text
        if kind is AuthKind.ANONYMOUS:
            mode, text = payload_mode(headers, None, in_header=False)
            digest = text if mode is PayloadMode.SIGNED_SHA256 else None
            return AuthResult(None, kind, mode, digest)
        if kind is AuthKind.HEADER:
            claim = _header_claim(request, now, region, aliases)
        else:
            found = _presigned(query)
            claim = _query_claim(found, _plain(query.fields[SIGNATURE]), now, region, aliases)
            hoisted = _hoisted(query.fields)
    given = hoisted.get(SHA256_HEADER)
    mode, text = payload_mode(headers, given, in_header=kind is AuthKind.HEADER)
    signed = _canonical_headers(headers, claim)
    canonical = f"{request.method}\n{path}\n{said}\n{signed}\n{claim.signed_headers}\n{text}"
    key = _verify(canonical, claim, lookup)
    if "x-amz-security-token" in headers or "x-amz-security-token" in hoisted:
        raise S3Error("InvalidToken")
    access_key, _, signed_region, scope = claim.credential
    seed = None
    if mode in SIGNED_MODES:
        seed = StreamSeed(claim.signature, key, scope, claim.timestamp)
    digest = text if mode is PayloadMode.SIGNED_SHA256 else None
    return AuthResult(access_key, kind, mode, digest, seed, hoisted, signed_region)
