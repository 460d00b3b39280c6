"""Buckets as websites, as browsers see them."""

import json
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import Answer, House, open_house

SITE = "photos.s3-website.localhost"
INDEX = {"IndexDocument": {"Suffix": "index.html"}}
ERROR = {"ErrorDocument": {"Key": "error.html"}}
PUBLIC = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::photos/*",
        },
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:ListBucket",
            "Resource": "arn:aws:s3:::photos",
        },
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::photos/private*",
        },
    ],
}


async def open_site(house: House, site: dict[str, Any] | None, public: bool = True) -> None:
    if house.names.directory.bucket("photos") is None:
        await house.bucket()
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    registers = {"website": "" if site is None else json.dumps(site)}
    if public:
        registers["policy"] = json.dumps(PUBLIC)
    await house.names.set_bucket_registers(bucket.id, registers)


async def put(house: House, key: str, body: bytes = b"", **headers: str) -> None:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await house.ask("PUT", f"/photos/{key}", body or key.encode(), said)
    assert answer.status == 200


async def visit(
    house: House, path: str, method: str = "GET", host: str = SITE, **headers: str
) -> Answer:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return await house.ask(method, path, headers={"Host": host, **said}, user=None)


def code_of(answer: Answer) -> str:
    """The code in an error of HTML."""
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = answer.body.decode()
    assert f"<h1>{answer.status} " in text
    assert answer.headers["x-amz-error-code"] in text
    return answer.headers["x-amz-error-code"]


async def test_index_documents(house: House) -> None:
    await open_site(house, INDEX)
    for key in ("index.html", "a/index.html", "a//index.html", "page.html"):
        await put(house, key, Content_Type="text/html")
    for path, body in (
        ("/", b"index.html"),
        ("", b"index.html"),
        ("/a/", b"a/index.html"),
        ("/a//", b"a//index.html"),
        ("/page.html", b"page.html"),
        ("/page.html?versionId=x&acl&response-content-type=text/plain", b"page.html"),
    ):
        answer = await visit(house, path or "/", host=f"{SITE}:{house.port}")
        assert (answer.status, answer.body) == (200, body), path
        assert answer.headers["content-type"] == "text/html"
        head = await visit(house, path or "/", "HEAD")
        assert (head.status, head.headers["content-length"]) == (200, str(len(body)))


async def test_a_folder_leads_to_its_slash(house: House) -> None:
    await open_site(house, INDEX | ERROR)
    for key in ("a b/index.html", "private/index.html", "object", "object/index.html"):
        await put(house, key.replace(" ", "%20"), b"x")
    await put(house, "error.html", b"sorry")
    answer = await visit(house, "/a%20b")
    assert (answer.status, answer.headers["location"]) == (302, "/a%20b/")
    assert (await visit(house, "/object")).body == b"x"
    for path in ("/none", "/private", "/a"):
        answer = await visit(house, path)
        assert (answer.status, answer.body) == (403 if path == "/private" else 404, b"sorry")


async def test_a_folder_is_no_other_host(house: House) -> None:
    """Two slashes would make browsers leave for a host."""
    await open_site(house, INDEX)
    await put(house, "%2Fevil.example/index.html", b"x")
    for path in ("//evil.example", "/%2Fevil.example"):
        answer = await visit(house, path)
        assert (answer.status, answer.headers["location"]) == (302, "/%2Fevil.example/")
    assert (await visit(house, "/%2Fevil.example/")).body == b"x"


async def test_error_documents(house: House) -> None:
    await open_site(house, INDEX | ERROR)
    answer = await visit(house, "/none")
    assert (answer.status, code_of(answer)) == (404, "NoSuchKey")
    assert b"Custom Error Document" in answer.body
    await put(house, "error.html", b"sorry", Content_Type="text/plain")
    for path, status in (("/none", 404), ("/private-page", 403)):
        await put(house, "private-page", b"secret")
        answer = await visit(house, path, Range="bytes=0-1", If_None_Match="*")
        assert (answer.status, answer.body) == (status, b"sorry")
        assert answer.headers["content-type"] == "text/plain"
    head = await visit(house, "/none", "HEAD")
    assert (head.status, head.headers["content-length"]) == (404, "5")


async def test_a_large_error_document_keeps_its_status(house: House) -> None:
    await open_site(house, INDEX | ERROR)
    body = b"sorry" * 700_000
    await put(house, "error.html", body)
    answer = await visit(house, "/none")
    assert (answer.status, answer.body) == (404, body)


async def test_conditions_and_ranges(house: House) -> None:
    await open_site(house, INDEX)
    await put(house, "page", b"0123456789")
    etag = (await visit(house, "/page")).headers["etag"]
    assert (await visit(house, "/page", If_None_Match=etag)).status == 304
    answer = await visit(house, "/page", Range="bytes=2-3")
    assert (answer.status, answer.body) == (206, b"23")
    answer = await visit(house, "/page", Range="bytes=20-30")
    assert (answer.status, code_of(answer)) == (416, "InvalidRange")
    answer = await visit(house, "/page", If_Match='"x"')
    assert (answer.status, code_of(answer)) == (412, "PreconditionFailed")


async def test_objects_that_are_elsewhere(house: House) -> None:
    await open_site(house, INDEX)
    for there in ("/other", "https://example.com/a?b=c"):
        for size in (1, 3_000_000):
            await put(house, "page", b"x" * size, x_amz_website_redirect_location=there)
            answer = await visit(house, "/page")
            assert (answer.status, answer.headers["location"], answer.body) == (301, there, b"")
            assert (await visit(house, "/page", "HEAD")).status == 301
    got = await house.ask("GET", "/photos/page")
    assert got.status == 200
    assert got.headers["x-amz-website-redirect-location"] == there
    for there in ("other", "javascript:alert(1)", "ftp://example.com", "htt"):
        answer = await house.ask(
            "PUT", "/photos/page", b"", {"x-amz-website-redirect-location": there}
        )
        assert (answer.status, answer.code) == (400, "InvalidRedirectLocation")


async def test_a_copy_does_not_take_the_redirect_along(house: House) -> None:
    name, source = "x-amz-website-redirect-location", "x-amz-copy-source"
    await house.bucket()
    await put(house, "page", b"x", x_amz_website_redirect_location="/other")
    copy = {source: "/photos/page"}
    assert (await house.ask("PUT", "/photos/copy", b"", copy)).status == 200
    assert name not in (await house.ask("HEAD", "/photos/copy")).headers
    assert (await house.ask("PUT", "/photos/copy", b"", copy | {name: "/new"})).status == 200
    assert (await house.ask("HEAD", "/photos/copy")).headers[name] == "/new"
    itself = {source: "/photos/page", name: "/new"}
    assert (await house.ask("PUT", "/photos/page", b"", itself)).status == 200
    assert (await house.ask("HEAD", "/photos/page")).headers[name] == "/new"


RULES = [
    ({"Condition": {"KeyPrefixEquals": "docs/"}, "Redirect": {"ReplaceKeyPrefixWith": "papers/"}},
     "/docs/a%20b", 301, "/papers/a%20b"),
    ({"Condition": {"KeyPrefixEquals": "docs/"}, "Redirect": {"ReplaceKeyPrefixWith": ""}},
     "/docs//evil.example/a", 301, "/%2Fevil.example/a"),
    ({"Condition": {"KeyPrefixEquals": "old"}, "Redirect": {"ReplaceKeyWith": "new.html"}},
     "/older", 301, "/new.html"),
    ({"Redirect": {"HostName": "example.com"}}, "/a/b", 301, "http://example.com/a/b"),
    ({"Redirect": {"HostName": "example.com", "Protocol": "https", "HttpRedirectCode": "307"}},
     "/", 307, "https://example.com/"),
    ({"Redirect": {"Protocol": "https"}}, "/a", 301, f"https://{SITE}/a"),
    ({"Condition": {"HttpErrorCodeReturnedEquals": "404"},
      "Redirect": {"HostName": "example.com", "ReplaceKeyPrefixWith": "404/",
                   "HttpRedirectCode": "302"}}, "/none", 302, "http://example.com/404/none"),
    ({"Condition": {"HttpErrorCodeReturnedEquals": "404", "KeyPrefixEquals": "a/"},
      "Redirect": {"ReplaceKeyPrefixWith": "b/"}}, "/a/none", 301, "/b/none"),
    ({"Redirect": {"ReplaceKeyWith": "a", "HttpRedirectCode": "399"}}, "/b", 301, "/a"),
    ({"Redirect": {"ReplaceKeyWith": "a", "HttpRedirectCode": "304"}}, "/b", 301, "/a"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "path", "status", "there"), RULES, ids=[row[3] for row in RULES])
async def test_routing_rules(
    house: House, rule: dict[str, Any], path: str, status: int, there: str
) -> None:
    await open_site(house, INDEX | {"RoutingRules": [rule]})
    answer = await visit(house, path)
    assert (answer.status, answer.headers["location"], answer.body) == (status, there, b"")


async def test_rules_that_are_for_something_else(house: House) -> None:
    elsewhere = {"HostName": "example.com"}
    rules = [
        {"Condition": {"HttpErrorCodeReturnedEquals": "403"}, "Redirect": elsewhere},
        {"Condition": {"KeyPrefixEquals": "b"}, "Redirect": elsewhere},
        {"Condition": {"HttpErrorCodeReturnedEquals": "404", "KeyPrefixEquals": "c"},
         "Redirect": elsewhere},
    ]  # fmt: skip
    await open_site(house, INDEX | {"RoutingRules": rules})
    await put(house, "a")
    await put(house, "c")
    assert (await visit(house, "/a")).body == b"a"
    assert (await visit(house, "/c")).body == b"c"
    assert (await visit(house, "/d")).status == 404
    assert (await visit(house, "/private")).headers["location"] == "http://example.com/private"


async def test_the_host_of_a_redirect_is_not_made_up(house: House) -> None:
    rule = {"Redirect": {"Protocol": "https"}}
    await open_site(house, INDEX | {"RoutingRules": [rule]})
    for port, shown in (("8000", ":8000"), ("80@evil.example", ""), ("", "")):
        answer = await visit(house, "/a", host=f"{SITE}:{port}")
        assert answer.headers["location"] == f"https://{SITE}{shown}/a"


async def test_redirects_hold_no_line_breaks(house: House) -> None:
    rule = {"Condition": {"KeyPrefixEquals": "a"}, "Redirect": {"ReplaceKeyPrefixWith": "b"}}
    await open_site(house, INDEX | {"RoutingRules": [rule]})
    answer = await visit(house, "/a%0D%0ASet-Cookie:%20a=b")
    assert answer.headers["location"] == "/b%0D%0ASet-Cookie%3A%20a%3Db"
    assert "set-cookie" not in answer.headers
    everything = {"RedirectAllRequestsTo": {"HostName": "a\r\nSet-Cookie: a=b"}}
    await open_site(house, everything)
    answer = await visit(house, "/a")
    assert "set-cookie" not in answer.headers


async def test_everything_elsewhere(house: House) -> None:
    everything: dict[str, Any] = {"RedirectAllRequestsTo": {"HostName": "example.com"}}
    await open_site(house, everything, public=False)
    answer = await visit(house, "/a%20b/c?d=e")
    assert (answer.status, answer.headers["location"]) == (301, "http://example.com/a%20b/c?d=e")
    everything["RedirectAllRequestsTo"]["Protocol"] = "https"
    await open_site(house, everything, public=False)
    assert (await visit(house, "//x")).headers["location"] == "https://example.com/%2Fx"


async def test_what_is_no_website(house: House) -> None:
    await open_site(house, None)
    for host, status, code in (
        (SITE, 404, "NoSuchWebsiteConfiguration"),
        ("none-such.s3-website.localhost", 404, "NoSuchBucket"),
        ("A_b.s3-website.localhost", 400, "InvalidBucketName"),
        ("s3-website.localhost", 400, "InvalidBucketName"),
    ):
        answer = await visit(house, "/", host=host)
        assert (answer.status, code_of(answer)) == (status, code), host


async def test_only_reading(house: House) -> None:
    await open_site(house, INDEX)
    await put(house, "a")
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        answer = await visit(house, "/a", method)
        assert (answer.status, code_of(answer)) == (405, "MethodNotAllowed")
        signed = await house.ask(method, "/a", headers={"Host": SITE})
        assert signed.status == 405
    assert await house.keys() == ["a"]


async def test_a_signature_opens_nothing(house: House) -> None:
    """Not even the owner's: a website is what anyone sees."""
    await open_site(house, INDEX, public=False)
    await put(house, "a")
    for user in ("ann", None):
        answer = await house.ask("GET", "/a", headers={"Host": SITE}, user=user)
        assert (answer.status, code_of(answer)) == (403, "AccessDenied")
    wrong = await house.ask("GET", "/a", headers={"Host": SITE}, secret="wrong")
    assert code_of(wrong) == "AccessDenied"


async def test_html_is_escaped(house: House) -> None:
    await open_site(house, INDEX)
    answer = await visit(house, "/%3Cscript%3Ealert(1)%3C/script%3E")
    assert answer.status == 404
    assert b"<script>" not in answer.body
    assert b"&lt;script&gt;" in answer.body


async def test_paths_that_cannot_be(house: House) -> None:
    await open_site(house, INDEX | ERROR)
    for path in ("/" + "a" * 1025, "/a%00b", "/" + "a" * 1020, "/..%2F..%2Fetc%2Fpasswd"):
        assert (await visit(house, path)).status == 404
    for path in ("/%ff", "/%", "/%zz"):
        assert code_of(await visit(house, path)) == "InvalidURI"


async def test_cors_and_websites(house: House) -> None:
    await open_site(house, INDEX)
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    rules = {"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}]}
    await house.names.set_bucket_registers(bucket.id, {"cors": json.dumps(rules)})
    await put(house, "a")
    asked = {"Origin": "https://a", "Access_Control_Request_Method": "GET"}
    assert (await visit(house, "/a", "OPTIONS", **asked)).status == 200
    for path in ("/a", "/none"):
        answer = await visit(house, path, Origin="https://a")
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_other_domains(tmp_path: Path) -> None:
    async with open_house(tmp_path, website_domains=("pages.example", "sites.example")) as house:
        await open_site(house, {"RedirectAllRequestsTo": {"HostName": "a"}})
        for host in ("photos.pages.example", "PHOTOS.Sites.Example:80"):
            assert (await visit(house, "/", host=host)).status == 301
        assert (await visit(house, "/", host="photos.notpages.example")).status != 301
        assert (await visit(house, "/", host=SITE)).status != 301
