"""Uploads by POST of a form, against a gateway."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from form_kit import BOUNDARY, FAR, form, part, policy, post, signed_v2, signed_v4
from gateway_kit import House, open_house, request_bytes

KEY = {"key": "k"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, signature_v2=True) as opened:
        await opened.bucket("photos", "ann")
        yield opened


async def test_a_form_signed_with_version_4(house: House) -> None:
    answer = await post(house, form(signed_v4(KEY, policy())))
    assert (answer.status, answer.body) == (204, b"")
    assert (await house.ask("GET", "/photos/k")).body == b"bytes"
    assert answer.headers["etag"] == (await house.ask("HEAD", "/photos/k")).headers["etag"]
    assert answer.headers["location"] == f"http://{house.host}/photos/k"


async def test_a_form_signed_with_version_2(house: House) -> None:
    assert (await post(house, form(signed_v2(KEY, policy())))).status == 204
    assert (await house.ask("GET", "/photos/k")).body == b"bytes"


async def test_version_2_is_refused_unless_it_is_on(tmp_path: Path) -> None:
    async with open_house(tmp_path) as off:
        await off.bucket("photos", "ann")
        answer = await post(off, form(signed_v2(KEY, policy())))
        assert (answer.status, answer.code) == (400, "InvalidRequest")


async def test_virtual_host(house: House) -> None:
    headers = {"Host": f"photos.localhost:{house.port}"}
    answer = await post(house, form(signed_v4(KEY, policy())), "/", headers)
    assert answer.status == 204
    assert answer.headers["location"] == f"http://photos.localhost:{house.port}/k"
    assert await house.keys() == ["k"]


async def test_boto_makes_such_forms(house: House) -> None:
    made = house.boto().generate_presigned_post(
        "photos", "up/${filename}", Fields={"acl": "private"}, Conditions=[{"acl": "private"}]
    )
    assert made["url"].endswith("/photos")
    assert (await post(house, form(made["fields"], filename="a b.txt"))).status == 204
    assert await house.keys() == ["up/a b.txt"]


@pytest.mark.parametrize("size", [0, 1, 65_536, 1 << 20, (1 << 20) + 1, 3_500_000])
@pytest.mark.parametrize("after", [None, {"submit": "Upload", "key": "other"}])
async def test_files_of_every_size(house: House, size: int, after: dict[str, str] | None) -> None:
    data = bytes(range(256)) * (size // 256) + b"\r\n--" * (size % 256 // 4) + b"-" * (size % 4)
    assert len(data) == size
    answer = await post(house, form(signed_v4(KEY, policy()), data, after=after))
    assert answer.status == 204
    assert (await house.ask("GET", "/photos/k")).body == data
    assert await house.keys() == ["k"]


async def test_fields_are_headers(house: House) -> None:
    fields = {
        "kEy": "k",
        "Content-Type": "text/plain",
        "Cache-Control": "no-cache",
        "x-amz-meta-Colour": "grün",
        "acl": "private",
        "x-ignore-this": "x",
    }
    conditions = [["starts-with", f"${name}", ""] for name in fields if name != "kEy"]
    answer = await post(house, form(signed_v4(fields, policy(*conditions[:-1]))))
    assert answer.status == 204
    head = (await house.ask("HEAD", "/photos/k")).headers
    assert head["content-type"] == "text/plain"
    assert head["cache-control"] == "no-cache"
    assert head["x-amz-meta-colour"].encode("utf-8", "surrogateescape").decode() == "grün"


@pytest.mark.parametrize(
    ("filename", "key"),
    [
        ("f.txt", "d/f.txt"),
        ("C:\\pictures\\f.txt", "d/f.txt"),
        ("/home/ann/f.txt", "d/f.txt"),
        ("../../f.txt", "d/f.txt"),
        ("ü ${filename}.txt", "d/ü ${filename}.txt"),
        ('a\\"b', 'd/a"b'),
    ],
)  # fmt: skip
async def test_the_name_of_the_file(house: House, filename: str, key: str) -> None:
    fields = signed_v4({"key": "d/${filename}"}, policy(["starts-with", "$key", "d/"]))
    assert (await post(house, form(fields, filename=filename))).status == 204
    assert await house.keys() == [key]


async def test_conditions_see_what_is_used(house: House) -> None:
    """`starts-with` on a key that becomes another one by the name of the file."""
    fields = signed_v4({"key": "${filename}"}, policy(["starts-with", "$key", "$"]))
    assert (await post(house, form(fields, filename="other"))).code == "AccessDenied"
    assert await house.keys() == []


async def test_status_and_document_of_success(house: House) -> None:
    for asked, status in (("200", 200), ("201", 201), ("204", 204), ("404", 204), ("", 204)):
        fields = {"key": "a&b <c>", "success_action_status": asked}
        rule = ["starts-with", "$success_action_status", ""]
        answer = await post(house, form(signed_v4(fields, policy(rule))))
        assert answer.status == status
        assert bool(answer.body) == (status == 201)
    answer = await post(
        house, form(signed_v4(fields | {"success_action_status": "201"}, policy(rule)))
    )
    assert answer.texts("Bucket") == ["photos"]
    assert answer.texts("Key") == ["a&b <c>"]
    assert answer.texts("ETag") == [answer.headers["etag"]]
    assert answer.texts("Location") == [f"http://{house.host}/photos/a%26b%20%3Cc%3E"]


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("https://example.com/done", "https://example.com/done?"),
        ("http://example.com/done?a=b#c", "http://example.com/done?a=b&"),
        ("javascript:alert(1)", None),
        ("//example.com", None),
        ("/done", None),
        ("http:", None),
        ("http://", None),
        ("http://example.com/\r\nSet-Cookie: a=b", None),
        ("http://example.com/a b", None),
        ("http://[", None),
        ("http://ex\\ample.com", None),
        ("http://example.com/" + "a" * 3000, None),
    ],
)
async def test_redirect_of_success(house: House, url: str, there: str | None) -> None:
    rule = ["starts-with", "$success_action_redirect", ""]
    fields = {"key": "a/ü", "success_action_redirect": url}
    answer = await post(house, form(signed_v4(fields, policy(rule))))
    if there is None:
        assert answer.status == 204
        assert answer.headers["location"] == f"http://{house.host}/photos/a/%C3%BC"
    else:
        etag = quote(answer.headers["etag"])
        query = f"bucket=photos&key=a%2F%C3%BC&etag={etag}"
        assert answer.status == 303
        assert answer.headers["location"].partition("#")[0] == there + query
    assert "set-cookie" not in answer.headers


async def test_a_checksum_is_verified(house: House) -> None:
    fields = KEY | {"x-amz-checksum-crc32": "QbO2bA=="}
    answer = await post(house, form(signed_v4(fields, policy())))
    assert answer.code == "BadDigest"
    answer = await post(house, form(signed_v4(KEY | {"x-amz-checksum-crc32": "x"}, policy())))
    assert answer.code == "InvalidRequest"
    assert await house.keys() == []


async def test_sizes(house: House) -> None:
    rule = ["content-length-range", 3, 2_000_000]
    for size, code in (
        (2, "EntityTooSmall"),
        (3, ""),
        (2_000_000, ""),
        (2_000_001, "EntityTooLarge"),
    ):
        answer = await post(house, form(signed_v4({"key": str(size)}, policy(rule)), b"x" * size))
        assert answer.code == code, size
    assert await house.keys() == ["2000000", "3"]


def conditions(*more: Any) -> dict[str, Any]:
    return {"expiration": FAR, "conditions": list(more)}


ANY_KEY = ["starts-with", "$key", ""]
PHOTOS = {"bucket": "photos"}
DENIED = [
    ("expired", policy(expiration="2026-01-01T00:00:00Z"), KEY),
    ("another bucket", policy(bucket="bobs"), KEY),
    ("no bucket (Ceph CVE-2023-43040)", conditions(ANY_KEY), KEY),
    ("the bucket of another form (MinIO CVE-2023-28434)", policy(), KEY | {"bucket": "bobs"}),
    ("the bucket that the policy names", policy(bucket="bobs"), KEY | {"bucket": "bobs"}),
    ("no key", conditions(PHOTOS), KEY),
    ("another key", conditions(PHOTOS, {"key": "l"}), KEY),
    ("case of a value", conditions(PHOTOS, {"key": "K"}), KEY),
    ("start of a key", conditions(PHOTOS, ["starts-with", "$key", "kk"]), KEY),
    ("a field too many", policy(), KEY | {"x-amz-meta-a": "b"}),
    ("an acl too many (MinIO CVE-2021-21362)", policy(), KEY | {"acl": "public-read"}),
    ("a redirect too many", policy(), KEY | {"success_action_redirect": "http://a/"}),
    ("a field without meaning", policy(), KEY | {"colour": "red"}),
    ("a field that is missing", policy(["starts-with", "$x-amz-meta-a", ""]), KEY),
    ("types of a list", policy(["starts-with", "$Content-Type", "image/"]),
     KEY | {"Content-Type": "image/png,text/html"}),
]  # fmt: skip


@pytest.mark.parametrize(("what", "document", "fields"), DENIED, ids=[row[0] for row in DENIED])
async def test_what_a_policy_denies(
    house: House, what: str, document: dict[str, Any], fields: dict[str, str]
) -> None:
    await house.bucket("bobs", "bob")
    for signed in (signed_v4(fields, document), signed_v2(fields, document)):
        answer = await post(house, form(signed))
        assert (answer.status, answer.code) == (403, "AccessDenied")
        (message,) = answer.texts("Message")
        assert message.startswith("Invalid according to Policy: ")
        assert message.endswith("Policy expired.") == (what == "expired")
    assert await house.keys() == []


INVALID = [
    "",
    "x",
    "////",
    "bnVsbA==",  # null
    "W10=",  # []
    "e30=",  # {}
    "eyJhIjox\r\n",
    {"conditions": []},
    {"expiration": FAR},
    {"EXPIRATION": FAR, "conditions": []},
    {"expiration": FAR, "CONDITIONS": []},
    {"expiration": FAR, "conditions": [], "version": 1},
    {"expiration": FAR, "conditions": {}},
    {"expiration": FAR, "conditions": [{"key": "k"}] * 201},
    {"expiration": "2030-01-01 00:00:00", "conditions": []},
    {"expiration": "2030-01-01T00:00:00", "conditions": []},
    {"expiration": "2030-13-01T00:00:00Z", "conditions": []},
    {"expiration": "٢٠٣٠-01-01T00:00:00Z", "conditions": []},
    {"expiration": "", "conditions": []},
    {"expiration": 1, "conditions": []},
    {"expiration": None, "conditions": []},
    *(
        conditions(PHOTOS, ANY_KEY, condition)
        for condition in (
            *({}, {"a": "b", "c": "d"}, {"a": 1}, {"a": None}, [], "eq", 1, None, [1, 2, 3]),
            *(["eq", "key", "k"], ["eq", "$key"], ["eq", "$key", "k", "k"], ["eq", "$key", 1]),
            *(["matches", "$key", "k"], ["eq", 1, "k"], ["eq", ["$key"], "k"]),
            *(["content-length-range", 0], ["content-length-range", -1, 0]),
            *(["content-length-range", 2, 1], ["content-length-range", "a", 1]),
            *(["content-length-range", 0, 1.5], ["content-length-range", True, 5]),
            *(["content-length-range", "٣", "٣"], ["content-length-range", 0, "9" * 30]),
        )
    ),
]


@pytest.mark.parametrize("document", INVALID, ids=str)
async def test_what_is_no_policy(house: House, document: Any) -> None:
    answer = await post(house, form(signed_v4(KEY, document)))
    code = "InvalidArgument" if document == "" else "InvalidPolicyDocument"
    assert (answer.status, answer.code) == (400, code)
    assert await house.keys() == []


async def test_signatures_that_are_wrong(house: House) -> None:
    good = signed_v4(KEY, policy())
    old = signed_v2(KEY, policy())
    day = 86_400
    for fields, code in [
        (signed_v4(KEY, policy(), secret="x"), "SignatureDoesNotMatch"),
        (signed_v4(KEY, policy(), user="eve"), "InvalidAccessKeyId"),
        (signed_v2(KEY, policy(), secret="x"), "SignatureDoesNotMatch"),
        (signed_v2(KEY, policy(), user="eve"), "InvalidAccessKeyId"),
        (good | {"policy": signed_v4(KEY, policy())["policy"] + " "}, "SignatureDoesNotMatch"),
        (good | {"x-amz-signature": good["x-amz-signature"].upper()}, "SignatureDoesNotMatch"),
        (good | {"x-amz-algorithm": "AWS4-HMAC-SHA1"}, "InvalidArgument"),
        (good | {"x-amz-date": "x"}, "InvalidArgument"),
        (good | {"x-amz-credential": "AKANN"}, "InvalidArgument"),
        (good | {"x-amz-security-token": "x"}, "InvalidToken"),
        (good | old, "InvalidArgument"),
        (signed_v4(KEY, policy(), shift_s=890), ""),
        (signed_v4(KEY, policy(), shift_s=902), "AccessDenied"),
        (signed_v4(KEY, policy(), shift_s=-7 * day + 10), ""),
        (signed_v4(KEY, policy(), shift_s=-7 * day - 2), "AccessDenied"),
        *(({n: v for n, v in good.items() if n != name}, "InvalidArgument")
          for name in good if name not in ("key", "policy")),
        ({n: v for n, v in good.items() if n != "policy"}, "InvalidArgument"),
        *(({n: v for n, v in old.items() if n != name}, "InvalidArgument")
          for name in ("AWSAccessKeyId", "signature", "policy")),
    ]:  # fmt: skip
        answer = await post(house, form(fields))
        assert answer.code == code, fields
        assert answer.status == (204 if not code else answer.status)


async def test_anonymous_forms_are_denied_where_nothing_allows_them(house: House) -> None:
    assert (await post(house, form(KEY))).code == "AccessDenied"
    assert (await post(house, form(KEY | {"policy": ""}))).status in (400, 403)
    assert await house.keys() == []


async def test_another_user_may_not_post(house: House) -> None:
    assert (await post(house, form(signed_v4(KEY, policy(), user="bob")))).code == "AccessDenied"


async def test_headers_that_no_policy_covers_are_refused(house: House) -> None:
    """As on presigned URLs: MinIO CVE-2026-97731, Swift CVE-2026-71191."""
    for name in ("x-amz-acl", "x-amz-meta-a", "x-amz-copy-source", "X-Amz-Storage-Class"):
        answer = await post(house, form(signed_v4(KEY, policy())), headers={name: "a"})
        assert (answer.status, answer.code) == (403, "AccessDenied")


async def test_fields_that_say_how_a_body_is_sent_are_refused(house: House) -> None:
    for name in ("x-amz-content-sha256", "x-amz-trailer", "x-amz-decoded-content-length"):
        document = policy(["starts-with", f"${name}", ""])
        answer = await post(house, form(signed_v4(KEY | {name: "x"}, document)))
        assert answer.code == "InvalidArgument"
    for name in ("x-amz-copy-source", "x-amz-nonsense"):
        document = policy(["starts-with", f"${name}", ""])
        answer = await post(house, form(signed_v4(KEY | {name: "/photos/a"}, document)))
        assert answer.code == "NotImplemented"
    assert await house.keys() == []


async def test_a_signed_request_with_a_form(house: House) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = await house.ask("POST", "/photos", form(KEY), headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "multipart/mixed; boundary=a", "application/x-www-form-urlencoded"],
)
async def test_what_is_no_form(house: House, content_type: str) -> None:
    answer = await post(house, b"a=b", content_type=content_type)
    assert (answer.status, answer.code) == (412, "PreconditionFailed")


async def test_what_a_form_lacks(house: House) -> None:
    for body, name in (
        (form({}), "key"),
        (form({"key": ""}), "key"),
        (form(KEY, None), "file"),
        (form({}, None), "file"),
        (form(signed_v4({}, policy())), "key"),
    ):
        answer = await post(house, body)
        assert (answer.status, answer.code) in ((400, "InvalidArgument"), (403, "AccessDenied"))
        if answer.status == 400:
            assert answer.texts("ArgumentName") == [name]


async def test_a_form_of_unknown_length(house: House) -> None:
    head = {
        "Host": house.host,
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Transfer-Encoding": "chunked",
    }
    answer = await house.raw(request_bytes("POST", "/photos", head, b"0\r\n\r\n"))
    assert (answer.status, answer.code) == (411, "MissingContentLength")


async def test_keys_that_cannot_be(house: House) -> None:
    for key, code in (("k" * 1025, "KeyTooLongError"), ("a\0b", "InvalidURI")):
        assert (await post(house, form(signed_v4({"key": key}, policy())))).code == code
    for key in ("../../etc/passwd", "/a//b/", "a\r\nSet-Cookie: a=b", "%2e%2e%2f"):
        answer = await post(house, form(signed_v4({"key": key}, policy())))
        assert answer.status == 204
        assert "set-cookie" not in answer.headers
        assert (await house.ask("GET", f"/photos/{quote(key, safe='')}")).body == b"bytes"


async def test_values_that_cannot_be_sent_again(house: House) -> None:
    """Ceph GHSA-cggp-94xr-prm6: CR and LF in what becomes a header."""
    for name in ("Content-Type", "Cache-Control", "x-amz-meta-a"):
        document = policy(["starts-with", f"${name}", ""])
        for value in ("a\r\nb: c", "a\nb", "a\0b"):
            answer = await post(house, form(signed_v4(KEY | {name: value}, document)))
            assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert await house.keys() == []


async def test_a_form_cut_short_is_never_an_object(house: House) -> None:
    body = form(signed_v4(KEY, policy()), b"x" * 50)
    head = {
        "Host": house.host,
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
    }
    for size in (*range(0, len(body), 41), *range(len(body) - 60, len(body) - 2)):
        answer = await post(house, body[:size])
        assert (answer.status, answer.code) == (400, "MalformedPOSTRequest") or size == 0
        _, writer = await house.connect()
        whole = request_bytes("POST", "/photos", {**head, "Content-Length": str(len(body))})
        writer.write(whole + body[:size])
        writer.close()
    assert await house.keys() == []


async def test_too_many_fields(house: House) -> None:
    many = {f"x-ignore-{number}": "a" * 100 for number in range(200)}
    assert (await post(house, form(many | KEY))).code == "MaxPostPreDataLengthExceededError"
    one = part("a", b"a" * 3_000_000)
    assert (await post(house, one)).code == "MaxPostPreDataLengthExceededError"


async def test_a_large_file_is_taken_as_it_comes(house: House) -> None:
    """What is sent in pieces, with the delimiter cut anywhere."""
    body = form(signed_v4(KEY, policy()), b"y" * 2_000_000, after={"submit": "x"})
    head = {
        "Host": house.host,
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(body)),
        "Expect": "100-continue",
    }
    reader, writer = await house.connect()
    writer.write(request_bytes("POST", "/photos", head))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    end = len(body) - 130
    writer.write(body[:end])
    for at in range(end, len(body)):
        await asyncio.sleep(0)
        writer.write(body[at : at + 1])
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
    writer.close()
    assert (await house.ask("GET", "/photos/k")).body == b"y" * 2_000_000


async def test_forms_of_two_users_at_a_time(house: House) -> None:
    """Who has signed one is not mixed up with who signs another while its file arrives."""
    body = form(signed_v4(KEY, policy(), user="bob"))
    head = {
        "Host": house.host,
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(body)),
    }
    reader, writer = await house.connect()
    writer.write(request_bytes("POST", "/photos", head, body[:-50]))
    await writer.drain()
    for _ in range(20):
        assert (await house.ask("GET", "/photos")).status == 200
    assert (await post(house, form(signed_v4({"key": "l"}, policy())))).status == 204
    writer.write(body[-50:])
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 403")
    writer.close()
    assert await house.keys() == ["l"]
