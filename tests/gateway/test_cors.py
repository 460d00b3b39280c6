"""CORS: preflights, and the header lines of other answers."""

import json
from typing import Any

import pytest
from gateway_kit import Answer, House
from hypothesis import given
from hypothesis import strategies as st

from gateway.cors import _fits


async def with_rules(house: House, *rules: dict[str, Any]) -> None:
    if house.names.directory.bucket("photos") is None:
        await house.bucket()
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    await house.names.set_bucket_registers(bucket.id, {"cors": json.dumps({"CORSRules": rules})})


def rule(origin: str = "*", *methods: str, **more: Any) -> dict[str, Any]:
    return {"AllowedOrigins": [origin], "AllowedMethods": methods or ["GET"], **more}


async def preflight(
    house: House, origin: str, method: str = "GET", headers: str = "", target: str = "/photos/k"
) -> Answer:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return await house.ask("OPTIONS", target, headers=asked, user=None)


def cors_of(answer: Answer) -> dict[str, str]:
    return {n[15:]: v for n, v in answer.headers.items() if n.startswith("access-control-")}


async def test_what_a_preflight_is_told(house: House) -> None:
    await with_rules(
        house,
        rule(
            "https://a.example",
            *("GET", "PUT"),
            AllowedHeaders=["x-amz-*", "Content-Type"],
            ExposeHeaders=["ETag", "x-amz-request-id"],
            MaxAgeSeconds=3000,
        ),
    )
    for target in ("/photos", "/photos/k", "/photos/no/such/key?acl&X-Amz-Signature=x"):
        answer = await preflight(
            house, "https://a.example", "PUT", "content-type, X-Amz-Date", target
        )
        assert (answer.status, answer.body) == (200, b"")
        assert cors_of(answer) == {
            "allow-origin": "https://a.example",
            "allow-methods": "GET, PUT",
            "allow-headers": "content-type, x-amz-date",
            "expose-headers": "ETag, x-amz-request-id",
            "max-age": "3000",
            "allow-credentials": "true",
        }
        assert answer.headers["vary"].startswith("Origin, ")


@pytest.mark.parametrize(
    ("pattern", "origin", "fits"),
    [
        ("*suffix", "foo.suffix", True),
        ("*suffix", "foo.suffix.get", False),
        ("start*end", "startend", True),
        ("start*end", "start12end", True),
        ("start*end", "0start12end", False),
        ("aba*ba", "aba", False),
        ("prefix*", "prefix", True),
        ("https://a.example", "https://A.example", False),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example.evil", False),
        ("https://*.a.example", "https://evila.example", False),
        ("null", "null", True),
    ],
)
async def test_origins(house: House, pattern: str, origin: str, fits: bool) -> None:
    await with_rules(house, rule(pattern))
    answer = await preflight(house, origin)
    got = await house.ask("GET", "/photos", headers={"Origin": origin})
    assert answer.status == (200 if fits else 403)
    assert got.status == 200
    for one in (answer, got):
        assert cors_of(one).get("allow-origin") == (origin if fits else None)
    if not fits:
        assert answer.code == "AccessForbidden"
        assert answer.texts("ResourceType") == ["OBJECT"]


async def test_everyone_is_a_star_without_credentials(house: House) -> None:
    """RustFS GHSA-v9fg, Ceph CVE-2020-27839: an origin that may be any must not come with
    credentials, and no answer sets a cookie that they would be."""
    for pattern, shown in (("*", "*"), ("https://*", "https://a"), ("*.a", "https://b.a")):
        await with_rules(house, rule(pattern))
        for answer in (
            await preflight(house, shown if shown != "*" else "https://a"),
            await house.ask("GET", "/photos", headers={"Origin": shown.replace("*", "https://a")}),
        ):
            assert cors_of(answer) == {"allow-origin": shown, "allow-methods": "GET"}
            assert "set-cookie" not in answer.headers


async def test_the_first_rule_that_allows_all_counts(house: House) -> None:
    await with_rules(
        house,
        rule("https://a", "PUT", MaxAgeSeconds=1),
        rule("https://a", "GET", AllowedHeaders=["x-a"], MaxAgeSeconds=2),
        rule("*", "GET", AllowedHeaders=["*"], MaxAgeSeconds=3),
        rule("*", "GET", AllowedHeaders=["x-b"], MaxAgeSeconds=4),
    )
    for origin, method, headers, age in (
        ("https://a", "PUT", "", "1"),
        ("https://a", "GET", "", "2"),
        ("https://a", "GET", "X-A", "2"),
        ("https://a", "GET", "X-A,x-b", "3"),
        ("https://b", "GET", "x-b", "3"),
    ):
        assert cors_of(await preflight(house, origin, method, headers))["max-age"] == age
    for method, headers in (("PUT", "x-a"), ("DELETE", ""), ("HEAD", "")):
        assert (await preflight(house, "https://a", method, headers)).code == "AccessForbidden"


async def test_what_is_no_preflight(house: House) -> None:
    await with_rules(house, rule())
    for headers in (
        {},
        {"Access-Control-Request-Method": "GET"},
        {"Origin": "https://a"},
        *({"Origin": "a", "Access-Control-Request-Method": m} for m in ("", "get", "PATCH", "a b")),
    ):
        answer = await house.ask("OPTIONS", "/photos/k", headers=headers, user=None)
        assert (answer.status, answer.code) == (400, "BadRequest")
        assert not cors_of(answer)


async def test_buckets_without_rules_and_no_buckets(house: House) -> None:
    await house.bucket()
    answer = await preflight(house, "https://a")
    assert (answer.status, answer.code) == (403, "AccessForbidden")
    assert answer.texts("Message") == ["CORSResponse: CORS is not enabled for this bucket."]
    assert (await preflight(house, "https://a", target="/none-such")).code == "NoSuchBucket"
    assert (await preflight(house, "https://a", target="/")).code == "InvalidBucketName"
    got = await house.ask("GET", "/photos", headers={"Origin": "https://a"})
    assert not cors_of(got)


async def test_errors_and_streams_have_the_lines_too(house: House) -> None:
    await with_rules(house, rule("*", "GET", "PUT"))
    origin = {"Origin": "https://a"}
    assert (await house.ask("PUT", "/photos/big", b"x" * 3_000_000, origin)).status == 200
    for answer in (
        await house.ask("GET", "/photos/big", headers=origin),
        await house.ask("GET", "/photos/none", headers=origin),
        await house.ask("GET", "/photos/none", headers=origin, user=None),
        await house.ask("GET", "/photos/none", headers=origin, secret="wrong"),
    ):
        assert cors_of(answer)["allow-origin"] == "*"
    assert not cors_of(await house.ask("DELETE", "/photos/big", headers=origin))
    assert not cors_of(await house.ask("GET", "/photos"))


async def test_a_preflight_permits_nothing(house: House) -> None:
    await with_rules(house, rule("*", "GET", "PUT"))
    origin = {"Origin": "https://a"}
    assert (await preflight(house, "https://a", "PUT")).status == 200
    assert (await house.ask("PUT", "/photos/k", b"x", origin, user=None)).code == "AccessDenied"
    assert await house.keys() == []


async def test_the_method_that_is_announced_counts(house: House) -> None:
    await with_rules(house, rule("*", "GET"))
    asked = {"Origin": "a", "Access-Control-Request-Method": "GET"}
    assert cors_of(await house.ask("PUT", "/photos/k", b"", asked))["allow-methods"] == "GET"
    asked["Access-Control-Request-Method"] = "PUT"
    assert not cors_of(await house.ask("GET", "/photos", headers=asked))


async def test_many_headers_are_not_allowed(house: House) -> None:
    await with_rules(house, rule("*", AllowedHeaders=["*"]))
    assert (await preflight(house, "a", headers=",".join(["x"] * 100))).status == 200
    assert (await preflight(house, "a", headers=",".join(["x"] * 101))).status == 403


async def test_origins_that_are_none(house: House) -> None:
    await with_rules(house, rule("https://*"))
    for origin in ("https://\x01", "https://ü", "https://" + "a" * 7000, "https://a, https://b"):
        answer = await preflight(house, origin)
        assert answer.status in (200, 400)
        assert "set-cookie" not in answer.headers


@given(st.text("ab*", max_size=6), st.text("ab", max_size=8))
def test_patterns_against_a_plain_search(pattern: str, text: str) -> None:
    if pattern.count("*") < 2:
        start, _, end = pattern.partition("*")
        middles = [text[len(start) : at] for at in range(len(text) + 1)]
        found = any(start + middle + end == text for middle in middles)
        assert _fits(text, pattern) == (found if "*" in pattern else text == pattern)
