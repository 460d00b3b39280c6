"""SigV4 against an independent signer (botocore), AWS's published examples, and bad input."""

from __future__ import annotations

import calendar
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway import signing_keys, sigv4
from gateway.authentication import authenticate
from gateway.chunked import PayloadMode
from gateway.context import Config
from gateway.dates import timestamp_of_date
from gateway.errors import S3Error
from gateway.sigv4 import AuthKind, AuthResult, decode_path, parse_query
from gateway.target import parse_parameters

KEY, SECRET, REGION = (
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "us-east-1",
)
EMPTY = hashlib.sha256().hexdigest()
NOW = float(calendar.timegm((2013, 5, 24, 0, 0, 0)))
MODE = "x-amz-content-sha256"


@dataclass
class Request:
    method: str
    raw_path: str
    raw_query: str
    headers: CIMultiDict[str]


def auth(request: Request, now: float | None = None, **kw: Any) -> AuthResult:
    config = Config(region=REGION, region_aliases=frozenset(kw.get("aliases", ())))
    return authenticate(request, {KEY: SECRET}.get, time.time() if now is None else now, config)


def sign(
    method: str = "GET",
    url: str = "http://localhost:9000/bucket/key",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    *,
    expires: int | None = None,
    key: str = KEY,
    secret: str = SECRET,
    region: str = REGION,
) -> Request:
    """A request signed by botocore: in the header, or presigned when `expires` is given."""
    credentials = Credentials(key, secret)
    request = AWSRequest(method, url, headers=headers or {}, data=body)
    if expires is None:
        S3SigV4Auth(credentials, "s3", region).add_auth(request)
    else:
        S3SigV4QueryAuth(credentials, "s3", region, expires=expires).add_auth(request)
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    sent = CIMultiDict(
        (k, v.decode() if isinstance(v, bytes) else v) for k, v in prepared.headers.items()
    )
    sent.setdefault("Host", parts.netloc)
    return Request(method, parts.path, parts.query, sent)


def refused(request: Request, now: float | None = None, **kw: Any) -> S3Error:
    with pytest.raises(S3Error) as caught:
        auth(request, now, **kw)
    return caught.value


def test_header_signed_by_botocore() -> None:
    result = auth(sign("PUT", body=b"hello", headers={"x-amz-meta-a": "  b   c "}))
    assert result == (
        KEY,
        AuthKind.HEADER,
        PayloadMode.SIGNED_SHA256,
        hashlib.sha256(b"hello").hexdigest(),
        None,
        {},
        "us-east-1",
    )


def test_presigned_by_botocore() -> None:
    result = auth(sign(expires=60))
    assert result[:4] == (KEY, AuthKind.PRESIGNED, PayloadMode.UNSIGNED, None)


WEIRD_KEYS = [
    "a b",
    "a+b",
    "100%",
    "%41",
    "größe/日本語/😀",
    "//double//slash/",
    "../../etc/passwd",
    "./.",
    "~tilde*star'quote(paren)!",
    "a=b&c;d,e:f@g?h#i",
    "$&+,/:;=?@",
    'back\\slash^`{|}<>"',
    "tab\tnewline\n",
    "x" * 1025,
]


@pytest.mark.parametrize("key", WEIRD_KEYS)
@pytest.mark.parametrize("expires", [None, 60])
def test_weird_keys(key: str, expires: int | None) -> None:
    request = sign(url="http://h/b/" + quote(key, safe="/~"), expires=expires)
    assert auth(request).access_key == KEY
    assert decode_path(request.raw_path) == "/b/" + key


QUERIES = [
    "acl",
    "acl=",
    "uploads",
    "a=1&a=2&a=1",
    "b=2&a=1",
    "x-amz-meta-a-b=1&x-amz-meta-a=2",
    "prefix=a%20b%2Fc&delimiter=%2F",
    "prefix=%E2%82%AC",
    "marker=a%3Db%26c",
    "list-type=2&continuation-token=1ueGcxLPRx1Tr%2FXYExHnhbYLgveDs2J%2Fwm36Hy4vbOwM%3D",
    "response-content-disposition=attachment%3B%20filename%3D%22a%2Bb.txt%22",
]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("expires", [None, 60])
def test_queries(query: str, expires: int | None) -> None:
    # botocore signs a bare name as it stands; the rules want "name=".
    url = "http://h/b/k?" + "&".join(p if "=" in p else p + "=" for p in query.split("&"))
    request = sign(url=url, expires=expires)
    assert auth(request).access_key == KEY
    request.raw_query = "&&" + request.raw_query.replace("acl=", "acl").replace("=acl", "acl")
    assert auth(request).access_key == KEY


@given(st.text(st.characters(codec="utf-8"), max_size=30), st.text(max_size=20), st.booleans())
def test_any_key_and_parameter(key: str, value: str, presigned: bool) -> None:
    value = value.encode("utf-8", "replace").decode()
    url = "http://h/b/" + quote(key, safe="/~") + "?prefix=" + quote(value, safe="~")
    request = sign(url=url, expires=60 if presigned else None)
    auth(request)
    assert decode_path(request.raw_path) == "/b/" + key
    assert ("prefix", value) in parse_query(request.raw_query)


def test_escapes_sent_in_other_ways_are_the_same_request() -> None:
    request = sign(url="http://h/b/a~b%2Bc?prefix=x%2Fy%20z")
    same = replace(request, raw_path="/%62/a%7eb+c", raw_query="prefi%78=x/y+z")
    assert auth(same).access_key == KEY


def test_escaped_slash_is_the_slash_that_is_routed() -> None:
    request = sign(url="http://h/b/a/b")
    assert auth(replace(request, raw_path="/b/a%2Fb")).access_key == KEY
    assert decode_path("/b/a%2fb") == decode_path("/b/a%2Fb") == "/b/a/b"


# --- published examples: Amazon S3 API Reference, "Signature Calculations for the Authorization
# Header: Transferring Payload in a Single Chunk", "... in Multiple Chunks", and "Authenticating
# Requests: Using Query Parameters".

SCOPE = f"{KEY}/20130524/us-east-1/s3/aws4_request"


def example(
    method: str, path: str, query: str, signed: str, signature: str, **headers: str
) -> Request:
    value = f"AWS4-HMAC-SHA256 Credential={SCOPE},SignedHeaders={signed},Signature={signature}"
    sent = CIMultiDict({"Host": "examplebucket.s3.amazonaws.com", "x-amz-date": "20130524T000000Z"})
    sent.update({name.replace("_", "-"): text for name, text in headers.items()})
    sent.setdefault(MODE, EMPTY)
    sent["Authorization"] = value
    return Request(method, path, query, sent)


PLAIN = "host;x-amz-content-sha256;x-amz-date"
EXAMPLES = {
    "get object": example(
        "GET",
        "/test.txt",
        "",
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        Range="bytes=0-9",
    ),
    "put object": example(
        "PUT",
        "/test$file.text",
        "",
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        Date="Fri, 24 May 2013 00:00:00 GMT",
        x_amz_storage_class="REDUCED_REDUNDANCY",
        x_amz_content_sha256="44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
    ),
    "get lifecycle": example(
        "GET",
        "/",
        "lifecycle",
        PLAIN,
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "list objects": example(
        "GET",
        "/",
        "max-keys=2&prefix=J",
        PLAIN,
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
    "chunked upload": example(
        "PUT",
        "/examplebucket/chunkObject.txt",
        "",
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
        "x-amz-decoded-content-length;x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        Host="s3.amazonaws.com",
        x_amz_storage_class="REDUCED_REDUNDANCY",
        x_amz_content_sha256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        Content_Encoding="aws-chunked",
        x_amz_decoded_content_length="66560",
        Content_Length="66824",
    ),
}


def presigned_example() -> Request:
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={SCOPE.replace('/', '%2F')}"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    return Request("GET", "/test.txt", query, CIMultiDict(Host="examplebucket.s3.amazonaws.com"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_published_examples(name: str) -> None:
    assert auth(EXAMPLES[name], NOW).kind is AuthKind.HEADER


def test_published_presigned_example_until_it_expires() -> None:
    assert auth(presigned_example(), NOW).kind is AuthKind.PRESIGNED
    assert auth(presigned_example(), NOW + 86400).access_key == KEY
    assert refused(presigned_example(), NOW + 86401).message == "Request has expired"
    assert auth(presigned_example(), NOW - 900).access_key == KEY
    assert refused(presigned_example(), NOW - 901).message == "Request is not valid yet"


def test_streaming_gives_the_seed_and_hides_the_key() -> None:
    result = auth(EXAMPLES["chunked upload"], NOW)
    assert result.payload is PayloadMode.STREAMING_SIGNED and result.seed is not None
    assert result.seed.signature.startswith("4f232c43") and len(result.seed.signing_key) == 32
    assert result.seed.scope == "20130524/us-east-1/s3/aws4_request"
    assert repr(result.seed.signing_key) not in repr(result) and SECRET not in repr(result)


# --- refusals ---


def get(**headers: str) -> Request:
    """The published GET with some headers changed; None takes one away."""
    request = EXAMPLES["get object"]
    sent = CIMultiDict(request.headers)
    sent.update({name.replace("_", "-"): text for name, text in headers.items()})
    return replace(request, headers=sent)


def without(name: str, request: Request | None = None) -> Request:
    request = request or get()
    sent = CIMultiDict(request.headers)
    del sent[name]
    return replace(request, headers=sent)


def doubled(name: str, value: str | None = None) -> Request:
    request = get()
    request.headers.add(name, value or request.headers[name])
    return request


def auth_with(old: str, new: str) -> Request:
    value = EXAMPLES["get object"].headers["Authorization"]
    assert old in value
    return get(Authorization=value.replace(old, new, 1))


def query_with(old: str, new: str) -> Request:
    request = presigned_example()
    assert old in request.raw_query
    return replace(request, raw_query=request.raw_query.replace(old, new, 1))


BOTH = replace(presigned_example(), headers=get().headers)
V2_QUERY = Request("GET", "/", "AWSAccessKeyId=A&Signature=b&Expires=1", CIMultiDict(Host="h"))
HEADER, QUERY = "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError"

BAD: list[tuple[str, Request, str, int]] = [
    ("two mechanisms", BOTH, "InvalidArgument", 400),
    ("SigV2 header", get(Authorization="AWS AKIA:sig="), "InvalidRequest", 400),
    ("SigV2 query", V2_QUERY, "InvalidRequest", 400),
    ("SigV2 query and header", replace(V2_QUERY, headers=get().headers), "InvalidArgument", 400),
    ("SigV4A", auth_with("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "InvalidRequest", 400),
    ("bearer", get(Authorization="Bearer x"), "InvalidArgument", 400),
    ("empty Authorization", get(Authorization=""), "InvalidArgument", 400),
    ("only the algorithm", get(Authorization="AWS4-HMAC-SHA256"), HEADER, 400),
    ("no Signature", auth_with(",Signature=", ",Signatur="), HEADER, 400),
    ("empty Signature", get(Authorization=f"AWS4-HMAC-SHA256 Credential={SCOPE},"), HEADER, 400),
    ("unknown component", auth_with(",Signature", ",Foo=1,Signature"), HEADER, 400),
    ("doubled component", auth_with(",Signature", ",Signature=a,Signature"), HEADER, 400),
    ("Authorization twice", doubled("Authorization"), "InvalidArgument", 400),
    ("x-amz-date twice", doubled("x-amz-date"), "InvalidArgument", 400),
    ("Host twice", doubled("Host"), "InvalidArgument", 400),
    ("payload hash twice", doubled(MODE), "InvalidArgument", 400),
    ("Range twice", doubled("Range"), "SignatureDoesNotMatch", 403),
    ("four parts in scope", auth_with("/s3/", "/"), HEADER, 400),
    ("no access key", auth_with(KEY, ""), HEADER, 400),
    ("date in words", auth_with("20130524", "2013052a"), HEADER, 400),
    ("other scope date", auth_with("20130524", "20130523"), HEADER, 400),
    ("wide digits", auth_with("20130524", "２０１３０５２４"), HEADER, 400),
    ("wrong region", auth_with("us-east-1", "eu-west-1"), HEADER, 400),
    ("wrong service", auth_with("/s3/", "/iam/"), HEADER, 400),
    ("wrong terminator", auth_with("aws4_request", "aws4"), HEADER, 400),
    ("no date", without("x-amz-date"), "AccessDenied", 403),
    ("date of a day only", get(x_amz_date="20130524"), "AccessDenied", 403),
    ("month 13", get(x_amz_date="20131324T000000Z"), "AccessDenied", 403),
    ("year 10000", get(x_amz_date="100000524T000000Z"), "AccessDenied", 403),
    ("date with sign", get(x_amz_date="+0130524T000000Z"), "AccessDenied", 403),
    ("before 1970", get(x_amz_date="19690524T000000Z"), "RequestTimeTooSkewed", 403),
    ("no payload hash", without(MODE), "InvalidRequest", 400),
    ("empty payload hash", get(x_amz_content_sha256=""), "InvalidArgument", 400),
    ("upper-case hash", get(x_amz_content_sha256=EMPTY.upper()), "InvalidArgument", 400),
    ("short hash", get(x_amz_content_sha256=EMPTY[:-1]), "InvalidArgument", 400),
    ("unknown stream", get(x_amz_content_sha256="STREAMING-X"), "InvalidArgument", 400),
    (
        "ECDSA stream",
        get(x_amz_content_sha256="STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"),
        "NotImplemented",
        501,
    ),
    ("UNSIGNED in place of hash", get(x_amz_content_sha256="UNSIGNED-PAYLOAD"), "S", 403),
    (
        "unsigned trailer in place",
        get(x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        "S",
        403,
    ),
    ("host not signed", auth_with("host;", ""), "AccessDenied", 403),
    ("x-amz-date not signed", auth_with(";x-amz-date", ""), "AccessDenied", 403),
    ("upper-case signed name", auth_with("host;", "Host;"), HEADER, 400),
    ("signed name twice", auth_with("host;", "host;host;"), HEADER, 400),
    ("empty signed name", auth_with("host;", "host;;"), HEADER, 400),
    ("signed header absent", without("Range"), "SignatureDoesNotMatch", 403),
    ("signed header changed", get(Range="bytes=0-8"), "SignatureDoesNotMatch", 403),
    ("line break in header", get(Range="bytes=0-9\nx:y"), "InvalidRequest", 400),
    ("other host", get(Host="other.s3.amazonaws.com"), "SignatureDoesNotMatch", 403),
    ("other method", replace(get(), method="DELETE"), "SignatureDoesNotMatch", 403),
    ("other path", replace(get(), raw_path="/test.txt/"), "SignatureDoesNotMatch", 403),
    ("dotted path", replace(get(), raw_path="/a/../test.txt"), "SignatureDoesNotMatch", 403),
    ("added query", replace(get(), raw_query="acl"), "SignatureDoesNotMatch", 403),
    ("truncated signature", auth_with("bdb41", ""), "SignatureDoesNotMatch", 403),
    ("flipped signature", auth_with("bdb41", "bdb42"), "SignatureDoesNotMatch", 403),
    ("upper-case signature", auth_with("bdb41", "BDB41"), "SignatureDoesNotMatch", 403),
    ("non-ASCII signature", auth_with("bdb41", "é\udc80"), "SignatureDoesNotMatch", 403),
    ("unknown key", auth_with(KEY, "AKIAUNKNOWN"), "InvalidAccessKeyId", 403),
    ("bad escape in path", replace(get(), raw_path="/%zz"), "InvalidURI", 400),
    ("cut escape in path", replace(get(), raw_path="/a%2"), "InvalidURI", 400),
    ("signed escape digits", replace(get(), raw_path="/%+1"), "InvalidURI", 400),
    ("bad escape in query", replace(get(), raw_query="a=%"), "InvalidURI", 400),
    ("relative path", replace(get(), raw_path="x"), "InvalidURI", 400),
    ("empty path", replace(get(), raw_path=""), "InvalidURI", 400),
    ("presigned: no Expires", query_with("&X-Amz-Expires=86400", ""), QUERY, 400),
    ("presigned: no Signature", query_with("X-Amz-Signature", "X-Amz-Signatur"), QUERY, 400),
    ("presigned: no Credential", query_with("X-Amz-Credential", "x-amz-credential"), QUERY, 400),
    ("presigned: Date twice", query_with("&X-Amz-Date", "&X-Amz-Date=1&X-Amz-Date"), QUERY, 400),
    ("presigned: algorithm", query_with("HMAC-SHA256", "HMAC-SHA1"), QUERY, 400),
    ("presigned: date", query_with("20130524T000000Z", "20130524"), QUERY, 400),
    ("presigned: region", query_with("us-east-1", "us-west-1"), QUERY, 400),
    ("presigned: scope date", query_with("%2F20130524", "%2F20130525"), QUERY, 400),
    ("presigned: host not signed", query_with("Headers=host", "Headers=date"), "AccessDenied", 403),
    ("presigned: longer life", query_with("86400", "86401"), "SignatureDoesNotMatch", 403),
    ("presigned: added query", query_with("X-Amz-Alg", "acl&X-Amz-Alg"), "S", 403),
    ("presigned: hash in query", query_with("X-Amz-Alg", f"{MODE}={EMPTY}&X-Amz-Alg"), "S", 403),
    *(
        (f"presigned: Expires {text}", query_with("Expires=86400", f"Expires={text}"), QUERY, 400)
        for text in ("", "-1", "604801", "1e3", "%2B5", "1_0", "0x10", "9" * 5000, "٣")
    ),
]


@pytest.mark.parametrize(("what", "request_", "code", "status"), BAD, ids=[row[0] for row in BAD])
def test_bad_input(what: str, request_: Request, code: str, status: int) -> None:
    error = refused(request_, NOW)
    assert (error.code, error.status) == (
        "SignatureDoesNotMatch" if code == "S" else code,
        status,
    )
    assert SECRET.encode() not in error.to_xml("r", "/")


@pytest.mark.parametrize("drift", [-901, 901])
def test_skew_limit(drift: int) -> None:
    assert auth(get(), NOW + drift * 900 / 901).access_key == KEY
    error = refused(get(), NOW + drift)
    assert error.code == "RequestTimeTooSkewed" and error.extra["RequestTime"] == "20130524T000000Z"


UNSIGNED_HEADERS = [
    ("x-amz-acl", "public-read"),
    ("X-Amz-Copy-Source", "/other/secret"),
    ("x-amz-meta-a", "b"),
    ("x-amz-tagging", "a=b"),
    ("x-amz-bypass-governance-retention", "true"),
    ("x-amz-object-lock-mode", "GOVERNANCE"),
    ("x-amz-checksum-crc32", "AAAAAA=="),
    ("x-amz-decoded-content-length", "1"),
    ("x-amz-security-token", "t"),
    ("x-amz-", ""),
]


@pytest.mark.parametrize(("name", "value"), UNSIGNED_HEADERS)
@pytest.mark.parametrize("make", [get, presigned_example])
def test_unsigned_amz_header_is_refused(make: Any, name: str, value: str) -> None:
    request = make()
    request.headers = CIMultiDict(request.headers)
    request.headers[name] = value
    error = refused(request, NOW)
    assert (error.code, error.status) == ("AccessDenied", 403)
    assert error.extra["HeadersNotSigned"] == name.lower()


def test_presigned_may_say_unsigned_payload_and_nothing_else_unsigned() -> None:
    request = sign("PUT", expires=60)
    request.headers[MODE] = "UNSIGNED-PAYLOAD"
    assert auth(request).payload is PayloadMode.UNSIGNED
    for value in (EMPTY, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"):
        request.headers[MODE] = value
        assert refused(request).status == 403
    request.headers[MODE] = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    assert refused(request).code == "InvalidRequest"


def test_presigned_hoisted_headers_are_given_back() -> None:
    request = sign("PUT", "http://h/b/k?x-amz-acl=private&X-Amz-Meta-A=%C3%BC", expires=60)
    assert auth(request).hoisted == {"x-amz-acl": "private", "x-amz-meta-a": "ü"}
    request = sign("PUT", "http://h/b/k?x-amz-acl=private&X-Amz-Acl=public-read", expires=60)
    assert refused(request).code == "AuthorizationQueryParametersError"


def test_parameters_after_those_of_the_signature_are_not_overlooked() -> None:
    request = sign(url="http://h/b/k?x-amz-meta-a=b", expires=60)
    *parts, signature = request.raw_query.split("&")
    request = replace(request, raw_query="&".join([*sorted(parts), signature]))
    assert request.raw_query.split("&")[-2] == "x-amz-meta-a=b"
    assert auth(request).hoisted == {"x-amz-meta-a": "b"}


_PARTS = ("X-Amz-Date", "X-Amz-Expires", "X-Amz-Credential", "acl", "x-id=a", "x-amz-meta-a=b")
_CHANGES = (
    *(("%2F", "/"), ("%2F", "%2f"), ("24T", "25T"), ("86400", "1"), ("86400", "-1")),
    *(("=host", "="), ("=host", "=host%3Brange"), ("Signature=", "Signature=%41"), ("&", "%")),
    *(("&X-Amz-Expires", "&&X-Amz-Expires"), ("HMAC", "%48MAC"), ("us-east-1", "paris")),
    *(("Signature=a", "Signature=b"), ("Signature=", "Signature=\u00e9")),
)


@given(
    st.lists(st.sampled_from(_CHANGES), max_size=2),
    st.lists(st.sampled_from(_PARTS), max_size=2),
    st.integers(0, 7),
    st.sampled_from([{}, {"Authorization": "AWS4-HMAC-SHA256 x"}, {"Range": "bytes=0-1"}]),
    st.sampled_from([0, 100, 90_000, -1000]),
)
def test_a_query_written_as_usual_is_read_as_any_other(
    changes: list[tuple[str, str]], more: list[str], place: int, headers: Any, later: int
) -> None:
    request = presigned_example()
    parts = request.raw_query.split("&")
    parts[place:place] = more
    query = "&".join(parts)
    for old, new in changes:
        query = query.replace(old, new, 1)
    request = replace(request, raw_query=query, headers=CIMultiDict(request.headers, **headers))

    def outcome() -> Any:
        try:
            return authenticate(request, {KEY: SECRET}.get, NOW + later, Config(region=REGION))
        except S3Error as error:
            return error.code, error.message, error.extra

    found = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sigv4, "_usual_presigned", lambda _: None)
        assert outcome() == found


@given(
    st.lists(st.sampled_from(["X-Amz-Date=1", "X-Amz-", "x-amz-a=", "a=%20", "", "b=X-Amz-c", "d"]))
)
def test_parameters_of_the_signature_are_left_out(parts: list[str]) -> None:
    query = "&".join(parts)
    try:
        found = {"first": "", **parse_parameters(query)}
    except S3Error as error:
        assert error.code == "InvalidArgument" and len(set(parts)) < len(parts)
    else:
        assert parse_parameters(f"first=&{query}") == found


def test_session_token_is_refused_with_permanent_keys() -> None:
    assert refused(sign(headers={"x-amz-security-token": "t"})).code == "InvalidToken"
    request = sign(url="http://h/b/k?X-Amz-Security-Token=t", expires=60)
    assert refused(request).code == "InvalidToken"


def test_region_error_tells_the_region_and_aliases_are_accepted() -> None:
    request = sign(region="eu-central-1")
    error = refused(request)
    assert error.extra == {"Region": REGION} and "expecting 'us-east-1'" in error.message
    assert auth(request, aliases=frozenset({"eu-central-1"})).access_key == KEY


@pytest.mark.parametrize(
    "text",
    [
        "Fri, 24 May 2013 00:00:00 GMT",
        "Fri, 24 May 2013 00:00:00 +0000",
        "Fri, 24 May 2013 02:00:00 +0200",
        "Friday, 24-May-13 00:00:00 GMT",
        "Fri May 24 00:00:00 2013",
        "20130524T000000Z",
    ],
)
def test_date_header_in_place_of_amz_date(text: str) -> None:
    stamp = timestamp_of_date(text)
    assert stamp == "20130524T000000Z"
    request = without("x-amz-date", auth_with(";x-amz-date", ""))
    request.headers["Date"] = text
    assert refused(request, NOW).code == "SignatureDoesNotMatch"
    assert "20130524T000000Z\n" in refused(request, NOW).extra["StringToSign"]


@pytest.mark.parametrize("text", ["", "x", "Fri, 99 May 2013 99:99:99 GMT", "0" * 5000, "\udc80"])
def test_date_header_that_is_none(text: str) -> None:
    request = without("x-amz-date")
    request.headers["Date"] = text
    assert refused(request, NOW).code == "AccessDenied"


def test_nothing_at_all_is_anonymous() -> None:
    request = Request("GET", "/b/k", "acl", CIMultiDict(Host="h"))
    assert auth(request) == (None, AuthKind.ANONYMOUS, PayloadMode.UNSIGNED, None, None, {}, "")
    request.headers[MODE] = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    assert refused(request).code == "InvalidRequest"


@pytest.fixture
def empty_cache() -> Iterator[None]:
    signing_keys._SIGNING_KEYS.clear()
    yield
    signing_keys._SIGNING_KEYS.clear()


def test_changed_secret_does_not_meet_the_old_key(empty_cache: None) -> None:
    request = sign()
    now = time.time()
    authenticate(request, {KEY: SECRET}.get, now, Config(region=REGION))
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        authenticate(request, {KEY: SECRET + "x"}.get, now, Config(region=REGION))
    authenticate(request, {KEY: SECRET}.get, now, Config(region=REGION))


def test_unknown_keys_do_not_fill_the_cache(empty_cache: None) -> None:
    for number in range(50):
        assert refused(sign(key=f"AKIA{number}")).code == "InvalidAccessKeyId"
    assert len(signing_keys._SIGNING_KEYS) == 1


def test_cache_is_bounded(empty_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_keys, "SIGNING_KEYS_MAX", 10)
    for number in range(50):
        signing_keys.signing_key(f"AKIA{number}", "s", "20130524", REGION)
    assert len(signing_keys._SIGNING_KEYS) == 10


def test_unknown_key_with_the_fixed_secret_is_refused() -> None:
    assert refused(sign(key="A", secret=sigv4.UNKNOWN_SECRET)).code == "InvalidAccessKeyId"


@pytest.mark.parametrize("raw", ["/b/%ff", "/b/%c3", "/b/\udcff"])
def test_path_that_is_no_utf8(raw: str) -> None:
    with pytest.raises(S3Error, match="InvalidURI"):
        decode_path(raw)
