"""Every operation of S3 x every way to sign x {right, wrong secret, another's secret, unknown key,
revoked key, none, other kinds}.

Published as MinIO CVE-2025-31489, CVE-2026-40344, CVE-2026-41145, CVE-2021-21390; SeaweedFS 7912,
2180. Nothing but a right signature of who may does anything. The operations are those of the model,
so a new one is in the matrix by itself.
"""

import hashlib
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from form_kit import form, policy, post, signed_v2, signed_v4
from gateway_kit import SECRETS, Answer, House, amz_date, open_house, request_bytes
from security_kit import Route, presign, route, sign_v2

from gateway.model.shapes import OPERATIONS
from gateway.operations import OPERATIONS as ROWS

KINDS = ["v4 header", "v4 query", "v2 header", "v2 query"]
FAULTS = {
    "wrong secret": ({"secret": "wrong"}, "SignatureDoesNotMatch"),
    "another's secret": ({"secret": "secret of bob"}, "SignatureDoesNotMatch"),
    "unknown key": ({"user": "eve"}, "InvalidAccessKeyId"),
    "revoked key": ({"user": "rae"}, "InvalidAccessKeyId"),
}
OTHER_KINDS = [
    "Basic QUtBTk46c2VjcmV0IG9mIGFubg==",
    "Bearer AKANN",
    "aws AKANN:AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "AWS4-ECDSA-P256-SHA256 Credential=AKANN/20260101/s3/aws4_request, SignedHeaders=host, "
    "Signature=00",
    "AWS4-HMAC-SHA256",
    "AWS",
    "",
]
OPEN = {"ListBuckets"}
"""What needs no signature: it gives nothing then."""
EACH_KEY = {"DeleteObjects"}
"""What is refused for each key of its body by itself: see `test_many_keys`."""


ROUTES = [route(name) for name in OPERATIONS]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, signature_v2=True) as opened:
        await opened.bucket("photos", "ann")
        yield opened


async def send(
    house: House, one: Route, kind: str, *, user: str = "ann", secret: str | None = None
) -> Answer:
    method, target, headers = one.method, one.target, one.headers
    if kind == "v4 header":
        return await house.ask(method, target, headers=headers, user=user, secret=secret)
    if kind == "v4 query":
        target = presign(house.host, method, target, user=user, secret=secret, headers=headers)
        sent = {"Host": house.host, **headers}
    else:
        expires = None if kind == "v2 header" else int(time.time()) + 60
        target, sent = sign_v2(
            house.host, method, target, user=user, secret=secret, expires=expires, headers=headers
        )
    return await house.raw(request_bytes(method, target, {**sent, "Content-Length": "0"}), method)


async def untouched(house: House) -> None:
    assert (await house.ask("GET", "/photos/kept")).body == b"kept"
    assert await house.keys() == ["kept"]


async def kept(house: House) -> None:
    if house.names.directory.bucket("photos") is None:
        await house.bucket("photos", "ann")
    assert (await house.ask("PUT", "/photos/kept", b"kept")).status == 200


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_bad_signatures(
    house: House, kind: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept(house)
    monkeypatch.setitem(SECRETS, "AKRAE", SECRETS["AKBOB"]._replace(secret="secret of rae"))
    right = await send(house, route("ListBuckets"), kind, user="rae")
    assert right.status == 200
    monkeypatch.delitem(SECRETS, "AKRAE")
    signing, code = FAULTS[fault]
    for one in ROUTES:
        answer = await send(house, one, kind, **signing)
        assert answer.status == 403, one
        assert answer.code == ("" if one.method == "HEAD" else code), one
    await untouched(house)


@pytest.mark.parametrize("kind", KINDS)
async def test_right_signatures(house: House, kind: str) -> None:
    """All that is wrong with any of them is not the signature."""
    for one in ROUTES:
        await kept(house)
        answer = await send(house, one, kind)
        assert answer.status not in (403, 500), (one, answer)
        if one.name not in ROWS:
            assert answer.status in (501, 405, 400), (one, answer)


@pytest.mark.parametrize("kind", KINDS)
async def test_another_user(house: House, kind: str) -> None:
    """A right signature of who does not own the bucket."""
    await kept(house)
    for one in ROUTES:
        answer = await send(house, one, kind, user="bob")
        if one.name == "ListBuckets":
            assert answer.texts("Bucket") == []
        elif one.name == "CreateBucket":
            assert answer.code == "BucketAlreadyExists"
        elif one.name in EACH_KEY:
            assert answer.status == 400, (one, answer)
        elif one.name in ROWS:
            assert answer.status == 403, (one, answer)
        else:
            assert answer.status in (403, 501), (one, answer)
    await untouched(house)


async def test_none_and_other_kinds(house: House) -> None:
    await kept(house)
    for one in ROUTES:
        answer = await house.ask(one.method, one.target, headers=one.headers, user=None)
        if one.name in OPEN:
            assert (answer.status, answer.texts("Bucket")) == (200, [])
        elif one.name in EACH_KEY:
            assert answer.status == 400, (one, answer)
        elif one.name in ROWS:
            assert answer.status == 403, (one, answer)
        else:
            assert answer.status in (403, 501), (one, answer)
        for kind in OTHER_KINDS:
            headers = {**one.headers, "Authorization": kind}
            answer = await house.ask(one.method, one.target, headers=headers, user=None)
            assert answer.status in (400, 403), (one, kind)
    await untouched(house)


@pytest.mark.parametrize("user", ["bob", None])
async def test_many_keys(house: House, user: str | None) -> None:
    await kept(house)
    body = b"<Delete><Object><Key>kept</Key></Object><Object><Key>none</Key></Object></Delete>"
    md5 = b64encode(hashlib.md5(body).digest()).decode()
    answer = await house.ask("POST", "/photos?delete", body, {"Content-MD5": md5}, user=user)
    assert (answer.status, answer.texts("Code")) == (200, ["AccessDenied"] * 2)
    assert answer.texts("Deleted") == []
    await untouched(house)


async def test_methods_that_are_no_operation(house: House) -> None:
    await kept(house)
    for method in ("PATCH", "TRACE", "CONNECT", "PROPFIND"):
        for target in ("/", "/photos", "/photos/kept"):
            for user in (None, "ann", "bob"):
                answer = await house.ask(method, target, user=user)
                assert answer.status in (400, 403, 405), (method, target, user)
    await untouched(house)


@pytest.mark.parametrize("fault", FAULTS)
async def test_forms(house: House, fault: str) -> None:
    await kept(house)
    signing, code = FAULTS[fault]
    for signed in (signed_v4, signed_v2):
        answer = await post(house, form(signed({"key": "kept"}, policy(), **signing)))
        assert (answer.status, answer.code) == (403, code)
        answer = await post(house, form(signed({"key": "kept"}, policy(), user="bob")))
        assert (answer.status, answer.code) == (403, "AccessDenied")
    answer = await post(house, form({"key": "kept"}))
    assert (answer.status, answer.code) == (403, "AccessDenied")
    await untouched(house)


@pytest.mark.parametrize(("shift", "good"), [(898, 1), (-898, 1), (903, 0), (-903, 0)])
async def test_clock_skew(house: House, shift: int, good: bool) -> None:
    """Of the kinds that are bound to the moment; the others end by themselves."""
    stamp = amz_date(shift)
    version_4 = await house.ask("GET", "/photos", stamp=stamp)
    target, headers = sign_v2(house.host, "GET", "/photos", date=stamp)
    version_2 = await house.raw(request_bytes("GET", target, headers))
    url = presign(house.host, "GET", "/photos", shift_s=shift)
    presigned = await house.raw(request_bytes("GET", url, {"Host": house.host}))
    fields = signed_v4({"key": "k"}, policy(), shift_s=shift)
    posted = await post(house, form(fields))
    for answer in (version_4, version_2):
        assert answer.code == ("" if good else "RequestTimeTooSkewed")
    # A URL of 300 s has ended when it was made earlier; a form holds for days.
    assert presigned.code == ("" if good and shift > 0 else "AccessDenied")
    assert posted.code == ("" if good or shift < 0 else "AccessDenied")


async def test_payload_modes_do_not_stand_for_a_signature(house: House) -> None:
    for mode in (
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    ):
        headers = {"x-amz-content-sha256": mode, "x-amz-decoded-content-length": "0"}
        body = b"0\r\n\r\n"
        anonymous = await house.ask("PUT", "/photos/k", body, headers, user=None)
        length = {"x-amz-decoded-content-length": "0"}
        wrong = await house.ask("PUT", "/photos/k", body, length, payload=mode, secret="wrong")
        target, sent = sign_v2(house.host, "PUT", "/photos/k", secret="wrong", headers=headers)
        old = await house.raw(request_bytes("PUT", target, {**sent, "Content-Length": "0"}))
        assert anonymous.status in (400, 403), mode
        assert wrong.status == 403, mode
        assert old.status in (400, 403), mode
    assert await house.keys() == []


async def test_a_url_for_one_method_is_for_no_other(house: House) -> None:
    await kept(house)
    expires = int(time.time()) + 60
    old, _ = sign_v2(house.host, "GET", "/photos/kept", expires=expires)
    for url in (presign(house.host, "GET", "/photos/kept"), old):
        for method in ("PUT", "DELETE", "HEAD", "POST"):
            headers = {"Host": house.host, "Content-Length": "0"}
            assert (await house.raw(request_bytes(method, url, headers), method)).status == 403
    await untouched(house)
