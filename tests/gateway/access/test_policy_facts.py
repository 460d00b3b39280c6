"""What policies may ask about a request: each key, and what it says of which request."""

import asyncio
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from access_kit import add_users, put_policy
from access_kit import statement as everything
from form_kit import form, post, signed_v4
from form_kit import policy as form_policy
from gateway_kit import House, amz_date
from multidict import CIMultiDict, CIMultiDictProxy
from policy_kit import ANN, BUCKET, LOGS, NOBODY, OBJECTS, policy, statement

from gateway.access.condition_keys import normal_key
from gateway.access.facts import RequestFacts, facts_of_tags
from gateway.access.policy import Verdict
from gateway.access.principals import Caller
from gateway.chunked import PayloadMode
from gateway.request import Request
from gateway.sigv4 import AuthKind, AuthResult
from gateway.target import parse_target

NOW = 1709294400.25
"""2024-03-01T12:00:00.25Z"""
SIGNED = "20240301T115000Z"


def request(
    target: str = "/photos/cat.jpg",
    method: str = "GET",
    *,
    kind: AuthKind = AuthKind.HEADER,
    region: str = "paris",
    transport: dict[str, Any] | None = None,
    **headers: str,
) -> Request:
    said = CIMultiDict((name.replace("_", "-"), value) for name, value in headers.items())
    message: Any = SimpleNamespace(
        method=method,
        path=target,
        headers=CIMultiDictProxy(said),
        should_close=False,
        upgrade=False,
        version=(1, 1),
    )
    info = {"peername": ("192.0.2.7", 4711), **(transport or {})}
    connection: Any = SimpleNamespace(transport=SimpleNamespace(get_extra_info=info.get))
    made = Request(message, None, connection)  # type: ignore[arg-type]
    made.target = parse_target(made.raw_path, made.raw_query, "localhost", ("localhost",))
    made.auth = AuthResult("AK", kind, PayloadMode.UNSIGNED, region=region)
    return made


def fact(key: str, asked: Request, caller: Caller = ANN, **more: Any) -> str | list[str] | None:
    """One value by itself, several as a list."""
    normal = normal_key(key)
    assert normal is not None
    values = RequestFacts(asked, caller, NOW, **more).get(normal)
    return values[0] if values is not None and len(values) == 1 else values


# -- of the request as it came --------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "x-amz-acl",
        "x-amz-grant-full-control",
        "x-amz-grant-read",
        "x-amz-grant-read-acp",
        "x-amz-grant-write",
        "x-amz-grant-write-acp",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-metadata-directive",
        "x-amz-storage-class",
        "x-amz-content-sha256",
        "x-amz-website-redirect-location",
        "if-match",
        "if-none-match",
    ],
)
def test_headers(name: str) -> None:
    said = {name.title().replace("-", "_"): "A value"}
    assert fact(f"s3:{name}", request(method="PUT", **said)) == "A value"
    assert fact(f"s3:{name.upper()}", request(method="PUT", **said)) == "A value"
    assert fact(f"s3:{name}", request(method="PUT")) is None


@pytest.mark.parametrize(
    ("key", "header"),
    [
        ("aws:Referer", "Referer"),
        ("aws:UserAgent", "User_Agent"),
        ("s3:object-lock-mode", "x_amz_object_lock_mode"),
        ("s3:object-lock-legal-hold", "x_amz_object_lock_legal_hold"),
        ("s3:object-lock-retain-until-date", "x_amz_object_lock_retain_until_date"),
    ],
)
def test_headers_by_other_names(key: str, header: str) -> None:
    assert fact(key, request(**{header: "A value"})) == "A value"
    assert fact(key, request(**{header: ""})) == ""
    assert fact(key, request()) is None


@pytest.mark.parametrize(
    ("until", "days"),
    [
        ("2024-03-31T12:00:00Z", "29"),
        ("2024-03-31T12:00:01Z", "30"),
        ("2024-03-01T12:00:01Z", "0"),
        ("2124-02-06T12:00:00.250Z", "36500"),
        ("2124-02-06T12:00:00.249Z", "36499"),
        ("2024-03-01T11:59:59Z", "-1"),
        ("soon", None),
        ("", None),
    ],
)
def test_days_of_retention(until: str, days: str | None) -> None:
    key = "s3:object-lock-remaining-retention-days"
    assert fact(key, request(x_amz_object_lock_retain_until_date=until)) == days
    extra = {"s3:object-lock-retain-until-date": [until]}
    assert fact(key, request(), extra=extra) == days
    assert fact(key, request()) is None


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("videos/a", "videos/a"),
        ("/videos/a", "videos/a"),
        ("//videos/a", "/videos/a"),
        ("videos/a%20b%2Fc", "videos/a b/c"),
        ("videos/a+b", "videos/a+b"),
        ("/videos/a?versionId=1", "videos/a"),
        ("videos/a%3FversionId=1", "videos/a?versionId=1"),
        ("videos/%zz", "videos/%zz"),
        ("videos/\udcff", "videos/\udcff"),
    ],
)
def test_the_source_of_a_copy(source: str, value: str) -> None:
    asked = request(method="PUT", x_amz_copy_source=source)
    assert fact("s3:x-amz-copy-source", asked) == value
    assert fact("s3:x-amz-copy-source", request(method="PUT")) is None


@pytest.mark.parametrize(
    ("method", "target", "prefix", "delimiter", "most"),
    [
        ("GET", "/photos", None, None, "1000"),
        ("GET", "/photos?prefix=&delimiter=", "", "", "1000"),
        ("GET", "/photos?prefix=a%20b/&delimiter=/&max-keys=10", "a b/", "/", "10"),
        ("GET", "/photos?list-type=2&prefix=a&max-keys=5000", "a", None, "5000"),
        ("GET", "/photos?versions&prefix=a&max-keys=10", "a", None, "10"),
        ("GET", "/photos?max-keys=", None, None, "1000"),
        ("GET", "/photos?nonsense&max-keys=10", None, None, "10"),
        ("GET", "/photos?X-Amz-Date=1&prefix=a", "a", None, "1000"),
        # No listing of objects, and so the parameters mean nothing.
        ("GET", "/photos?acl&prefix=a&max-keys=10", None, None, None),
        ("GET", "/photos?policy", None, None, None),
        ("GET", "/photos?uploads&prefix=a&delimiter=/", None, None, None),
        ("HEAD", "/photos?prefix=a&max-keys=10", None, None, None),
        ("PUT", "/photos?prefix=a", None, None, None),
        ("GET", "/photos/cat.jpg?prefix=a&delimiter=/&max-keys=10", None, None, None),
    ],
)
def test_what_a_listing_is_of(
    method: str, target: str, prefix: str | None, delimiter: str | None, most: str | None
) -> None:
    asked = request(target, method)
    assert fact("s3:prefix", asked) == prefix
    assert fact("s3:delimiter", asked) == delimiter
    assert fact("s3:max-keys", asked) == most


def test_the_version() -> None:
    assert fact("s3:VersionId", request("/photos/cat.jpg?versionId=abc")) == "abc"
    assert fact("s3:VersionId", request("/photos/cat.jpg?versionId=null")) == "null"
    assert fact("s3:VersionId", request()) is None


@pytest.mark.parametrize(
    ("method", "target", "creates"),
    [
        ("PUT", "/photos/a", "true"),
        ("PUT", "/photos/a?x-id=PutObject", "true"),
        ("PUT", "/photos/a?nonsense", "true"),
        ("PUT", "/photos/a?partNumber=1", "true"),
        ("POST", "/photos/a", "true"),
        ("POST", "/photos/a?uploadId=u", "true"),
        ("POST", "/photos/a?uploads", "false"),
        ("PUT", "/photos/a?uploadId=u&partNumber=1", "false"),
        ("PUT", "/photos/a?acl", None),
        ("PUT", "/photos/a?tagging&partNumber=1", None),
        ("PUT", "/photos", None),
        ("POST", "/photos?delete", None),
        ("GET", "/photos/a", None),
        ("DELETE", "/photos/a", None),
    ],
)
def test_whether_an_object_comes_to_be(method: str, target: str, creates: str | None) -> None:
    assert fact("s3:ObjectCreationOperation", request(target, method)) == creates


# -- of its way -----------------------------------------------------------------------------------


def test_where_it_comes_from() -> None:
    assert fact("aws:SourceIp", request()) == "192.0.2.7"
    six = {"peername": ("2001:db8::1", 4711, 0, 0)}
    assert fact("aws:SourceIp", request(transport=six)) == "2001:db8::1"


def test_how_it_is_secured() -> None:
    assert fact("aws:SecureTransport", request()) == "false"
    assert fact("s3:TlsVersion", request()) is None
    tls: dict[str, Any] = {"sslcontext": object()}
    for version, value in (("TLSv1.3", "1.3"), ("TLSv1.2", "1.2"), ("TLSv1", "1"), (None, None)):
        tls["ssl_object"] = SimpleNamespace(version=lambda version=version: version)
        assert fact("aws:SecureTransport", request(transport=tls)) == "true"
        assert fact("s3:TlsVersion", request(transport=tls)) == value


@pytest.mark.parametrize("key", ["aws:SourceIp", "aws:SecureTransport", "s3:TlsVersion"])
def test_nothing_is_decided_of_where_a_client_is_that_has_gone(key: str) -> None:
    """Else `NotIpAddress` would hold for who leaves at the right time."""
    asked = request()
    asked.connection.transport = None
    with pytest.raises(ConnectionResetError):
        fact(key, asked)


def test_when_it_comes() -> None:
    assert fact("aws:CurrentTime", request()) == "2024-03-01T12:00:00Z"
    assert fact("aws:EpochTime", request()) == "1709294400"
    assert (
        policy(
            statement(
                Condition={
                    "DateGreaterThan": {"aws:CurrentTime": "2024-03-01T11:59:59Z"},
                    "DateLessThan": {"aws:EpochTime": "2024-03-01T12:00:01Z"},
                    "NumericEquals": {"aws:EpochTime": 1709294400},
                }
            )
        ).decide(ANN, "GetObject", "photos/a", RequestFacts(request(), ANN, NOW))
        is Verdict.ALLOW
    )


@pytest.mark.parametrize(
    ("kind", "auth_type", "version", "age"),
    [
        (AuthKind.HEADER, "REST-HEADER", "AWS4-HMAC-SHA256", "600250"),
        (AuthKind.PRESIGNED, "REST-QUERY-STRING", "AWS4-HMAC-SHA256", "1200250"),
        (AuthKind.FORM, "POST", "AWS4-HMAC-SHA256", "600250"),
        (AuthKind.HEADER_V2, "REST-HEADER", "AWS", "0"),
        (AuthKind.PRESIGNED_V2, "REST-QUERY-STRING", "AWS", "0"),
        (AuthKind.FORM_V2, "POST", "AWS", "0"),
        (AuthKind.ANONYMOUS, None, None, None),
    ],
)
def test_how_it_is_signed(
    kind: AuthKind, auth_type: str | None, version: str | None, age: str | None
) -> None:
    target = "/photos/a?X-Amz-Date=20240301T114000Z"
    asked = request(target, kind=kind, x_amz_date=SIGNED)
    assert fact("s3:authType", asked) == auth_type
    assert fact("s3:signatureversion", asked) == version
    assert fact("s3:signatureAge", asked) == age


def test_the_age_of_a_signature_by_its_date() -> None:
    dated = request(Date="Fri, 01 Mar 2024 11:59:59 GMT")
    assert fact("s3:signatureAge", dated) == "1250"
    ahead = request(x_amz_date="20240301T120100Z")
    assert fact("s3:signatureAge", ahead) == "-59750"
    assert fact("s3:signatureAge", request(x_amz_date="today")) is None
    assert fact("s3:signatureAge", request()) is None


def test_the_region_that_was_signed_for() -> None:
    assert fact("aws:RequestedRegion", request(region="us-east-1")) == "us-east-1"
    assert fact("aws:RequestedRegion", request(region="")) is None


# -- of who sends it ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "of_ann", "of_nobody", "of_a_service"),
    [
        ("aws:userid", ANN.id, "anonymous", None),
        ("aws:username", ANN.name, None, None),
        ("aws:PrincipalType", "User", "Anonymous", None),
        ("aws:PrincipalAccount", ANN.id, "anonymous", None),
        ("aws:PrincipalArn", f"arn:aws:iam::{ANN.id}:user/{ANN.name}", None, None),
        ("aws:PrincipalServiceName", None, None, LOGS.service),
        ("aws:PrincipalServiceNamesList", None, None, LOGS.service),
        ("aws:PrincipalIsAWSService", "false", None, "true"),
        ("aws:ViaAWSService", "false", "false", "false"),
    ],
)
def test_who_asks(
    key: str, of_ann: str | None, of_nobody: str | None, of_a_service: str | None
) -> None:
    assert fact(key, request(), ANN) == of_ann
    assert fact(key, request(), NOBODY) == of_nobody
    assert fact(key, request(), LOGS) == of_a_service


def test_whose_the_bucket_is() -> None:
    for key in ("aws:ResourceAccount", "s3:ResourceAccount"):
        assert fact(key, request(), owner=ANN.id) == ANN.id
        assert fact(key, request()) is None


# -- tags -----------------------------------------------------------------------------------------


def test_tags_of_the_object_that_is_there() -> None:
    tags = {"Team": "red", "team": "blue", "a/b c": ""}
    asked = {"tags": lambda: tags}
    assert fact("s3:ExistingObjectTag/Team", request(), **asked) == ["red", "blue"]
    assert fact("s3:ExistingObjectTag/a/b c", request(), **asked) == ""
    assert fact("s3:ExistingObjectTag/other", request(), **asked) is None
    assert fact("s3:ExistingObjectTag/Team", request()) is None
    assert fact("s3:RequestObjectTag/Team", request(), **asked) is None


def test_tags_that_the_request_gives() -> None:
    asked = request(method="PUT", x_amz_tagging="Team=red&team=blue&a%2Fb+c")
    assert fact("s3:RequestObjectTag/TEAM", asked) == ["red", "blue"]
    assert fact("s3:RequestObjectTag/a/b c", asked) == ""
    assert fact("s3:RequestObjectTag/other", asked) is None
    assert fact("s3:RequestObjectTagKeys", asked) == ["Team", "a/b c", "team"]
    assert fact("s3:ExistingObjectTag/Team", asked) is None
    assert not fact("s3:RequestObjectTagKeys", request(method="PUT"))
    for wrong in ("a=1&a=2", "%zz", "=b", "\udcff=a"):
        asked = request(method="PUT", x_amz_tagging=wrong)
        assert fact("s3:RequestObjectTag/a", asked) is None
        assert not fact("s3:RequestObjectTagKeys", asked)


def test_tags_of_a_copy_are_its_sources_unless_they_are_replaced() -> None:
    said = {"x_amz_copy_source": "videos/a", "x_amz_tagging": "team=red"}
    for directive, value in ((None, None), ("COPY", None), ("REPLACE", "red")):
        more = {} if directive is None else {"x_amz_tagging_directive": directive}
        asked = request(method="PUT", **said, **more)
        assert fact("s3:RequestObjectTag/team", asked) == value
        assert bool(fact("s3:RequestObjectTagKeys", asked)) is (value is not None)
    plain = request(method="PUT", x_amz_tagging="team=red", x_amz_tagging_directive="COPY")
    assert fact("s3:RequestObjectTag/team", plain) == "red"


def test_tags_that_the_body_gives() -> None:
    extra = facts_of_tags({"Team": "red", "b": ""})
    assert fact("s3:RequestObjectTag/team", request(), extra=extra) == "red"
    assert fact("s3:RequestObjectTag/b", request(), extra=extra) == ""
    assert fact("s3:RequestObjectTagKeys", request(), extra=extra) == ["Team", "b"]


def test_what_is_said_besides_stands_before_what_the_request_says() -> None:
    asked = request("/photos/a?versionId=abc", x_amz_acl="private")
    extra = {"s3:versionid": None, "s3:x-amz-acl": ["public-read"], "aws:sourcevpc": ["vpc-1"]}
    assert fact("s3:VersionId", asked, extra=extra) is None
    assert fact("s3:x-amz-acl", asked, extra=extra) == "public-read"
    assert fact("aws:SourceVpc", asked, extra=extra) == "vpc-1"


def test_nothing_is_looked_up_before_it_is_asked_for() -> None:
    def tags() -> dict[str, str]:
        raise AssertionError("nobody asked for tags")

    facts = RequestFacts(request(), ANN, NOW, tags=tags)
    whole = policy(
        statement(
            Effect="Deny",
            Principal={"AWS": "b" * 64},
            Condition={"StringEquals": {"s3:ExistingObjectTag/a": "b"}},
        ),
        statement(Condition={"StringLike": {"aws:userid": "*"}}),
    )
    assert whole.decide(ANN, "GetObject", "photos/a", facts) is Verdict.ALLOW


# -- requests over the wire -----------------------------------------------------------------------


async def allowed_if(house: House, key: str, value: str, operator: str = "StringEquals") -> None:
    """All that is done in the bucket is denied, unless the key has the value."""
    negated = {
        "StringEquals": "StringNotEquals",
        "StringLike": "StringNotLike",
        "IpAddress": "NotIpAddress",
        "NumericLessThan": "NumericGreaterThanEquals",
    }[operator]
    denial = everything("s3:*", "Deny", Condition={negated: {key: value}})
    answer = await put_policy(house, everything("s3:*"), denial)
    assert answer.status == 204, answer


async def get(house: House, target: str = "/photos/cat", **how: Any) -> int:
    return (await house.ask("GET", target, **how)).status


async def presigned(house: House) -> int:
    client = house.boto(signature_version="s3v4")
    url = await asyncio.to_thread(
        client.generate_presigned_url, "get_object", {"Bucket": "photos", "Key": "cat"}
    )
    target = url.removeprefix(house.endpoint)
    return (await house.ask("GET", target, user=None)).status


@pytest.fixture
async def photos(house: House) -> House:
    await add_users(house)
    await house.bucket()
    assert (await house.ask("PUT", "/photos/cat", b"meow")).status == 200
    return house


async def test_the_way_of_a_request(photos: House) -> None:
    for key, operator, right, wrong in (
        ("aws:SourceIp", "IpAddress", "127.0.0.0/8", "10.0.0.0/8"),
        ("aws:SecureTransport", "StringEquals", "false", "true"),
        ("aws:RequestedRegion", "StringEquals", "paris", "us-east-1"),
        ("aws:username", "StringEquals", "ann@example.com", "ann"),
        ("aws:userid", "StringEquals", "a" * 64, "anonymous"),
    ):
        await allowed_if(photos, key, right, operator)
        assert await get(photos) == 200, key
        await allowed_if(photos, key, wrong, operator)
        assert await get(photos) == 403, key


async def test_the_page_that_links(photos: House) -> None:
    await allowed_if(photos, "aws:Referer", "https://example.com/*", "StringLike")
    assert await get(photos, headers={"Referer": "https://example.com/a"}) == 200
    assert await get(photos, headers={"Referer": "https://example.org/"}) == 403
    assert await get(photos, user=None, headers={"Referer": "https://example.com/"}) == 200
    assert await get(photos, user=None) == 403


async def test_kinds_of_signatures(photos: House) -> None:
    await allowed_if(photos, "s3:authType", "REST-HEADER")
    assert await get(photos) == 200
    assert await presigned(photos) == 403
    assert await get(photos, user=None) == 403
    await allowed_if(photos, "s3:authType", "REST-QUERY-STRING")
    assert await get(photos) == 403
    assert await presigned(photos) == 200


async def test_the_age_of_signatures(photos: House) -> None:
    await allowed_if(photos, "s3:signatureAge", "60000", "NumericLessThan")
    assert await presigned(photos) == 200
    assert await get(photos) == 200
    assert await get(photos, stamp=amz_date(-120)) == 403


async def test_forms(photos: House) -> None:
    """Their fields are their headers, and their date is that of their signature."""
    for key, operator, right, wrong in (
        ("s3:authType", "StringEquals", "POST", "REST-HEADER"),
        ("s3:x-amz-acl", "StringEquals", "private", "public-read"),
        ("s3:signatureAge", "NumericLessThan", "60000", "-60000"),
        ("s3:ObjectCreationOperation", "StringEquals", "true", "false"),
        ("s3:RequestObjectTag/team", "StringEquals", "red", "blue"),
    ):
        for value, status in ((right, 204), (wrong, 403)):
            negated = "NumericGreaterThan" if operator == "NumericLessThan" else "StringNotEquals"
            denial = everything("s3:PutObject", "Deny", Condition={negated: {key: value}})
            denial["Resource"] = OBJECTS
            assert (await put_policy(photos, everything("s3:*"), denial)).status == 204
            tags = "<Tag><Key>team</Key><Value>red</Value></Tag>"
            tags = f"<Tagging><TagSet>{tags}</TagSet></Tagging>"
            fields = {"key": "form", "acl": "private", "tagging": tags}
            document = form_policy(["starts-with", "$acl", ""], ["starts-with", "$tagging", ""])
            answer = await post(photos, form(signed_v4(fields, document)))
            assert answer.status == status, (key, value, answer)


async def test_listings(photos: House) -> None:
    one = everything("s3:ListBucket", Principal={"AWS": "b" * 64}, Resource=BUCKET)
    one["Condition"] = {
        "StringEquals": {"s3:prefix": "home/", "s3:delimiter": "/"},
        "NumericLessThanEquals": {"s3:max-keys": 10},
    }
    assert (await put_policy(photos, one)).status == 204
    for query, status in (
        ("prefix=home/&delimiter=/&max-keys=10", 200),
        ("list-type=2&prefix=home/&delimiter=/&max-keys=1", 200),
        ("prefix=home/&delimiter=/&max-keys=11", 403),
        ("prefix=home/&delimiter=/", 403),
        ("prefix=home/&max-keys=10", 403),
        ("prefix=&delimiter=/&max-keys=10", 403),
    ):
        assert await get(photos, f"/photos?{query}", user="bob") == status, query


async def test_a_denial_of_large_listings_is_of_listings(photos: House) -> None:
    """It leaves alone what has no number of keys."""
    condition = {"NumericGreaterThan": {"s3:max-keys": 10}}
    denial = everything("s3:*", "Deny", Resource=BUCKET, Condition=condition)
    assert (await put_policy(photos, denial)).status == 204
    assert await get(photos, "/photos") == 403
    assert await get(photos, "/photos?max-keys=10") == 200
    assert await get(photos, "/photos?location") == 200


async def test_a_parameter_more_does_not_hide_that_an_object_is_made(photos: House) -> None:
    condition = {
        "Null": {"s3:if-none-match": "true"},
        "Bool": {"s3:ObjectCreationOperation": "true"},
    }
    denial = everything("s3:PutObject", "Deny", Resource=OBJECTS, Condition=condition)
    assert (await put_policy(photos, denial)).status == 204
    for query in ("", "?x", "?x-id=PutObject"):
        target = f"/photos/new{quote(query)}{query}"
        assert (await photos.ask("PUT", target, b"1")).status == 403, query
        once = await photos.ask("PUT", target, b"1", {"If-None-Match": "*"})
        assert once.status == 200, query
    assert (await photos.ask("POST", "/photos/large?uploads")).status == 200
