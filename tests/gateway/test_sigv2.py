"""SigV2 against an independent signer (botocore), AWS's published examples, and bad input."""

from __future__ import annotations

import asyncio
import calendar
import time
from base64 import b64encode
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from gateway_kit import House, open_house
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.authentication import authenticate
from gateway.chunked import PayloadMode
from gateway.context import Config
from gateway.errors import S3Error
from gateway.sigv2 import SIGNED_PARAMETERS
from gateway.sigv4 import AuthKind, AuthResult

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
CONFIG = Config(region="paris", base_domains=("s3.amazonaws.com",), signature_v2=True)
URL = "http://s3.amazonaws.com/bucket/key"


class Request:
    def __init__(self, method: str, target: str, headers: CIMultiDict[str]) -> None:
        self.method = method
        self.raw_path, _, self.raw_query = target.partition("?")
        self.headers = headers


def auth(request: Request, now: float | None = None, config: Config = CONFIG) -> AuthResult:
    return authenticate(request, {KEY: SECRET}.get, time.time() if now is None else now, config)


def refused(request: Request, now: float | None = None, config: Config = CONFIG) -> S3Error:
    with pytest.raises(S3Error) as caught:
        auth(request, now, config)
    return caught.value


def sign(
    method: str = "GET",
    url: str = URL,
    headers: dict[str, str] | None = None,
    *,
    expires: int | None = None,
    key: str = KEY,
    secret: str = SECRET,
) -> Request:
    """A request signed by botocore: in the header, or presigned when `expires` is given."""
    request = AWSRequest(method, url, headers=headers or {})
    request.auth_path = urlsplit(url).path
    credentials = Credentials(key, secret)
    if expires is None:
        HmacV1Auth(credentials).add_auth(request)
        sent = CIMultiDict(request.headers.items())
    else:
        HmacV1QueryAuth(credentials, expires=expires).add_auth(request)
        sent = CIMultiDict[str]()
    parts = urlsplit(request.url)
    sent.setdefault("Host", parts.netloc)
    return Request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, sent)


EXAMPLES = [
    ("GET", "/photos/puppy.jpg", "johnsmith.s3.amazonaws.com", {},
     "Tue, 27 Mar 2007 19:36:42 +0000", "bWq2s1WEIj+Ydj0vQ697zp+IXMU="),
    ("PUT", "/photos/puppy.jpg", "johnsmith.s3.amazonaws.com", {"Content-Type": "image/jpeg"},
     "Tue, 27 Mar 2007 21:15:45 +0000", "MyyxeRY7whkBe+bq8fHCL/2kKUg="),
    ("GET", "/?prefix=photos&max-keys=50&marker=puppy", "johnsmith.s3.amazonaws.com", {},
     "Tue, 27 Mar 2007 19:42:41 +0000", "htDYFYduRNen8P9ZfE/s9SuKy0U="),
    ("GET", "/?acl", "johnsmith.s3.amazonaws.com", {},
     "Tue, 27 Mar 2007 19:44:46 +0000", "c2WLPFtWHVgbEmeEG93a4cG37dM="),
    ("GET", "/", "s3.amazonaws.com", {},
     "Wed, 28 Mar 2007 01:29:59 +0000", "qGdzdERIC03wnaRNKh6OqZehG9s="),
    ("GET", "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re", "s3.amazonaws.com", {},
     "Wed, 28 Mar 2007 01:49:49 +0000", "DNEZGsoieTZ92F3bUfSPQcbGmlM="),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "host", "more", "date", "signature"), EXAMPLES)
def test_examples_of_amazon(
    method: str, target: str, host: str, more: dict[str, str], date: str, signature: str
) -> None:
    headers = CIMultiDict({"Host": host, "Date": date, **more})
    headers["Authorization"] = f"AWS {KEY}:{signature}"
    now = parsedate_to_datetime(date).timestamp()
    assert auth(Request(method, target, headers), now).kind is AuthKind.HEADER_V2
    headers["Authorization"] = f"AWS {KEY}:A{signature[1:]}"
    assert refused(Request(method, target, headers), now).code == "SignatureDoesNotMatch"


def test_header_signed_by_botocore() -> None:
    meta = {"x-amz-meta-b": "  b ", "x-amz-acl": "private", "Content-Type": "text/plain"}
    result = auth(sign("PUT", headers=meta))
    assert result == (KEY, AuthKind.HEADER_V2, PayloadMode.UNSIGNED, None, None, {}, "")


def test_presigned_by_botocore() -> None:
    result = auth(sign(expires=60))
    assert result == (KEY, AuthKind.PRESIGNED_V2, PayloadMode.UNSIGNED, None, None, {}, "")


def test_headers_that_botocore_moves_into_the_url_stand_for_headers() -> None:
    meta = {"x-amz-acl": "public-read", "Content-Type": "text/plain"}
    request = sign("PUT", headers=meta, expires=60)
    assert auth(request).hoisted == {"x-amz-acl": "public-read", "content-type": "text/plain"}
    request.headers["x-amz-acl"] = "private"
    assert refused(request).code == "InvalidArgument"


@pytest.mark.parametrize("expires", [None, 60])
@pytest.mark.parametrize("name", sorted(SIGNED_PARAMETERS))
def test_a_parameter_that_means_something_cannot_be_added(name: str, expires: int | None) -> None:
    request = sign(expires=expires)
    request.raw_query += f"{'&' if request.raw_query else ''}{name}"
    assert refused(request).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("expires", [None, 60])
def test_an_x_amz_header_cannot_be_added(expires: int | None) -> None:
    """MinIO CVE-2026-97731, Swift CVE-2026-71191, Incus CVE-2026-115374, SeaweedFS PR 9121."""
    for name in ("x-amz-copy-source", "x-amz-acl", "x-amz-meta-a", "x-amz-tagging"):
        request = sign("PUT", expires=expires)
        request.headers[name] = "v"
        assert refused(request).code == "SignatureDoesNotMatch"


def test_line_breaks_in_the_query_are_refused() -> None:
    for name in ("x-amz-meta-a", "content-type", "response-content-type"):
        request = sign(expires=60)
        request.raw_query += f"&{name}=a%0Ax-amz-acl:public-read"
        assert refused(request).code == "InvalidArgument", name


@pytest.mark.parametrize(("shift", "good"), [(899, 1), (900, 1), (901, 0), (-900, 1), (-901, 0)])
def test_clock_skew(shift: int, good: bool) -> None:
    request = sign()
    sent = calendar.timegm(time.strptime(request.headers["Date"], "%a, %d %b %Y %H:%M:%S GMT"))
    if good:
        assert auth(request, sent + shift).access_key == KEY
    else:
        assert refused(request, sent + shift).code == "RequestTimeTooSkewed"


def test_a_url_expires() -> None:
    request = sign(expires=60)
    expires = float(request.raw_query.partition("Expires=")[2].partition("&")[0])
    assert auth(request, expires).access_key == KEY
    error = refused(request, expires + 1)
    assert (error.code, error.message) == ("AccessDenied", "Request has expired")


def with_(headers: dict[str, str] | None = None, **query: str) -> Request:
    """A well signed request, with some of it replaced; "-" leaves it out."""
    request = sign(expires=3600) if query else sign()
    for name, value in (headers or {}).items():
        request.headers.popall(name, None)
        if value != "-":
            request.headers[name] = value
    fields = dict(part.split("=", 1) for part in request.raw_query.split("&") if part)
    fields = {name: value for name, value in (fields | query).items() if value != "-"}
    request.raw_query = "&".join(f"{name}={value}" for name, value in fields.items())
    return request


def doubled(name: str) -> Request:
    request = sign()
    request.headers.add(name, request.headers.get(name, "a"))
    return request


BAD = [
    ("no colon", with_({"Authorization": "AWS HAHAHA"}), "InvalidArgument", 400),
    ("nothing", with_({"Authorization": "AWS "}), "InvalidArgument", 400),
    ("no key", with_({"Authorization": "AWS :abc="}), "InvalidArgument", 400),
    ("no signature", with_({"Authorization": f"AWS {KEY}:"}), "InvalidArgument", 400),
    ("long key", with_({"Authorization": f"AWS {'A' * 129}:a="}), "InvalidArgument", 400),
    ("long signature", with_({"Authorization": f"AWS {KEY}:{'a' * 65}"}), "InvalidArgument", 400),
    ("not ASCII", with_({"Authorization": f"AWS {KEY}:é"}), "InvalidArgument", 400),
    ("unknown key", sign(key="AKIANOBODY"), "InvalidAccessKeyId", 403),
    ("wrong secret", sign(secret="x"), "SignatureDoesNotMatch", 403),
    ("wrong secret, URL", sign(secret="x", expires=3600), "SignatureDoesNotMatch", 403),
    ("unknown key, URL", sign(key="AKIANOBODY", expires=3600), "InvalidAccessKeyId", 403),
    ("no date", with_({"Date": "-"}), "AccessDenied", 403),
    ("empty date", with_({"x-amz-date": ""}), "AccessDenied", 403),
    ("bad date", with_({"x-amz-date": "Bad Date"}), "AccessDenied", 403),
    ("1950", with_({"x-amz-date": "Tue, 07 Jul 1950 21:53:04 GMT"}), "AccessDenied", 403),
    ("9999", with_({"x-amz-date": "Tue, 07 Jul 9999 21:53:04 GMT"}), "RequestTimeTooSkewed", 403),
    ("10000", with_({"x-amz-date": "Tue, 07 Jul 10000 21:53:04 GMT"}), "AccessDenied", 403),
    *(
        (f"doubled {name}", doubled(name), "InvalidArgument", 400)
        for name in ("Authorization", "Date", "Host")
    ),
    ("Expires 0", with_(Expires="0"), "AccessDenied", 403),
    ("Expires -1", with_(Expires="-1"), "AccessDenied", 403),
    ("Expires 1e3", with_(Expires="1e3"), "AccessDenied", 403),
    ("Expires +9", with_(Expires="%2B9999999999"), "AccessDenied", 403),
    ("Expires 1_0", with_(Expires="9_999_999_999"), "AccessDenied", 403),
    ("Expires in Arabic", with_(Expires=quote("٩" * 10)), "AccessDenied", 403),
    ("Expires year 10000", with_(Expires="253402300800"), "AccessDenied", 403),
    ("Expires huge", with_(Expires="9" * 5000), "AccessDenied", 403),
    ("Expires later", with_(Expires="9999999999"), "SignatureDoesNotMatch", 403),
    ("no Expires", with_(Expires="-"), "AccessDenied", 403),
    ("no AWSAccessKeyId", with_(AWSAccessKeyId="-"), "AccessDenied", 403),
    ("no Signature", with_(Signature="-"), "AccessDenied", 403),
    ("header and URL", with_({"Authorization": "AWS A:b="}, Expires="9"), "InvalidArgument", 400),
    ("also Version 4", with_(**{"X-Amz-Signature": "a"}), "InvalidArgument", 400),
    ("signed stream", with_({"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}),
     "InvalidRequest", 400),
]  # fmt: skip


@pytest.mark.parametrize(("what", "request_", "code", "status"), BAD, ids=[row[0] for row in BAD])
def test_bad_input(what: str, request_: Request, code: str, status: int) -> None:
    error = refused(request_)
    assert (error.code, error.status) == (code, status)


def test_a_parameter_given_twice_is_refused() -> None:
    request = sign(expires=60)
    for name in ("Signature", "Expires", "AWSAccessKeyId", "acl"):
        again = Request("GET", f"{request.raw_path}?{request.raw_query}", request.headers)
        again.raw_query += f"&{name}=a&{name}=a"
        assert refused(again).code == "InvalidArgument"


def test_off_by_default() -> None:
    off = Config(region="paris")
    for request in (sign(), sign(expires=60)):
        error = refused(request, config=off)
        assert error.code == "InvalidRequest"
        assert "AWS4-HMAC-SHA256" in error.message


def test_a_signature_of_the_header_is_none_of_a_url() -> None:
    """The date of a header stands where the end of a URL does."""
    request = sign()
    signature = request.headers.pop("Authorization").partition(":")[2]
    date = quote(request.headers.pop("Date"))
    request.raw_query = f"AWSAccessKeyId={KEY}&Signature={quote(signature)}&Expires={date}"
    assert refused(request).code == "AccessDenied"


@given(
    st.text(max_size=60),
    st.dictionaries(st.sampled_from(["Date", "x-amz-date", "Host", "x-amz-a"]), st.text()),
    st.text(max_size=80),
)
def test_anything_is_refused_in_words_of_s3(
    authorization: str, headers: dict[str, str], query: str
) -> None:
    authorization = f"AWS {authorization}"
    for request in (
        Request("GET", f"/b/k?{query}", CIMultiDict(headers | {"Authorization": authorization})),
        Request("GET", f"/b/k?Signature={query}", CIMultiDict(headers)),
    ):
        with pytest.raises(S3Error):
            auth(request)


@given(st.binary(min_size=1, max_size=20), st.integers(0, 27))
def test_no_other_signature_is_right(noise: bytes, at: int) -> None:
    request = sign()
    right = request.headers["Authorization"]
    made = b64encode(noise.ljust(20, b"\0")).decode()
    request.headers["Authorization"] = f"AWS {KEY}:{right[-28:][:at]}{made[at:]}"
    if request.headers["Authorization"] != right:
        assert refused(request).code == "SignatureDoesNotMatch"


async def test_boto_with_version_2(tmp_path: Path) -> None:
    def work(house: House) -> dict[str, Any]:
        client = house.boto(signature_version="s3")
        client.create_bucket(Bucket="photos")
        client.put_object(Bucket="photos", Key="a b/ü", Body=b"x" * 2_000_000)
        found: dict[str, Any] = client.get_object(Bucket="photos", Key="a b/ü")
        assert len(found["Body"].read()) == 2_000_000
        client.list_objects_v2(Bucket="photos", Prefix="a ")
        return found

    async with open_house(tmp_path, signature_v2=True) as house:
        found = await asyncio.to_thread(work, house)
        assert found["ContentLength"] == 2_000_000
        assert await house.keys() == ["a b/ü"]
