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
takes as long as a wrong signature. Signing keys are kept by (access key, date, region) together
with the secret they came from: a changed secret never meets an old key. Dates and regions are
checked first, so only keys that exist can fill the cache, and it is bounded besides.

It does not decide what an identity may do (an anonymous request is a result, not an error), does
not read the body (`gateway.chunked`, `gateway.checksums`), and speaks neither SigV2 nor SigV4A.
"""

from __future__ import annotations

import enum
import hmac
from calendar import timegm
from collections.abc import Callable, Mapping, Set
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_tz
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple, Protocol

from multidict import MultiMapping

from gateway import errors
from gateway.chunked import SHA256_HEADER, SIGNED_MODES, PayloadMode, StreamSeed, payload_mode
from gateway.errors import S3Error

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_SECONDS_MAX = 900  # S3's own; a presigned URL may lie as far in the future
EXPIRES_SECONDS_MAX = 604_800  # seven days, S3's own
SIGNING_KEYS_MAX = 4096  # about 0.5 KiB each

Secret = str
Lookup = Callable[[str], Secret | None]

_NOTHING: Mapping[str, str] = MappingProxyType({})


class AuthKind(enum.Enum):
    ANONYMOUS = "anonymous"
    HEADER = "header"
    PRESIGNED = "presigned"


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


class AuthResult(NamedTuple):
    """Who asks, and what their signature says of the body.

    `payload_sha256` is set in the mode SIGNED_SHA256 (64 lower-case hex digits), `seed` in the two
    signed streaming modes. `hoisted` holds the `x-amz-*` parameters of a presigned URL that are not
    of the signature: some SDKs move signed headers there; names are lower-case, values decoded.
    """

    access_key: str | None
    kind: AuthKind
    payload: PayloadMode
    payload_sha256: str | None = None
    seed: StreamSeed | None = None
    hoisted: Mapping[str, str] = _NOTHING


_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_PATH_SAFE = _UNRESERVED + b"/"
_QUERY_PLAIN = _UNRESERVED + b"&="
_ENCODE_PATH = [chr(b) if b in _PATH_SAFE else f"%{b:02X}" for b in range(256)]
_ENCODE = [chr(b) if b in _UNRESERVED else f"%{b:02X}" for b in range(256)]
_HEX = "0123456789abcdefABCDEF"
_DECODE = {(h + low).encode(): bytes([int(h + low, 16)]) for h in _HEX for low in _HEX}
_CANONICAL_ESCAPES = frozenset(f"{b:02X}".encode() for b in range(256) if b not in _UNRESERVED)
_CANONICAL_PATH_ESCAPES = _CANONICAL_ESCAPES - {b"2F"}


def _unescape(raw: bytes) -> bytes:
    first, *rest = raw.split(b"%")
    decoded = [first]
    for piece in rest:
        byte = _DECODE.get(piece[:2])
        if byte is None:
            raise S3Error("InvalidURI", "The URI holds a '%' without two hex digits after it.")
        decoded += (byte, piece[2:])
    return b"".join(decoded)


def _is_canonical(raw: bytes, plain: bytes, escapes: frozenset[bytes]) -> bool:
    left = raw.translate(None, plain)
    if not left:
        return True
    if left.count(b"%") != len(left):
        return False
    pieces = raw.split(b"%")
    del pieces[0]
    return escapes.issuperset([piece[:2] for piece in pieces])


def canonical_path(raw_path: str) -> str:
    """The path as AWS's rules encode it: decoded once, encoded once, not normalised."""
    raw = raw_path.encode("utf-8", "surrogateescape")
    if raw[:1] != b"/":
        raise S3Error("InvalidURI", "The path of the URI does not begin with '/'.")
    if _is_canonical(raw, _PATH_SAFE, _CANONICAL_PATH_ESCAPES):
        return raw_path
    return "".join([_ENCODE_PATH[byte] for byte in _unescape(raw)])


def _text(raw: bytes) -> str:
    try:
        return _unescape(raw).decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "The URI is not valid UTF-8 once it is decoded.") from None


def decode_path(raw_path: str) -> str:
    """The path as text, for routing: "/bucket/key". InvalidURI when it has none."""
    if "%" not in raw_path and raw_path.isascii():
        return raw_path
    return _text(raw_path.encode("utf-8", "surrogateescape"))


def _encoded_query(raw_query: str) -> list[tuple[str, str, str]]:
    """The parameters, encoded by AWS's rules and sorted, as (name, "=" or "", value)."""
    if not raw_query:
        return []
    raw = raw_query.encode("utf-8", "surrogateescape")
    pairs = [part.partition("=") for part in raw_query.split("&") if part]
    canonical = _is_canonical(raw, _QUERY_PLAIN, _CANONICAL_ESCAPES)
    if not canonical or "=" in "".join([value for _, _, value in pairs]):
        parts = [part.partition(b"=") for part in raw.replace(b"+", b"%20").split(b"&") if part]
        pairs = [(_reencode(name), "=", _reencode(value)) for name, _, value in parts]
    pairs.sort()
    return pairs


def _reencode(raw: bytes) -> str:
    return "".join([_ENCODE[byte] for byte in _unescape(raw)])


def parse_query(raw_query: str) -> list[tuple[str, str]]:
    """The parameters in the order sent, decoded; `+` is a space. InvalidURI when not UTF-8."""
    raw = raw_query.encode("utf-8", "surrogateescape").replace(b"+", b"%20")
    parts = [part.partition(b"=") for part in raw.split(b"&") if part]
    return [(_text(name), _text(value)) for name, _, value in parts]


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


@lru_cache(maxsize=1024)
def _parse_timestamp(text: str) -> int | None:
    """Epoch seconds of a basic ISO 8601 instant, 20130524T000000Z; None when it is none."""
    digits = text[:8] + text[9:15]
    if len(text) != 16 or text[8] != "T" or text[15] != "Z" or not _ascii_digits(digits):
        return None
    year, month, day = int(text[:4]), int(text[4:6]), int(text[6:8])
    try:
        when = datetime(year, month, day, int(text[9:11]), int(text[11:13]), int(text[13:15]))
    except ValueError:
        return None
    return timegm(when.timetuple())


def _ascii_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _timestamp_of_date(text: str) -> str | None:
    """A Date header, in any usual format, as a basic ISO 8601 instant; None when it is no date."""
    if len(text) > 40 or _parse_timestamp(text) is not None:
        return text
    try:
        parsed = parsedate_tz(text)
        if parsed is None:
            return None
        when = datetime(*parsed[:6], tzinfo=UTC) - timedelta(seconds=parsed[9] or 0)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return f"{when.year:04d}{when:%m%dT%H%M%SZ}"


def _iso(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _malformed(kind: AuthKind, message: str, **extra: str) -> S3Error:
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
    if len(date) != 8 or not _ascii_digits(date):
        return f'incorrect date format "{date}". The date in the credential must be "yyyyMMdd".'
    if service != "s3":
        return f'incorrect service "{service}". This endpoint belongs to "s3".'
    if terminator != "aws4_request":
        return f'incorrect terminal "{terminator}". This endpoint uses "aws4_request".'
    return _Credential(access_key, date, region, text[len(access_key) + 1 :])


def _credential(
    kind: AuthKind, text: str, stamp: str, region: str, aliases: Set[str]
) -> _Credential:
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


def _header_claim(request: SignedRequest, now: float, region: str, aliases: Set[str]) -> _Claim:
    headers = request.headers
    for name in ("Authorization", "X-Amz-Date", "Host"):
        if len(headers.getall(name, ())) > 1:
            raise S3Error("InvalidArgument", f"The header {name} was given more than once.")
    scheme, _, rest = headers["Authorization"].strip().partition(" ")
    if scheme != ALGORITHM:
        raise errors.unsupported_authorization(scheme, headers["Authorization"])
    fields: dict[str, str] = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        if name in fields or name not in ("Credential", "SignedHeaders", "Signature"):
            raise _malformed(AuthKind.HEADER, f"the component {name!r} is unknown or doubled.")
        fields[name] = value
    for name in ("Credential", "SignedHeaders", "Signature"):
        if not fields.get(name):
            raise _malformed(AuthKind.HEADER, f"it requires the existence of a {name!r} component.")
    stamp = headers.get("X-Amz-Date")
    if stamp is None:
        stamp = _timestamp_of_date(headers.get("Date", ""))
    sent = None if stamp is None else _parse_timestamp(stamp)
    if stamp is None or sent is None:
        raise S3Error(
            "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"
        )
    if abs(now - sent) > SKEW_SECONDS_MAX:
        raise errors.request_time_too_skewed(stamp, _iso(now), SKEW_SECONDS_MAX)
    credential = _credential(AuthKind.HEADER, fields["Credential"], stamp, region, aliases)
    return _Claim(AuthKind.HEADER, credential, fields["SignedHeaders"], fields["Signature"], stamp)


_QUERY_AUTH = frozenset(
    f"X-Amz-{name}"
    for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
)


def _query_claim(
    pairs: list[tuple[str, str, str]], now: float, region: str, aliases: Set[str]
) -> _Claim:
    kind = AuthKind.PRESIGNED
    fields: dict[str, str] = {}
    for name, _, value in pairs:
        if name in _QUERY_AUTH:
            if name in fields:
                raise _malformed(kind, f"{name} was given more than once.")
            if "%" in value:
                value = value.replace("%2F", "/").replace("%3B", ";")
                value = _text(value.encode()) if "%" in value else value
            fields[name] = value
    if len(fields) != len(_QUERY_AUTH):
        raise _malformed(
            kind,
            "Query-string authentication version 4 requires the X-Amz-Algorithm, "
            "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and "
            "X-Amz-Expires parameters.",
        )
    if fields["X-Amz-Algorithm"] != ALGORITHM:
        raise _malformed(kind, f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    stamp = fields["X-Amz-Date"]
    signed_at = _parse_timestamp(stamp)
    if signed_at is None:
        raise _malformed(kind, "X-Amz-Date must be in the ISO8601 Long Format yyyyMMddTHHmmssZ")
    expires_at = signed_at + _expires_seconds(fields["X-Amz-Expires"])
    credential = _credential(kind, fields["X-Amz-Credential"], stamp, region, aliases)
    if signed_at - now > SKEW_SECONDS_MAX:
        raise S3Error("AccessDenied", "Request is not valid yet")
    if now > expires_at:
        raise errors.request_expired(fields["X-Amz-Expires"], _iso(expires_at), _iso(now))
    return _Claim(kind, credential, fields["X-Amz-SignedHeaders"], fields["X-Amz-Signature"], stamp)


def _expires_seconds(text: str) -> int:
    kind = AuthKind.PRESIGNED
    if text[:1] == "-" and _ascii_digits(text[1:]):
        raise _malformed(kind, "X-Amz-Expires must be non-negative")
    if not _ascii_digits(text):
        raise _malformed(kind, "X-Amz-Expires should be a number")
    if len(text) > 10 or int(text) > EXPIRES_SECONDS_MAX:
        message = f"X-Amz-Expires must be less than a week, {EXPIRES_SECONDS_MAX} seconds"
        raise _malformed(kind, message)
    return int(text)


_UNKNOWN_SECRET = "the secret of every access key that does not exist"
_SIGNING_KEYS: dict[tuple[str, str, str], tuple[bytes, bytes]] = {}


def signing_key(access_key: str, secret: Secret, date: str, region: str) -> bytes:
    """The key of one day and region, from the cache if the secret is still the same."""
    slot = (access_key, date, region)
    secret_bytes = secret.encode()
    kept = _SIGNING_KEYS.get(slot)
    if kept is not None and hmac.compare_digest(kept[0], secret_bytes):
        return kept[1]
    key = b"AWS4" + secret_bytes
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    while len(_SIGNING_KEYS) >= SIGNING_KEYS_MAX:
        del _SIGNING_KEYS[next(iter(_SIGNING_KEYS))]
    _SIGNING_KEYS[slot] = (secret_bytes, key)
    return key


@lru_cache(maxsize=1024)
def _signed_names(text: str) -> tuple[str, ...] | None:
    names = tuple(text.split(";"))
    if not all(names) or text != text.lower() or len(set(names)) != len(names):
        return None
    return names


def _canonical_headers(headers: MultiMapping[str], claim: _Claim) -> str:
    names = _signed_names(claim.signed_headers)
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
            name == SHA256_HEADER
            and value == PayloadMode.UNSIGNED.value
            and claim.kind is AuthKind.PRESIGNED
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


def _verify(canonical_request: str, claim: _Claim, lookup: Lookup) -> bytes:
    """The signing key, once the signature is the right one; raises otherwise."""
    credential = claim.credential
    digest = sha256(canonical_request.encode("utf-8", "surrogateescape")).hexdigest()
    to_sign = f"{ALGORITHM}\n{claim.timestamp}\n{credential.scope}\n{digest}"
    secret = lookup(credential.access_key)
    if secret is None:
        key = signing_key("", _UNKNOWN_SECRET, credential.date, credential.region)
    else:
        key = signing_key(credential.access_key, secret, credential.date, credential.region)
    expected = hmac.digest(key, to_sign.encode(), "sha256").hex()
    provided = claim.signature.encode("utf-8", "surrogateescape")
    matches = hmac.compare_digest(expected.encode(), provided)
    if secret is None:
        raise S3Error("InvalidAccessKeyId", extra={"AWSAccessKeyId": credential.access_key})
    if not matches:
        raise errors.signature_does_not_match(
            credential.access_key, to_sign, claim.signature, canonical_request
        )
    return key


def _auth_place(headers: MultiMapping[str], pairs: list[tuple[str, str, str]]) -> AuthKind:
    in_header = "Authorization" in headers
    if not pairs:
        return AuthKind.HEADER if in_header else AuthKind.ANONYMOUS
    names = {name for name, _, _ in pairs}
    in_query = not names.isdisjoint(("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"))
    version_2 = "AWSAccessKeyId" in names and "Signature" in names
    if in_header + in_query + version_2 > 1:
        raise errors.two_auth_mechanisms()
    if version_2:
        raise errors.unsupported_authorization("AWS", "")
    if in_header:
        return AuthKind.HEADER
    return AuthKind.PRESIGNED if in_query else AuthKind.ANONYMOUS


def _hoisted(pairs: list[tuple[str, str, str]]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, _, value in pairs:
        lower = name.lower()
        if lower.startswith("x-amz-") and name not in _QUERY_AUTH:
            lower = _text(lower.encode())
            if lower in found:
                raise _malformed(AuthKind.PRESIGNED, f"{name} was given more than once.")
            found[lower] = _text(value.encode())
    return found or _NOTHING


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
    pairs = _encoded_query(request.raw_query)
    kind = _auth_place(headers, pairs)
    if kind is AuthKind.ANONYMOUS:
        mode, text = payload_mode(headers, None, in_header=False)
        digest = text if mode is PayloadMode.SIGNED_SHA256 else None
        return AuthResult(None, kind, mode, digest)
    hoisted = _NOTHING
    if kind is AuthKind.HEADER:
        claim = _header_claim(request, now, region, aliases)
    else:
        claim = _query_claim(pairs, now, region, aliases)
        hoisted = _hoisted(pairs)
        pairs = [pair for pair in pairs if pair[0] != "X-Amz-Signature"]
    mode, text = payload_mode(
        headers, hoisted.get(SHA256_HEADER), in_header=kind is AuthKind.HEADER
    )
    query = "&".join([f"{name}={value}" for name, _, value in pairs])
    signed = _canonical_headers(headers, claim)
    canonical = f"{request.method}\n{path}\n{query}\n{signed}\n{claim.signed_headers}\n{text}"
    key = _verify(canonical, claim, lookup)
    if "x-amz-security-token" in headers or "x-amz-security-token" in hoisted:
        raise S3Error("InvalidToken")
    access_key, _, _, scope = claim.credential
    seed = None
    if mode in SIGNED_MODES:
        seed = StreamSeed(claim.signature, key, scope, claim.timestamp)
    digest = text if mode is PayloadMode.SIGNED_SHA256 else None
    return AuthResult(access_key, kind, mode, digest, seed, hoisted)
