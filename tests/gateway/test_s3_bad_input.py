"""What bad input gets: each row a request, S3's own code and status for it, and nothing stored."""

import asyncio
import hashlib
import hmac
from base64 import b64encode
from typing import Any, NamedTuple

import pytest
from gateway_kit import REGION, House, amz_date, request_bytes, sign, signing_key

BODY = b"the body"
OTHER_MD5 = b64encode(hashlib.md5(b"another").digest()).decode()


class Row(NamedTuple):
    name: str
    status: int
    code: str
    method: str = "PUT"
    target: str = "/photos/k"
    body: bytes = BODY
    headers: dict[str, str] = {}  # noqa: RUF012
    asked: dict[str, Any] = {}  # noqa: RUF012


SIGNATURES = [
    Row("wrong secret", 403, "SignatureDoesNotMatch", asked={"secret": "wrong"}),
    Row("unknown key", 403, "InvalidAccessKeyId", asked={"user": "eve"}),
    Row("no signature", 403, "AccessDenied", asked={"user": None}),
    Row("16 minutes old", 403, "RequestTimeTooSkewed", asked={"shift_s": -960}),
    Row("16 minutes ahead", 403, "RequestTimeTooSkewed", asked={"shift_s": 960}),
    Row("not a date", 403, "AccessDenied", asked={"stamp": "20240230T000000Z"}),
    Row(
        "body altered", 400, "XAmzContentSHA256Mismatch",
        asked={"payload": hashlib.sha256(b"another").hexdigest()},
    ),
    Row("no payload hash", 400, "InvalidArgument", asked={"payload": "nonsense"}),
    Row(
        "unsigned x-amz-acl", 403, "AccessDenied", asked={"unsigned": {"x-amz-acl": "private"}}
    ),
    Row(
        "unsigned copy source", 403, "AccessDenied",
        asked={"unsigned": {"x-amz-copy-source": "photos/kept"}},
    ),
    Row(
        "unsigned metadata", 403, "AccessDenied", asked={"unsigned": {"x-amz-meta-a": "b"}}
    ),
    Row("somebody else's bucket", 403, "AccessDenied", asked={"user": "bob"}),
    Row(
        "somebody else's key", 403, "AccessDenied", "GET", "/photos/kept", b"",
        asked={"user": "bob"},
    ),
    Row("a session token", 400, "InvalidToken", headers={"x-amz-security-token": "token"}),
]  # fmt: skip

BODIES = [
    Row("wrong MD5", 400, "BadDigest", headers={"Content-MD5": OTHER_MD5}),
    Row("malformed MD5", 400, "InvalidDigest", headers={"Content-MD5": "nonsense"}),
    Row("wrong CRC32", 400, "BadDigest", headers={"x-amz-checksum-crc32": "AAAAAA=="}),
    Row("malformed CRC32", 400, "InvalidRequest", headers={"x-amz-checksum-crc32": "AAAA"}),
    Row("unknown checksum", 400, "InvalidRequest", headers={"x-amz-checksum-crc9": "AAAAAA=="}),
    Row(
        "two checksums", 400, "InvalidRequest",
        headers={"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc32c": "AAAAAA=="},
    ),
    Row("no length", 411, "MissingContentLength", body=b"", asked={"length": False}),
    Row("too large", 400, "EntityTooLarge", headers={"Content-Length": str((5 << 30) + 1)}),
    Row("negative length", 400, "InvalidRequest", headers={"Content-Length": "-1"}),
    Row("plus length", 400, "InvalidRequest", headers={"Content-Length": "+5"}),
    Row("empty length", 400, "InvalidRequest", headers={"Content-Length": ""}),
    Row("underscored length", 400, "InvalidRequest", headers={"Content-Length": "1_0"}),
    Row("huge length", 400, "InvalidRequest", headers={"Content-Length": "9" * 30}),
]  # fmt: skip

TARGETS = [
    Row("key of 1025 bytes", 400, "KeyTooLongError", target="/photos/" + "k" * 1025),
    Row("key of 1026 bytes of UTF-8", 400, "KeyTooLongError", target="/photos/" + "%C3%BC" * 513),
    Row("key not UTF-8", 400, "InvalidURI", target="/photos/%ff"),
    Row("NUL in key", 400, "InvalidURI", target="/photos/a%00b"),
    Row("broken escape", 400, "InvalidURI", target="/photos/a%2"),
    Row("absolute URL", 400, "InvalidURI", target="http://elsewhere/photos/k"),
    Row("no such bucket", 404, "NoSuchBucket", target="/absent/k"),
    Row("bad bucket name", 400, "InvalidBucketName", target="/Bad_Name/k"),
    Row("empty bucket name", 400, "InvalidBucketName", target="//k"),
    Row("empty bucket name read", 400, "InvalidBucketName", "GET", "//k", b""),
    Row(
        "empty bucket name unsigned", 400, "InvalidBucketName", "GET", "//k", b"",
        asked={"user": None},
    ),
    Row("tags that are no document", 400, "MalformedXML", target="/photos/k?tagging"),
    Row("retention that is no document", 400, "InvalidRequest", target="/photos/k?retention"),
    Row("a policy that is none", 400, "MalformedPolicy", target="/photos?policy"),
    Row("an ACL that is no document", 400, "MalformedXML", target="/photos?acl"),
    Row("two subresources", 400, "InvalidRequest", target="/photos/k?acl&tagging"),
    Row("a parameter twice", 400, "InvalidArgument", "GET", "/photos?prefix=a&prefix=b", b""),
    Row("a part of no upload", 400, "InvalidArgument", target="/photos/k?partNumber=1"),
    Row("unknown method", 405, "MethodNotAllowed", "PATCH"),
    Row("no form", 412, "PreconditionFailed", "POST", "/photos"),
    Row("POST to a key", 405, "MethodNotAllowed", "POST"),
]  # fmt: skip

HEADERS = [
    Row("If-Match", 404, "NoSuchKey", headers={"If-Match": '"x"'}),
    Row(
        "If-Unmodified-Since", 501, "NotImplemented",
        headers={"If-Unmodified-Since": "Fri, 31 Jan 2031 12:00:00 GMT"},
    ),
    Row("a size that is none", 400, "InvalidArgument", "DELETE", "/photos/kept", b"",
        {"x-amz-if-match-size": "-1"}),
    Row("a time that is none", 400, "InvalidArgument", "DELETE", "/photos/kept", b"",
        {"x-amz-if-match-last-modified-time": "yesterday"}),
    Row("no version id", 400, "InvalidArgument", "DELETE", "/photos/kept?versionId=x", b""),
    Row("an ACL that is none", 400, "InvalidArgument", headers={"x-amz-acl": "open"}),
    Row("grant to nobody", 400, "InvalidArgument", headers={"x-amz-grant-read": "id=x"}),
    Row("SSE", 501, "NotImplemented", headers={"x-amz-server-side-encryption": "aws:kms"}),
    Row("unknown SSE", 400, "InvalidArgument", headers={"x-amz-server-side-encryption": "ROT"}),
    Row(
        "SSE-C over HTTP", 400, "InvalidRequest",
        headers={"x-amz-server-side-encryption-customer-algorithm": "AES256"},
    ),
    Row("lock", 400, "InvalidRequest", headers={"x-amz-object-lock-mode": "GOVERNANCE"}),
    Row("tags of one name", 400, "InvalidArgument", headers={"x-amz-tagging": "a=b&a=c"}),
    Row("tags that are none", 400, "InvalidTag", headers={"x-amz-tagging": "a=%3B"}),
    Row("redirect", 400, "InvalidRedirectLocation",
        headers={"x-amz-website-redirect-location": "a"}),
    Row("unknown x-amz-", 501, "NotImplemented", headers={"x-amz-novelty": "1"}),
    Row("storage class", 400, "InvalidStorageClass", headers={"x-amz-storage-class": "SLOW"}),
    Row("expected owner", 403, "AccessDenied", headers={"x-amz-expected-bucket-owner": "x"}),
    Row("2 KiB of metadata", 400, "MetadataTooLarge", headers={"x-amz-meta-a": "b" * 2048}),
    Row("control character", 400, "InvalidRequest", headers={"x-amz-meta-a": "b\x01c"}),
    Row("bare CR", 400, "InvalidRequest", headers={"x-amz-meta-a": "b\rc"}),
    Row("NUL", 400, "InvalidRequest", headers={"x-amz-meta-a": "b\x00c"}),
    Row("not UTF-8", 400, "InvalidArgument", headers={"x-amz-meta-a": "b\udcffc"}),
    Row("9 KiB header", 400, "RequestHeaderSectionTooLarge", headers={"X-A": "b" * 9000}),
    Row(
        "101 headers", 400, "RequestHeaderSectionTooLarge",
        headers={f"X-{number}": "x" for number in range(101)},
    ),
]  # fmt: skip


def copied(name: str, status: int, code: str, source: str, target: str = "/photos/k") -> Row:
    return Row(f"copy {name}", status, code, "PUT", target, b"", {"x-amz-copy-source": source})


COPIES = [
    copied("of nothing", 400, "InvalidArgument", ""),
    copied("of a slash", 400, "InvalidArgument", "/"),
    copied("of slashes", 400, "InvalidArgument", "///"),
    copied("of a bucket", 400, "InvalidArgument", "photos"),
    copied("of a bucket with its slash", 400, "InvalidArgument", "/photos/"),
    copied("of a key without bucket", 400, "InvalidArgument", "//kept"),
    copied("onto itself", 400, "InvalidRequest", "photos/kept", "/photos/kept"),
    copied("of what is not there", 404, "NoSuchKey", "photos/gone"),
    copied("of no bucket", 404, "NoSuchBucket", "absent/kept"),
    copied("of no version", 400, "InvalidArgument", "photos/kept?versionId=x"),
    copied("of an empty version", 400, "InvalidArgument", "photos/kept?versionId="),
    copied("of a version that is not there", 404, "NoSuchVersion",
        f"photos/kept?versionId={'0' * 32}"),
    copied("of another parameter", 400, "InvalidArgument", "photos/kept?acl"),
    copied("with NUL", 400, "InvalidURI", "photos/%00"),
    copied("not UTF-8", 400, "InvalidURI", "photos/%ff"),
    copied("of a broken escape", 400, "InvalidURI", "photos/a%2"),
    copied("of 1025 bytes", 400, "KeyTooLongError", f"photos/{'k' * 1025}"),
    copied("of a URL", 404, "NoSuchBucket", "http://photos/kept"),
]  # fmt: skip


@pytest.mark.parametrize(
    "row",
    SIGNATURES + BODIES + TARGETS + HEADERS + COPIES,
    ids=lambda row: row.name.replace(" ", "-"),
)
async def test_bad_requests_are_refused_and_change_nothing(house: House, row: Row) -> None:
    await house.bucket()
    kept = await house.ask("PUT", "/photos/kept", b"kept")
    assert kept.status == 200
    asked = dict(row.asked)
    if "shift_s" in asked:
        asked["stamp"] = amz_date(asked.pop("shift_s"))
    answer = await house.ask(row.method, row.target, row.body, row.headers, **asked)
    assert (answer.status, answer.code) == (row.status, row.code)
    assert answer.headers["server"] == "Farshore"
    assert len(answer.headers["x-amz-request-id"]) == 16
    assert await house.keys() == ["kept"]
    assert (await house.ask("GET", "/photos/kept")).body == b"kept"


def presigned(method: str, house: House, path: str, shift_s: float = 0, **changes: str) -> str:
    """A presigned target, with query parameters changed before it is signed."""
    stamp = amz_date(shift_s)
    scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"AKANN%2F{scope.replace('/', '%2F')}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": "60",
        "X-Amz-SignedHeaders": "host",
        **changes,
    }
    text = "&".join(f"{name}={value}" for name, value in sorted(query.items()))
    canonical = f"{method}\n{path}\n{text}\nhost:{house.host}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode()
    signature = hmac.digest(signing_key("secret of ann", stamp[:8]), to_sign, "sha256").hex()
    return f"{path}?{text}&X-Amz-Signature={signature}"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"shift_s": -61}, 403, "AccessDenied"),
        ({"shift_s": 16 * 60}, 403, "AccessDenied"),
        ({"X-Amz-Expires": "0", "shift_s": -2}, 403, "AccessDenied"),
        ({"X-Amz-Expires": ""}, 400, "AuthorizationQueryParametersError"),
        ({"X-Amz-Expires": "604801"}, 400, "AuthorizationQueryParametersError"),
        ({"X-Amz-Expires": "-1"}, 400, "AuthorizationQueryParametersError"),
        ({"X-Amz-Expires": "1e3"}, 400, "AuthorizationQueryParametersError"),
        ({"X-Amz-Algorithm": "none"}, 400, "AuthorizationQueryParametersError"),
    ],
)
async def test_bad_presigned_urls(
    house: House, changes: dict[str, Any], status: int, code: str
) -> None:
    await house.bucket()
    target = presigned("PUT", house, "/photos/k", **changes)
    answer = await house.ask("PUT", target, BODY, user=None)
    assert (answer.status, answer.code) == (status, code)
    assert await house.keys() == []
    good = await house.ask("PUT", presigned("PUT", house, "/photos/k"), BODY, user=None)
    assert good.status == 200
    other = presigned("GET", house, "/photos/k")
    assert (await house.ask("DELETE", other, user=None)).code == "SignatureDoesNotMatch"
    both = await house.ask(
        "GET", other, unsigned={"Authorization": "AWS4-HMAC-SHA256 x"}, user=None
    )
    assert (both.status, both.code) == (400, "InvalidArgument")
    assert await house.keys() == ["k"]


@pytest.mark.parametrize("header", ["x-amz-copy-source", "x-amz-meta-a", "x-amz-acl"])
async def test_presigned_url_with_an_unsigned_header_is_refused(house: House, header: str) -> None:
    await house.bucket()
    await house.ask("PUT", "/photos/kept", b"kept")
    target = presigned("PUT", house, "/photos/k")
    answer = await house.ask("PUT", target, b"", {header: "photos/kept"}, user=None)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert await house.keys() == ["kept"]


@pytest.mark.parametrize("size", [10, 100_000, 3 << 20])
async def test_truncated_body_stores_nothing(house: House, size: int) -> None:
    await house.bucket()
    body = b"x" * size
    headers = sign(
        "PUT", "/photos/k", {"Host": house.host, "Content-Length": str(size)},
        hashlib.sha256(body).hexdigest(),
    )  # fmt: skip
    for sent in (0, size // 2, size - 1):
        _, writer = await house.connect()
        writer.write(request_bytes("PUT", "/photos/k", headers, body[:sent]))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.2)
    assert await house.keys() == []


def chunked(body: bytes, trailers: str = "") -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n" + trailers.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("trailers", "announced", "code"),
    [
        ("x-amz-checksum-crc32:AAAAAA==\r\n", "x-amz-checksum-crc32", "BadDigest"),
        ("x-amz-checksum-crc32:A\r\n", "x-amz-checksum-crc32", "InvalidRequest"),
        ("", "x-amz-checksum-crc32", "MalformedTrailerError"),
        ("x-amz-checksum-crc32:AAAAAA==\r\n", "", "MalformedTrailerError"),
        ("x-amz-meta-a:b\r\n", "x-amz-meta-a", "InvalidRequest"),
    ],
)
async def test_bad_trailers_store_nothing(
    house: House, trailers: str, announced: str, code: str
) -> None:
    await house.bucket()
    for size in (20, 1_500_000):
        body = b"x" * size
        headers = {"x-amz-decoded-content-length": str(size), "Content-Encoding": "aws-chunked"}
        if announced:
            headers["x-amz-trailer"] = announced
        answer = await house.ask(
            "PUT", "/photos/k", chunked(body, trailers), headers,
            payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        )  # fmt: skip
        assert (answer.status, answer.code) == (400, code)
    assert await house.keys() == []


async def test_chunks_that_end_early_or_hold_another_length(house: House) -> None:
    await house.bucket()
    whole = chunked(b"x" * 40)
    headers = {"x-amz-decoded-content-length": "40", "Content-Encoding": "aws-chunked"}
    for length in range(0, len(whole), 5):
        answer = await house.ask(
            "PUT", "/photos/k", whole[:length], headers,
            payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        )  # fmt: skip
        assert (answer.status, answer.code) == (400, "IncompleteBody")
    headers["x-amz-decoded-content-length"] = "39"
    answer = await house.ask(
        "PUT", "/photos/k", whole, headers, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    )
    assert answer.status == 400
    assert await house.keys() == []


@pytest.mark.parametrize("header", ["bytes=8-", "bytes=9-10", "bytes=-0", "bytes=100-200"])
async def test_ranges_out_of_bounds(house: House, header: str) -> None:
    await house.bucket()
    await house.ask("PUT", "/photos/k", BODY)
    answer = await house.ask("GET", "/photos/k", headers={"Range": header})
    assert (answer.status, answer.code) == (416, "InvalidRange")
    assert answer.texts("ActualObjectSize") == ["8"]


DELETE_ONE = "<Delete><Object><Key>kept</Key></Object></Delete>"
XML = [
    ("", "MalformedXML"),
    ("<Delete>", "MalformedXML"),
    ("<Delete></Delete>", "MalformedXML"),
    ("<Other/>", "MalformedXML"),
    ("<Delete><Object/></Delete>", "MalformedXML"),
    ("<Delete><Object><Key></Key></Object></Delete>", "MalformedXML"),
    ("<Delete><Object><Key>kept</Key><Key>b</Key></Object></Delete>", "MalformedXML"),
    ("<Delete>" + "<Object><Key>kept</Key></Object>" * 1001 + "</Delete>", "MalformedXML"),
    (f"{DELETE_ONE[:-9]}<Quiet>maybe</Quiet></Delete>", "MalformedXML"),
    (f'<!DOCTYPE d SYSTEM "file:///etc/passwd">{DELETE_ONE}', "MalformedXML"),
    (
        '<!DOCTYPE d [<!ENTITY e "kept">]><Delete><Object><Key>&e;</Key></Object></Delete>',
        "MalformedXML",
    ),
    ("<Delete><Object><Key>kept\x01</Key></Object></Delete>", "MalformedXML"),
    (f"{DELETE_ONE[:-9]}{' ' * (2 << 20)}</Delete>", "MaxMessageLengthExceeded"),
]


@pytest.mark.parametrize(("document", "code"), XML, ids=range(len(XML)))
async def test_bad_xml_deletes_nothing(house: House, document: str, code: str) -> None:
    await house.bucket()
    await house.ask("PUT", "/photos/kept", b"kept")
    body = document.encode()
    md5 = b64encode(hashlib.md5(body).digest()).decode()
    answer = await house.ask("POST", "/photos?delete", body, {"Content-MD5": md5})
    assert answer.code == code
    assert await house.keys() == ["kept"]


async def test_delete_without_a_digest_is_refused(house: House) -> None:
    await house.bucket()
    await house.ask("PUT", "/photos/kept", b"kept")
    answer = await house.ask("POST", "/photos?delete", DELETE_ONE.encode())
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert await house.keys() == ["kept"]


@pytest.mark.parametrize(
    "name",
    ["ab", "a" * 64, "Upper", "under_score", "-a-b", "a-b-", "a..b", "192.168.1.1", "xn--abc",
     "abc-s3alias", "a%20b", "b%C3%BCcher", "..", "a%0Ab", "a.-b", "a-.b"],
)  # fmt: skip
async def test_bad_bucket_names(house: House, name: str) -> None:
    answer = await house.ask("PUT", f"/{name}")
    assert (answer.status, answer.code) == (400, "InvalidBucketName")
    assert house.names.directory.buckets_of("a" * 64) == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("max-keys=-1", "InvalidArgument"),
        ("max-keys=1e3", "InvalidArgument"),
        ("max-keys=%D9%A1", "InvalidArgument"),
        ("max-keys=99999999999999999999", "InvalidArgument"),
        ("encoding-type=xml", "InvalidArgument"),
        ("list-type=3", "InvalidArgument"),
        ("list-type=2&continuation-token=a", "InvalidArgument"),
        ("list-type=2&continuation-token=AAAAAAAA", "InvalidArgument"),
        ("list-type=2&continuation-token=%C3%BC", "InvalidArgument"),
        ("prefix=%ff", "InvalidURI"),
    ],
)
async def test_bad_listing_arguments(house: House, query: str, code: str) -> None:
    await house.bucket()
    answer = await house.ask("GET", f"/photos?{query}")
    assert (answer.status, answer.code) == (400, code)


async def test_not_http_at_all(house: House) -> None:
    for data in (b"\x16\x03\x01\x00\x00\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        answer = await house.raw(data)
        assert (answer.status, answer.headers["connection"]) == (400, "close")
    for lines in (
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3\r\nContent-Length: 4",
        b"Content-Length: 3, 3",
        b"Content-Length : 3",
        b"Content-Length: 0x3",
        b"Content-Length: 3\r\n\tx",
        b"Content-Length: \xd9\xa3",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, gzip",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: identity\r\nContent-Length: 3",
        b"Content-Length: 3\r\nX-a: b\r\n folded",
        b"Content-Length: 3\r\n folded: from nothing",
        b"Content-Length: 3\r\nX-a: b\nX-c: d",
        b"Content-Length: 3\r\nX-a: b\rX-c: d",
        b"Content-Length: 3\r\nX a: b",
        b"Content-Length: 3\r\nX-a\x00: b",
        b"Content-Length: 3\r\n: b",
        b"Content-Length: 3\r\nX-a",
    ):
        head = b"PUT /photos/k HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n"
        answer = await house.raw(head + b"abc\r\n0\r\n\r\n")
        assert answer.status in (400, 411), (lines, answer)
        assert answer.headers["connection"] == "close", lines
    both = (
        b"PUT /photos/k HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"
    )
    assert (await house.raw(both + b"\r\n0\r\n\r\n")).status == 400
    twice = b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
    assert (await house.raw(twice)).status == 400
    line = b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    assert (await house.raw(line)).code == "RequestHeaderSectionTooLarge"


async def test_errors_tell_nothing_of_what_is_not_the_callers(house: House) -> None:
    await house.bucket()
    await house.ask("PUT", "/photos/kept", b"kept")
    there = await house.ask("GET", "/photos/kept", user="bob")
    absent = await house.ask("GET", "/photos/absent", user="bob")
    assert (there.status, there.code) == (absent.status, absent.code) == (403, "AccessDenied")
