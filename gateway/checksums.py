"""Checksums of a body: which a request asks for, computed as it arrives, compared at the end.

A client may say what it sent in four ways: x-amz-content-sha256 (in the signature), Content-MD5,
one `x-amz-checksum-<algorithm>` header, or the same as a trailer after a chunked body. A presigned
URL may hold such headers in its query. `BodyVerifier` reads all of them when it is made, refuses
what is malformed or contradictory before a byte of the body is read, and is then fed the decoded
body. MD5 (the ETag) and CRC64NVME (carried with the object from here to every disk and back) are
always computed; the others only when asked for, and each algorithm once.

A body that is here in one piece takes `verify`, which makes no hasher objects. A large one takes
`update` for each block, in a worker thread if the caller likes: hashlib and the CRCs keep no tie to
the thread, but one verifier is for one thread at a time. Values are base64, big-endian for the
CRCs, as S3 writes them. Source: "Checking object integrity in Amazon S3".

In CompleteMultipartUpload the checksum header is of the object and not of the body: there
`of_object=True` leaves it to the caller, who reads it with `checksum_of_object`.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from awscrt import checksums as crt
from multidict import MultiMapping

from gateway.chunked import announced_trailers
from gateway.errors import S3Error
from gateway.sigv4 import AuthKind, AuthResult

Data = bytes | memoryview


class Hasher(Protocol):
    def update(self, data: Data) -> None: ...
    def digest(self) -> bytes: ...
    def digest_b64(self) -> str: ...


class Crc:
    """A CRC, incrementally: `value` is the number, the digest its big-endian bytes."""

    __slots__ = ("_function", "_size", "value")

    def __init__(self, function: Callable[[Data, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self.value = 0

    def update(self, data: Data) -> None:
        self.value = self._function(data, self.value)

    def digest(self) -> bytes:
        return self.value.to_bytes(self._size, "big")

    def digest_b64(self) -> str:
        return _base64(self.digest())


class Sha:
    """A hash of hashlib, with the interface of the CRCs."""

    __slots__ = ("_hash", "update")

    def __init__(self, name: str) -> None:
        self._hash = hashlib.new(name, usedforsecurity=False)
        self.update = self._hash.update

    def digest(self) -> bytes:
        return self._hash.digest()

    def digest_b64(self) -> str:
        return _base64(self._hash.digest())


class Xx:
    """An xxHash, with the interface of the CRCs."""

    __slots__ = ("_digest", "_hash")

    def __init__(self, made: crt.XXHash) -> None:
        self._hash = made
        self._digest = b""

    def update(self, data: Data) -> None:
        # It takes no views, whatever its annotation says.
        self._hash.update(data if isinstance(data, bytes) else bytes(data))

    def digest(self) -> bytes:
        self._digest = self._digest or self._hash.finalize()
        return self._digest

    def digest_b64(self) -> str:
        return _base64(self.digest())


# algorithm -> (its name in a header, bytes of a digest, how to begin one)
_ALGORITHMS: dict[str, tuple[str, int, Callable[[], Hasher]]] = {
    "CRC32": ("x-amz-checksum-crc32", 4, lambda: Crc(crt.crc32, 4)),
    "CRC32C": ("x-amz-checksum-crc32c", 4, lambda: Crc(crt.crc32c, 4)),
    "CRC64NVME": ("x-amz-checksum-crc64nvme", 8, lambda: Crc(crt.crc64nvme, 8)),
    "SHA1": ("x-amz-checksum-sha1", 20, lambda: Sha("sha1")),
    "SHA256": ("x-amz-checksum-sha256", 32, lambda: Sha("sha256")),
    "SHA512": ("x-amz-checksum-sha512", 64, lambda: Sha("sha512")),
    "MD5": ("x-amz-checksum-md5", 16, lambda: Sha("md5")),
    "XXHASH64": ("x-amz-checksum-xxhash64", 8, lambda: Xx(crt.XXHash.new_xxhash64())),
    "XXHASH3": ("x-amz-checksum-xxhash3", 8, lambda: Xx(crt.XXHash.new_xxhash3_64())),
    "XXHASH128": ("x-amz-checksum-xxhash128", 16, lambda: Xx(crt.XXHash.new_xxhash3_128())),
}
ALGORITHMS = tuple(_ALGORITHMS)
_BY_HEADER = {header: name for name, (header, _, _) in _ALGORITHMS.items()}
# Headers of the same prefix that hold no checksum.
_NOT_VALUES = frozenset(f"x-amz-checksum-{what}" for what in ("algorithm", "mode", "type"))
_PREFIX = "x-amz-checksum-"


def hasher(algorithm: str) -> Hasher:
    """A new hasher of one of `ALGORITHMS`."""
    return _ALGORITHMS[algorithm][2]()


def header_name(algorithm: str) -> str:
    return _ALGORITHMS[algorithm][0]


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")


def _decode(text: str, size: int) -> bytes | None:
    """The bytes of a strict base64 text, None when it is none or of another size."""
    try:
        raw = a2b_base64(text.encode("ascii"), strict_mode=True)
    except (Base64Error, UnicodeEncodeError):
        return None
    return raw if len(raw) == size else None


def _parse(algorithm: str, text: str) -> bytes:
    header, size, _ = _ALGORITHMS[algorithm]
    raw = _decode(text.strip(), size)
    if raw is None:
        raise S3Error("InvalidRequest", f"Value for {header} header is invalid.")
    return raw


class AskedChecksum(NamedTuple):
    """The checksum that a request gives: `expected` is None when it comes as a trailer."""

    algorithm: str
    expected: bytes | None


def asked_checksum(
    headers: MultiMapping[str], hoisted: Mapping[str, str] | None = None, *, strict: bool = True
) -> AskedChecksum | None:
    """The one checksum that a request gives or announces, None when there is none.

    `strict`: an x-amz-sdk-checksum-algorithm without a checksum is refused, as S3 does.
    InvalidRequest for more than one checksum, an unknown algorithm, or a value not of its form.
    """
    found = [(n, v) for name, v in headers.items() if (n := name.lower()).startswith("x-amz-")]
    if hoisted:
        found += hoisted.items()
    if not found:
        return None
    values = [(n, v) for n, v in found if n.startswith(_PREFIX) and n not in _NOT_VALUES]
    trailers = announced_trailers(headers) if "x-amz-trailer" in headers else ()
    if len(values) + len(trailers) > 1:
        raise _several()
    sdk = [v.strip().upper() for n, v in found if n == "x-amz-sdk-checksum-algorithm"]
    names = [n for n, _ in values] or list(trailers)
    if not names:
        if sdk and strict:
            raise S3Error(
                "InvalidRequest",
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* "
                "or x-amz-trailer headers were found.",
            )
        return None
    algorithm = _BY_HEADER.get(names[0])
    if algorithm is None:
        known = ", ".join(ALGORITHMS)
        raise S3Error("InvalidRequest", f"{names[0]} is not supported; the algorithms are {known}.")
    if any(name != algorithm for name in sdk):
        message = "Value for x-amz-sdk-checksum-algorithm header is invalid."
        raise S3Error("InvalidRequest", message)
    return AskedChecksum(algorithm, _parse(algorithm, values[0][1]) if values else None)


def checksum_of_object(
    headers: MultiMapping[str], hoisted: Mapping[str, str]
) -> tuple[str, str] | None:
    """Algorithm and value of the checksum of a whole object that a request gives, as text: a
    composite one may end with the number of parts. InvalidRequest."""
    found = {name.lower(): text for name, text in (*headers.items(), *hoisted.items())}
    given = [(_BY_HEADER[name], text) for name, text in found.items() if name in _BY_HEADER]
    if len(given) > 1:
        raise _several()
    return given[0] if given else None


def _several() -> S3Error:
    message = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
    return S3Error("InvalidRequest", message)


def asked_md5(headers: MultiMapping[str]) -> bytes | None:
    """The 16 bytes of Content-MD5, None when there is none; InvalidDigest when it is malformed."""
    values = headers.getall("Content-MD5", ())
    if not values:
        return None
    raw = _decode(values[0].strip(), 16)
    if raw is None or len(values) > 1:
        raise S3Error("InvalidDigest", extra={"Content-MD5": values[0]})
    return raw


class BodyDigests(NamedTuple):
    """What is stored with a body. `checksums`: the algorithms asked for -> base64, verified."""

    md5_hex: str
    crc64nvme: int
    checksums: dict[str, str]
    sha256_hex: str = ""
    """"" when it is not to be told."""


class BodyVerifier:
    """Checks one body against its request: `verify` it whole, or `update` it and `finish`. `plain`:
    see `gateway.headers`; then no header is about the body."""

    def __init__(
        self,
        headers: MultiMapping[str],
        auth: AuthResult,
        *,
        of_object: bool = False,
        plain: bool = False,
        sha256: bool = False,
    ) -> None:
        """`sha256`: it is to be told, whatever the request says."""
        self._md5_expected = None if plain else asked_md5(headers)
        self._sha256_expected = auth.payload_sha256
        # boto3 signs the name of its default algorithm into URLs for bodies it never sees.
        strict = auth.kind not in (AuthKind.PRESIGNED, AuthKind.PRESIGNED_V2)
        self._asked: AskedChecksum | None = None
        if not of_object and (auth.hoisted or not plain):
            self._asked = asked_checksum(headers, auth.hoisted, strict=strict)
        self._sha256_told = sha256
        self._sha256 = sha256 or self._sha256_expected is not None
        self._crc = Crc(crt.crc64nvme, 8)
        self._md5: hashlib._Hash | None = None
        self._others: dict[str, Hasher] = {}

    @property
    def algorithm(self) -> str | None:
        """The algorithm of the checksum that the request gives or announces."""
        return self._asked.algorithm if self._asked else None

    def _other_algorithms(self) -> set[str]:
        wanted = {self._asked.algorithm} if self._asked else set()
        if self._sha256:
            wanted.add("SHA256")
        return wanted - {"CRC64NVME"}

    def update(self, data: Data) -> None:
        """The next bytes of the decoded body, in order."""
        if self._md5 is None:
            self._md5 = hashlib.md5(usedforsecurity=False)
            self._others = {name: hasher(name) for name in self._other_algorithms()}
        self._md5.update(data)
        self._crc.update(data)
        for other in self._others.values():
            other.update(data)

    def finish(self, trailers: Mapping[str, str] | None = None) -> BodyDigests:
        """What to store, once all of the body was fed; raises `S3Error` on any mismatch.

        `trailers` is what `ChunkedDecoder.finish` gave.
        """
        if self._md5 is None:
            self.update(b"")
        assert self._md5 is not None
        others = {name: other.digest() for name, other in self._others.items()}
        return self._compare(self._md5.digest(), self._crc.value, others, trailers or {})

    def verify(self, data: Data, trailers: Mapping[str, str] | None = None) -> BodyDigests:
        """As `update` and `finish`, for a body in one piece, without the objects in between."""
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        crc: int = crt.crc64nvme(data)
        others: dict[str, bytes] = {}
        if self._asked is not None or self._sha256:
            for name in self._other_algorithms():
                other = hasher(name)
                other.update(data)
                others[name] = other.digest()
        return self._compare(md5, crc, others, trailers or {})

    def _compare(
        self, md5: bytes, crc: int, others: dict[str, bytes], trailers: Mapping[str, str]
    ) -> BodyDigests:
        if self._sha256_expected is not None:
            computed = others["SHA256"].hex()
            if not hmac.compare_digest(computed, self._sha256_expected):
                extra = {
                    "ClientComputedContentSHA256": self._sha256_expected,
                    "S3ComputedContentSHA256": computed,
                }
                raise S3Error("XAmzContentSHA256Mismatch", extra=extra)
        if self._md5_expected is not None and self._md5_expected != md5:
            extra = {
                "ExpectedDigest": _base64(self._md5_expected),
                "CalculatedDigest": _base64(md5),
            }
            raise S3Error("BadDigest", extra=extra)
        checksums: dict[str, str] = {}
        if self._asked is not None:
            name, expected = self._asked
            found = crc.to_bytes(8, "big") if name == "CRC64NVME" else others[name]
            if expected is None:
                text = trailers.get(header_name(name))
                if text is None:
                    message = f"The trailer {header_name(name)} was announced and not sent."
                    raise S3Error("MalformedTrailerError", message)
                expected = _parse(name, text)
            if expected != found:
                message = f"The {name} you specified did not match the calculated checksum."
                raise S3Error("BadDigest", message)
            checksums[name] = _base64(found)
        sha256 = others["SHA256"].hex() if self._sha256_told else ""
        return BodyDigests(md5.hex(), crc, checksums, sha256)
