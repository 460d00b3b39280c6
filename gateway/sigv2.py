"""AWS Signature Version 2, in the Authorization header or in the query: for old clients.

The source of the rules is "Signing and authenticating REST requests" in the Amazon S3 API Reference
of that version. What is signed is the method, Content-MD5, Content-Type, the date (or when a URL
expires), every `x-amz-*` header, and the resource: the path as it was sent, below its bucket, with
those parameters that name a subresource or override a header of the answer. `SIGNED_PARAMETERS` is
more than Amazon's list: whatever makes another operation of a request is in it, so that nobody can
append such a parameter to a URL they were given. A client that does not sign one of the newer ones
is refused, and needs Version 4.

It is weaker than Version 4, and off unless the setting `s3.signature_v2` says otherwise: SHA-1;
neither body, host, region nor service are bound; and values are signed decoded, so that who signs a
URL with `response-content-disposition=a%26versionId%3Db` has signed one with `&versionId=b` too.

It may be used for whatever Version 4 may but for signed streams of chunks, and it refuses what
Version 4 refuses: both places at once, an access key that is unknown after the same time as a wrong
signature, clocks that differ too much.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence

from multidict import MultiMapping

from gateway import errors
from gateway.chunked import SHA256_HEADER, PayloadMode, payload_mode
from gateway.context import Config
from gateway.dates import ascii_digits, iso_time, parse_timestamp, timestamp_of_date
from gateway.errors import S3Error, invalid_argument
from gateway.model.matching import SUBRESOURCES
from gateway.sigv4 import (
    HEADER_CHARS,
    NOTHING,
    SKEW_SECONDS_MAX,
    UNKNOWN_SECRET,
    AuthKind,
    AuthResult,
    Lookup,
    SignedRequest,
)
from gateway.target import bucket_of_host
from gateway.uri import SIGNATURE, canonical_path, parse_query

_SCHEME = "AWS "
_KEY, _SIGNATURE, _EXPIRES = "AWSAccessKeyId", "Signature", "Expires"
_ACCESS_KEY_CHARS_MAX = 128  # S3's own
_SIGNATURE_CHARS_MAX = 64  # base64 of 20 bytes is 28
_EXPIRES_AT_MAX = 253_402_300_799  # the end of the year 9999

_OVERRIDES = frozenset(
    f"response-{name}"
    for name in (
        *("cache-control", "content-disposition", "content-encoding", "content-language"),
        *("content-type", "expires"),
    )
)
_FURTHER = ("defaultObjectAcl", "partNumber", "storageClass", "versionId", "select-type")
SIGNED_PARAMETERS = (SUBRESOURCES | _OVERRIDES.union(_FURTHER)) - {"list-type"}
_LINE_BREAKS = frozenset("\r\n\0")
_HOISTED = ("content-md5", "content-type")
"""Headers beside x-amz-* which may stand in the query of a URL: botocore puts them there."""


def is_version_2(request: SignedRequest) -> bool:
    """Whether a request claims to be signed by this version, well or badly."""
    if request.headers.get("Authorization", "").startswith(_SCHEME):
        return True
    query = request.raw_query
    if not query:
        return False
    # `X-Amz-Signature` of Version 4 ends in one of the names.
    if _KEY not in query and not query.startswith(_SIGNATURE) and f"&{_SIGNATURE}" not in query:
        return False
    names = {part.partition("=")[0] for part in query.split("&")}
    return _KEY in names or _SIGNATURE in names


def authenticate_v2(
    request: SignedRequest, lookup: Lookup, now: float, config: Config
) -> AuthResult:
    """Who sent a request that `is_version_2`. InvalidRequest when the setting is off."""
    headers = request.headers
    hoisted: Mapping[str, str] = NOTHING
    parameters = _parameters(request.raw_query)
    _refuse_others(headers, parameters)
    if not config.signature_v2:
        raise errors.unsupported_authorization("AWS", "")
    if "Authorization" in headers:
        kind = AuthKind.HEADER_V2
        access_key, signature = _authorization(headers["Authorization"])
        date = _date_line(headers, now)
    else:
        kind, hoisted = AuthKind.PRESIGNED_V2, _hoisted(parameters, headers)
        access_key, signature, date = _query_claim(parameters, now)
    mode, text = payload_mode(headers, hoisted.get(SHA256_HEADER), in_header=False)
    fields = (
        request.method,
        _one(headers, hoisted, "content-md5"),
        _one(headers, hoisted, "content-type"),
        date,
        _amz_headers(headers, hoisted),
    )
    query = _signed_query(parameters)
    texts = ["\n".join(fields) + path + query for path in _paths(request, config.base_domains)]
    verify(access_key, texts, signature, lookup)
    if "x-amz-security-token" in headers or "x-amz-security-token" in hoisted:
        raise S3Error("InvalidToken")
    digest = text if mode is PayloadMode.SIGNED_SHA256 else None
    return AuthResult(access_key, kind, mode, digest, None, hoisted)


def verify(access_key: str, texts: Sequence[str], signature: str, lookup: Lookup) -> None:
    """Raise unless `signature` is that of one of `texts` (a request, or the policy of a form)."""
    secret = lookup(access_key)
    key = (UNKNOWN_SECRET if secret is None else secret).encode()
    provided = signature.encode("utf-8", "surrogateescape")
    matches = False
    for text in texts:
        message = text.encode("utf-8", "surrogateescape")
        expected = b64encode(hmac.digest(key, message, "sha1"))
        matches |= hmac.compare_digest(expected, provided)
    if secret is None:
        raise S3Error("InvalidAccessKeyId", extra={"AWSAccessKeyId": access_key})
    if not matches:
        extra = {
            "AWSAccessKeyId": access_key,
            "StringToSign": texts[0],
            "SignatureProvided": signature,
        }
        raise S3Error("SignatureDoesNotMatch", extra=extra)


def _parameters(raw_query: str) -> dict[str, str | None]:
    """The query, decoded; None for a parameter without `=`. InvalidArgument for one given twice."""
    found: dict[str, str | None] = {}
    for part in raw_query.split("&"):
        for name, value in parse_query(part):
            if name in found:
                raise invalid_argument("A query parameter was given more than once.", name, value)
            found[name] = value if "=" in part else None
    return found


def _refuse_others(headers: MultiMapping[str], parameters: Mapping[str, str | None]) -> None:
    """One way to authenticate, and each of its parts once."""
    in_header = "Authorization" in headers
    in_query = _KEY in parameters or _SIGNATURE in parameters
    version_4 = SIGNATURE in parameters or "X-Amz-Credential" in parameters
    if in_header + in_query + (version_4 or "X-Amz-Algorithm" in parameters) > 1:
        raise errors.two_auth_mechanisms()
    for name in ("Authorization", "X-Amz-Date", "Date", "Host", "Content-Type", "Content-MD5"):
        if len(headers.getall(name, ())) > 1:
            raise S3Error("InvalidArgument", f"The header {name} was given more than once.")


def _authorization(text: str) -> tuple[str, str]:
    """Access key and signature of an Authorization header."""
    access_key, mark, signature = text.removeprefix(_SCHEME).strip().partition(":")
    if not mark or not _fits(access_key, signature):
        message = "AWS authorization header is invalid. Expected AwsAccessKeyId:signature"
        raise invalid_argument(message, "Authorization", text)
    return access_key, signature


def _fits(access_key: str, signature: str) -> bool:
    return (
        0 < len(access_key) <= _ACCESS_KEY_CHARS_MAX
        and 0 < len(signature) <= _SIGNATURE_CHARS_MAX
        and (access_key + signature).isascii()
        and (access_key + signature).isprintable()
    )


def _date_line(headers: MultiMapping[str], now: float) -> str:
    """What stands for the date: nothing when x-amz-date does, which is signed as a header."""
    in_amz = "X-Amz-Date" in headers
    text = headers["X-Amz-Date"] if in_amz else headers.get("Date", "")
    stamp = timestamp_of_date(text)
    sent = None if stamp is None else parse_timestamp(stamp)
    if sent is None or sent < 0:
        message = "AWS authentication requires a valid Date or x-amz-date header"
        raise S3Error("AccessDenied", message)
    if abs(now - sent) > SKEW_SECONDS_MAX:
        raise errors.request_time_too_skewed(text, iso_time(now), SKEW_SECONDS_MAX)
    return "" if in_amz else text.strip()


def _query_claim(parameters: Mapping[str, str | None], now: float) -> tuple[str, str, str]:
    """Access key, signature and Expires of a presigned URL that holds still."""
    access_key, signature, expires = (
        parameters.get(name) or "" for name in (_KEY, _SIGNATURE, _EXPIRES)
    )
    if not expires or not _fits(access_key, signature):
        raise S3Error(
            "AccessDenied",
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId "
            "parameters",
        )
    if not ascii_digits(expires) or len(expires) > 12 or int(expires) > _EXPIRES_AT_MAX:
        message = f"Invalid date (should be seconds since epoch): {expires[:40]}"
        raise S3Error("AccessDenied", message)
    if now > int(expires):
        extra = {"Expires": iso_time(int(expires)), "ServerTime": iso_time(now)}
        raise S3Error("AccessDenied", "Request has expired", extra=extra)
    return access_key, signature, expires


def _hoisted(parameters: Mapping[str, str | None], headers: MultiMapping[str]) -> Mapping[str, str]:
    """The parameters that stand for headers, by lower-case name."""
    found: dict[str, str] = {}
    for name, value in parameters.items():
        lower = name.lower()
        if not lower.startswith("x-amz-") and lower not in _HOISTED:
            continue
        value = value or ""
        if not HEADER_CHARS.issuperset(lower) or not _LINE_BREAKS.isdisjoint(value):
            raise invalid_argument("This parameter cannot stand for a header.", name, value)
        if lower in found or headers.get(lower, value) != value:
            raise invalid_argument("This header was given more than once.", name, value)
        found[lower] = value
    return found


def _one(headers: MultiMapping[str], hoisted: Mapping[str, str], name: str) -> str:
    return (headers.get(name) or hoisted.get(name, "")).strip()


def _amz_headers(headers: MultiMapping[str], hoisted: Mapping[str, str]) -> str:
    values: dict[str, list[str]] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith("x-amz-"):
            values.setdefault(lower, []).append(value.strip(" \t"))
    for name, value in hoisted.items():
        if name.startswith("x-amz-"):
            values.setdefault(name, [value.strip(" \t")])
    return "".join([f"{name}:{','.join(values[name])}\n" for name in sorted(values)])


def _paths(request: SignedRequest, base_domains: tuple[str, ...]) -> list[str]:
    """The path below its bucket; that of a bucket itself also with the slash that libraries sign
    and do not send, which means the same."""
    canonical_path(request.raw_path)  # raises unless it is a path
    bucket = bucket_of_host(request.headers.get("Host", ""), base_domains)
    path = request.raw_path
    if bucket is not None:
        return [f"/{bucket}{path}"]
    return [path] if "/" in path[1:] or path == "/" else [path, f"{path}/"]


def _signed_query(parameters: Mapping[str, str | None]) -> str:
    signed: list[str] = []
    for name in sorted(SIGNED_PARAMETERS.intersection(parameters)):
        value = parameters[name]
        if value is None:
            signed.append(name)
            continue
        if not _LINE_BREAKS.isdisjoint(value):
            raise invalid_argument("A value that is signed holds a line break.", name, value)
        signed.append(f"{name}={value}")
    return f"?{'&'.join(signed)}" if signed else ""
