"""The path and the query of a URI, in the two forms that are needed of them.

Decoded, for routing; and encoded by AWS's rules, for the signature: only letters, digits and
`-._~` stand for themselves, `/` too in a path; nothing is normalised, no `..` is resolved. The
decoder is the same for both, so what was verified and what is routed cannot differ.

Nearly every client sends the encoded form already. One pass of `bytes.translate` finds that out,
and then nothing is decoded at all: this runs for every request, and is written to be short.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from gateway.errors import S3Error

SIGNATURE = "X-Amz-Signature"
_SIGNATURE_FIELD = f"{SIGNATURE}="

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


def text_of(raw: bytes) -> str:
    try:
        return _unescape(raw).decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "The URI is not valid UTF-8 once it is decoded.") from None


def decode_path(raw_path: str) -> str:
    """The path as text, for routing: "/bucket/key". InvalidURI when it has none."""
    if "%" not in raw_path and raw_path.isascii():
        return raw_path
    return text_of(raw_path.encode("utf-8", "surrogateescape"))


class Query(NamedTuple):
    """The parameters of a signed request, encoded by AWS's rules.

    `fields`: value by name; `text`: the canonical query without the signature; `doubled`: an
    x-amz-* name that was given more than once, "" when there is none.
    """

    fields: dict[str, str]
    text: str
    doubled: str


NO_QUERY = Query({}, "", "")


def scan_query(raw_query: str) -> Query:
    """A query as the signature needs it."""
    plain = raw_query.replace("%2F", "").encode("utf-8", "surrogateescape")
    if plain.translate(None, _QUERY_PLAIN):
        return _scan_any(raw_query)
    parts = raw_query.split("&")
    try:
        fields = dict([part.split("=") for part in parts])
    except ValueError:  # a part with no "=", or with two
        return _scan_any(raw_query)
    if len(fields) != len(parts):
        return _scan_any(raw_query)
    names = [name for name in fields if name != SIGNATURE]
    ordered = sorted(names)
    if ordered == names and len(names) == len(parts) - 1 and parts[-1].startswith(_SIGNATURE_FIELD):
        return Query(fields, raw_query[: -len(parts[-1]) - 1], "")
    return Query(fields, "&".join([f"{name}={fields[name]}" for name in ordered]), "")


def _scan_any(raw_query: str) -> Query:
    raw = raw_query.encode("utf-8", "surrogateescape").replace(b"+", b"%20")
    parts = [part.partition(b"=") for part in raw.split(b"&") if part]
    pairs = sorted([(_reencode(name), _reencode(value)) for name, _, value in parts])
    doubled = [
        name
        for (name, _), (after, _) in pairwise(pairs)
        if name == after and name.lower().startswith("x-amz-")
    ]
    text = "&".join([f"{name}={value}" for name, value in pairs if name != SIGNATURE])
    return Query(dict(pairs), text, doubled[0] if doubled else "")


def _reencode(raw: bytes) -> str:
    return "".join([_ENCODE[byte] for byte in _unescape(raw)])


def parse_query(raw_query: str) -> list[tuple[str, str]]:
    """The parameters in the order sent, decoded; `+` is a space. InvalidURI when not UTF-8."""
    raw = raw_query.encode("utf-8", "surrogateescape").replace(b"+", b"%20")
    parts = [part.partition(b"=") for part in raw.split(b"&") if part]
    return [(text_of(name), text_of(value)) for name, _, value in parts]
