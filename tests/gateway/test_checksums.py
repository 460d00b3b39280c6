"""Checksums against other implementations, and requests that ask for them wrongly."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import pytest
from awscrt import checksums as crt
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.checksums import ALGORITHMS, BodyVerifier, asked_checksum, hasher, header_name
from gateway.errors import S3Error
from gateway.sigv4 import AuthKind, AuthResult, PayloadMode

UNSIGNED = AuthResult("AKIA", AuthKind.HEADER, PayloadMode.UNSIGNED)
PRESIGNED = AuthResult("AKIA", AuthKind.PRESIGNED, PayloadMode.UNSIGNED)
BODY = b"hello world" * 100


def signed(body: bytes) -> AuthResult:
    digest = hashlib.sha256(body).hexdigest()
    return AuthResult("AKIA", AuthKind.HEADER, PayloadMode.SIGNED_SHA256, digest)


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def expected(algorithm: str, body: bytes) -> str:
    return {
        "CRC32": lambda: b64(zlib.crc32(body).to_bytes(4, "big")),
        "CRC32C": lambda: b64(crt.crc32c(body).to_bytes(4, "big")),
        "CRC64NVME": lambda: b64(crt.crc64nvme(body).to_bytes(8, "big")),
        "SHA1": lambda: b64(hashlib.sha1(body).digest()),
        "SHA256": lambda: b64(hashlib.sha256(body).digest()),
        "SHA512": lambda: b64(hashlib.sha512(body).digest()),
        "MD5": lambda: b64(hashlib.md5(body).digest()),
        "XXHASH64": lambda: b64(crt.XXHash.compute_xxhash64(body)),
        "XXHASH3": lambda: b64(crt.XXHash.compute_xxhash3_64(body)),
        "XXHASH128": lambda: b64(crt.XXHash.compute_xxhash3_128(body)),
    }[algorithm]()


# "123456789": the check values of the catalogue of parametrised CRC algorithms (CRC-32/ISO-HDLC,
# CRC-32/ISCSI, CRC-64/NVME), FIPS 180 and RFC 1321 for the hashes, the reference implementation
# for xxHash.
CHECKS = {
    "CRC32": "cbf43926",
    "CRC32C": "e3069283",
    "CRC64NVME": "ae8b14860a799888",
    "SHA1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "SHA256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "SHA512": "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274a"
    "d27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
    "MD5": "25f9e794323b453885f5181f1b624d0b",
    "XXHASH64": "8cb841db40e6ae83",
    "XXHASH3": "72dcb18b67a17dff",
    "XXHASH128": "33119477ede5dcd5e9716427681d5860",
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_published_check_values(algorithm: str) -> None:
    under_test = hasher(algorithm)
    under_test.update(b"1234")
    under_test.update(memoryview(b"56789"))
    assert under_test.digest_b64() == b64(bytes.fromhex(CHECKS[algorithm]))


def both_ways(headers: Any, auth: AuthResult, body: bytes, trailers: Any = None) -> Any:
    """The answer of the one-shot path, after that of the incremental one was the same."""
    results = []
    for way in ("verify", "feed"):
        under_test = BodyVerifier(CIMultiDict(headers), auth)
        try:
            if way == "verify":
                results.append(under_test.verify(body, trailers))
            else:
                for at in range(0, len(body), 7):
                    under_test.update(memoryview(body)[at : at + 7])
                results.append(under_test.finish(trailers))
        except S3Error as error:
            results.append((error.code, error.message))
    assert results[0] == results[1]
    return results[0]


@given(st.binary(max_size=300), st.sampled_from(ALGORITHMS), st.booleans(), st.booleans())
def test_right_body(body: bytes, algorithm: str, trailing: bool, hashed: bool) -> None:
    name, value = header_name(algorithm), expected(algorithm, body)
    headers = {"Content-MD5": b64(hashlib.md5(body).digest())}
    headers.update({"x-amz-trailer": name} if trailing else {name: value})
    auth = signed(body) if hashed else UNSIGNED
    result = both_ways(headers, auth, body, {name: value} if trailing else None)
    md5 = hashlib.md5(body).hexdigest()
    assert result == (md5, crt.crc64nvme(body), {algorithm: value}, "")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("trailing", [False, True])
def test_wrong_checksum(algorithm: str, trailing: bool) -> None:
    name, value = header_name(algorithm), expected(algorithm, b"other")
    headers = {"x-amz-trailer": name} if trailing else {name: value}
    answer = both_ways(headers, UNSIGNED, BODY, {name: value} if trailing else None)
    text = f"The {algorithm} you specified did not match the calculated checksum."
    assert answer == ("BadDigest", text)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("value", ["", "=", "AAAA", "not base64!", "AAAAAA==\n", "é", "A" * 5000])
def test_malformed_value(algorithm: str, value: str) -> None:
    name = header_name(algorithm)
    message = f"Value for {name} header is invalid."
    with pytest.raises(S3Error, match="InvalidRequest") as caught:
        BodyVerifier(CIMultiDict({name: value.rstrip("\n") + "!"}), UNSIGNED)
    assert caught.value.message == message
    trailers = {name: value + "!"}
    assert both_ways({"x-amz-trailer": name}, UNSIGNED, b"", trailers) == (
        "InvalidRequest",
        message,
    )


def test_wrong_payload_hash() -> None:
    assert both_ways({}, signed(b"other"), BODY)[0] == "XAmzContentSHA256Mismatch"
    assert both_ways({}, signed(BODY), BODY).checksums == {}


def test_wrong_md5() -> None:
    headers = {"Content-MD5": b64(hashlib.md5(b"other").digest())}
    assert both_ways(headers, UNSIGNED, BODY)[0] == "BadDigest"


CRC = "AAAAAA=="
BAD_REQUESTS: list[tuple[str, list[tuple[str, str]], str]] = [
    ("short MD5", [("Content-MD5", "AAAA")], "InvalidDigest"),
    ("empty MD5", [("Content-MD5", "")], "InvalidDigest"),
    ("hex MD5", [("Content-MD5", "d41d8cd98f00b204e9800998ecf8427e")], "InvalidDigest"),
    ("MD5 unpadded", [("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg")], "InvalidDigest"),
    ("MD5 twice", [("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")] * 2, "InvalidDigest"),
    ("twice", [("x-amz-checksum-crc32", CRC)] * 2, "InvalidRequest"),
    (
        "two algorithms",
        [("x-amz-checksum-crc32", CRC), ("X-Amz-Checksum-Crc32c", CRC)],
        "InvalidRequest",
    ),
    (
        "header and trailer",
        [("x-amz-checksum-crc32", CRC), ("x-amz-trailer", "x-amz-checksum-crc32")],
        "InvalidRequest",
    ),
    (
        "two trailers",
        [("x-amz-trailer", "x-amz-checksum-crc32,x-amz-checksum-sha1")],
        "InvalidRequest",
    ),
    ("unknown algorithm", [("x-amz-checksum-xxhash32", CRC)], "InvalidRequest"),
    ("unknown trailer", [("x-amz-trailer", "x-amz-checksum-xxhash32")], "InvalidRequest"),
    ("algorithm alone", [("x-amz-sdk-checksum-algorithm", "CRC32")], "InvalidRequest"),
    (
        "algorithm of another",
        [("x-amz-sdk-checksum-algorithm", "SHA1"), ("x-amz-checksum-crc32", CRC)],
        "InvalidRequest",
    ),
]


@pytest.mark.parametrize(
    ("what", "headers", "code"), BAD_REQUESTS, ids=[r[0] for r in BAD_REQUESTS]
)
def test_refused_before_the_body(what: str, headers: list[tuple[str, str]], code: str) -> None:
    with pytest.raises(S3Error) as caught:
        BodyVerifier(CIMultiDict(headers), UNSIGNED)
    assert (caught.value.code, caught.value.status) == (code, 400)


def test_headers_of_the_same_prefix_that_are_no_checksum() -> None:
    headers = {f"x-amz-checksum-{what}": "CRC32" for what in ("algorithm", "mode", "type")}
    assert BodyVerifier(CIMultiDict(headers), UNSIGNED).verify(b"").checksums == {}


def test_checksum_in_the_query_of_a_presigned_url() -> None:
    auth = PRESIGNED._replace(
        hoisted={"x-amz-checksum-crc32": CRC, "x-amz-sdk-checksum-algorithm": "CRC32"}
    )
    assert both_ways({}, auth, b"").checksums == {"CRC32": CRC}
    assert both_ways({}, auth, b"x")[0] == "BadDigest"
    auth = PRESIGNED._replace(hoisted={"x-amz-sdk-checksum-algorithm": "CRC32"})
    assert both_ways({}, auth, b"x").checksums == {}


def test_checksum_of_the_object_is_left_to_the_caller() -> None:
    headers = CIMultiDict({"x-amz-checksum-crc32": CRC})
    assert BodyVerifier(headers, UNSIGNED, of_object=True).verify(b"x").checksums == {}
    assert asked_checksum(headers) == ("CRC32", b"\0\0\0\0")


def test_announced_trailer_that_did_not_come() -> None:
    answer = both_ways({"x-amz-trailer": "x-amz-checksum-crc32"}, UNSIGNED, b"", {})
    assert answer[0] == "MalformedTrailerError"


def test_algorithm_is_told_before_the_body() -> None:
    headers = CIMultiDict({"x-amz-trailer": "x-amz-checksum-sha1"})
    assert BodyVerifier(headers, UNSIGNED).algorithm == "SHA1"
    assert BodyVerifier(CIMultiDict(), UNSIGNED).algorithm is None
