"""What the reader of input makes of anything: a structure, or an error of S3, and soon."""

from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from model_kit import FakeRequest, read_input

from gateway.errors import S3Error
from gateway.headers import check_headers
from gateway.limits import XML_BYTES_MAX
from gateway.model.matching import BUCKET, OBJECT, ROOT
from gateway.model.shapes import OPERATIONS as MODEL
from gateway.model.shapes import SHAPES
from gateway.operations import find_row
from gateway.target import parse_parameters

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
DOCUMENTS = [
    name
    for name, operation in MODEL.items()
    if (payload := operation.asked.payload)
    and SHAPES[operation.asked.members[payload].shape].type == "structure"
    and not SHAPES[operation.asked.members[payload].shape].eventstream
]
HEADER_NAMES = sorted(
    {
        ref.location_name
        for operation in MODEL.values()
        for ref in operation.asked.members.values()
        if ref.location == "header"
    }
)
QUERY_NAMES = sorted(
    {
        ref.location_name
        for operation in MODEL.values()
        for ref in operation.asked.members.values()
        if ref.location == "querystring"
    }
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", "0", "-1", "9" * 40, "1e9", "\u0663", "true", "TRUE", "null", "NaN", " ", "\x00", "="]
    ),
    st.sampled_from(
        ["0000-00-00T00:00:00Z", "9999-12-31T23:59:59-23:59", "Mon, 99 Foo 2020 25:61:61 GMT"]
    ),
)


def checked_outcome(name: str, request: Any) -> Any:
    """What was read, or the code of the error."""
    try:
        return read_input(name, request)
    except S3Error as error:
        assert 400 <= error.status < 502
        assert error.status != 500
        return error.code


@QUICK
@given(st.sampled_from(sorted(MODEL)), st.dictionaries(st.sampled_from(HEADER_NAMES), TEXTS))
def test_any_headers(name: str, headers: dict[str, str]) -> None:
    operation = MODEL[name]
    request = FakeRequest(operation.http.method, "/photos/k", headers, b"")
    checked_outcome(name, request)
    try:
        check_headers(request.headers, name)
    except S3Error as error:
        assert error.status in (400, 501)


@QUICK
@given(st.sampled_from(sorted(MODEL)), st.dictionaries(st.sampled_from(QUERY_NAMES), TEXTS))
def test_any_parameters(name: str, query: dict[str, str]) -> None:
    request = FakeRequest(MODEL[name].http.method, "/photos/k", {}, b"")
    request.target.query = query
    checked_outcome(name, request)


@QUICK
@given(
    st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE"]),
    st.sampled_from(["/", "/photos", "/photos/k"]),
    st.one_of(
        st.text(max_size=40),
        st.lists(st.sampled_from(QUERY_NAMES), max_size=3).map("&".join),
    ),
)
@example("GET", "/photos", "acl&acl")
@example("GET", "/photos", "%")
@example("GET", "/photos", "%ff%fe")
def test_any_query_finds_a_row_or_an_error(method: str, path: str, query: str) -> None:
    request: Any = FakeRequest(method, path, {}, b"")
    try:
        request.target.query = parse_parameters(query)
        row = find_row(request)
    except S3Error as error:
        assert error.status in (400, 405, 501)
        return
    kind = ROOT if path == "/" else BUCKET if path == "/photos" else OBJECT
    assert row.scope == kind or row.name == "PostObject"


# -- documents ------------------------------------------------------------------------------------

WORDS = sorted(
    {
        word
        for shape in SHAPES.values()
        for name, ref in shape.members.items()
        for word in (name, ref.location_name)
        if word.isalnum()
    }
)
ELEMENTS = st.recursive(
    st.tuples(st.sampled_from(WORDS), st.sampled_from(["", "x", "1", "true", "&amp;", "&bad;"])),
    lambda inner: st.tuples(st.sampled_from(WORDS), st.lists(inner, max_size=3)),
    max_leaves=12,
)


def xml(element: Any) -> str:
    name, inside = element
    text = inside if isinstance(inside, str) else "".join(map(xml, inside))
    return f"<{name}>{text}</{name}>"


@QUICK
@given(st.sampled_from(DOCUMENTS), st.binary(max_size=200))
def test_any_bytes(name: str, body: bytes) -> None:
    request = FakeRequest("PUT", "/photos/k", {}, body)
    request.headers["Content-MD5"] = md5_of(body)
    found = checked_outcome(name, request)
    assert isinstance(found, str) or not body


@QUICK
@given(st.sampled_from(DOCUMENTS), st.lists(ELEMENTS, max_size=4))
def test_any_elements(name: str, inside: list[Any]) -> None:
    checked_outcome(name, document(name, "".join(map(xml, inside))))


def md5_of(body: bytes) -> str:
    import hashlib
    from base64 import b64encode

    return b64encode(hashlib.md5(body).digest()).decode()


def root_of(name: str) -> str:
    ref = MODEL[name].asked.members[MODEL[name].asked.payload]
    return ref.location_name


def document(name: str, inside: str, encoding: str = "utf-8", head: str = "") -> FakeRequest:
    root = root_of(name)
    body = f"{head}<{root}>{inside}</{root}>".encode(encoding)
    request = FakeRequest("PUT", "/photos/k", {"Content-MD5": md5_of(body)}, body)
    request.target.query = {"uploadId": "u", "id": "i"}
    return request


DEEP = "<a>" * 50_000 + "</a>" * 50_000
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>'
HOSTILE = {
    "a DTD": ("", "utf-8", "<!DOCTYPE x>"),
    "an entity": ("&a;", "utf-8", BOMB),
    "an entity from a file": ("&a;", "utf-8", '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc">]>'),
    "deep": (DEEP, "utf-8", ""),
    "100,001 elements": ("<a/>" * 100_001, "utf-8", ""),
    "attributes": ("<a " + " ".join([f"b{n}=''" for n in range(50_000)]) + "/>", "utf-8", ""),
    "another encoding than said": ("<a/>", "utf-16", '<?xml version="1.0" encoding="latin-1"?>'),
    "an unknown encoding": ("<a/>", "utf-8", '<?xml version="1.0" encoding="x-none"?>'),
    "a NUL": ("\0", "utf-8", ""),
    "an unknown element": ("<Colour>red</Colour>", "utf-8", ""),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize(
    "name", ["PutBucketVersioning", "PutBucketCors", "PutBucketTagging", "PutBucketAcl"]
)
def test_hostile_documents_are_malformed(name: str, what: str) -> None:
    inside, encoding, head = HOSTILE[what]
    request = document(name, inside, encoding, head)
    started = perf_counter()
    assert checked_outcome(name, request) == "MalformedXML"
    assert perf_counter() - started < 5


@pytest.mark.parametrize("what", ["100,001 elements", "an entity"])
@pytest.mark.parametrize("name", ["DeleteObjects", "CompleteMultipartUpload"])
def test_also_where_more_is_allowed_than_is_known(name: str, what: str) -> None:
    inside, encoding, head = HOSTILE[what]
    started = perf_counter()
    assert checked_outcome(name, document(name, inside, encoding, head)) == "MalformedXML"
    checked_outcome(name, document(name, DEEP))
    assert perf_counter() - started < 5


def test_a_document_may_be_of_any_namespace_and_encoding() -> None:
    space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    inside = "<Status>Enabled</Status>"
    for root in (f"<VersioningConfiguration {space}>", "<VersioningConfiguration>"):
        for encoding in ("utf-8", "utf-16"):
            text = f'<?xml version="1.0" encoding="{encoding}"?>{root}{inside}'
            body = f"{text}</VersioningConfiguration>".encode(encoding)
            found = checked_outcome("PutBucketVersioning", FakeRequest("PUT", "/photos", {}, body))
            assert found.VersioningConfiguration.Status == "Enabled"


def test_a_document_that_is_too_large_is_not_read() -> None:
    request = document("PutBucketCors", "")
    request.headers["Content-Length"] = str(XML_BYTES_MAX + 1)
    request.read = SimpleNamespace()  # type: ignore[method-assign, assignment]
    assert checked_outcome("PutBucketCors", request) == "MaxMessageLengthExceeded"


@pytest.mark.parametrize(
    ("name", "headers", "code"),
    [
        ("PutBucketVersioning", {"Content-MD5": md5_of(b"other")}, "BadDigest"),
        ("PutBucketVersioning", {"Content-MD5": "short"}, "InvalidDigest"),
        ("PutBucketVersioning", {"x-amz-checksum-crc32": "AAAAAA=="}, "BadDigest"),
        ("DeleteObjects", {}, "InvalidRequest"),
        ("PutObjectLockConfiguration", {}, "InvalidRequest"),
    ],
)
def test_a_body_is_what_its_checksum_says(name: str, headers: dict[str, str], code: str) -> None:
    request = document(name, "")
    del request.headers["Content-MD5"]
    request.headers.update(headers)
    assert checked_outcome(name, request) == code


@pytest.mark.parametrize(
    ("name", "headers", "query", "code"),
    [
        ("GetObjectAttributes", {}, {}, "InvalidRequest"),
        ("GetObjectAttributes", {"x-amz-object-attributes": "ETag, ObjectSize"}, {}, ""),
        ("GetObjectAttributes", {"x-amz-object-attributes": "Colour"}, {}, "InvalidArgument"),
        ("ListParts", {}, {}, "InvalidArgument"),
        ("ListParts", {}, {"uploadId": "u", "max-parts": "x"}, "InvalidArgument"),
        ("ListParts", {}, {"uploadId": "u", "max-parts": "\u0663"}, "InvalidArgument"),
        ("ListParts", {}, {"uploadId": "u", "max-parts": ""}, ""),
        ("ListObjectVersions", {}, {"encoding-type": "base64"}, "InvalidArgument"),
        ("CreateBucket", {"x-amz-object-ownership": "Nobody"}, {}, "InvalidArgument"),
        ("CopyObject", {"x-amz-copy-source": "a/b", "x-amz-storage-class": "TAPE"}, {},
         "InvalidStorageClass"),
        ("GetObject", {"If-Modified-Since": "yesterday"}, {}, ""),
    ],
)  # fmt: skip
def test_headers_and_parameters_get_their_errors(
    name: str, headers: dict[str, str], query: dict[str, str], code: str
) -> None:
    request = FakeRequest(MODEL[name].http.method, "/photos/k", headers, b"")
    request.target.query = query
    found = checked_outcome(name, request)
    assert (found if isinstance(found, str) else "") == code
