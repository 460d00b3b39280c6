"""Every route x every way to authenticate x {right, wrong secret, unknown key, none, other kinds}.

Published as MinIO CVE-2025-31489, CVE-2026-40344, CVE-2026-41145, CVE-2021-21390; SeaweedFS 7912,
2180. Nothing but the owner's right signature does anything.
"""

import pytest
from gateway_kit import House, request_bytes
from security_kit import presign

ROUTES = [
    ("GET", "/"),
    *((method, "/photos") for method in ("GET", "HEAD", "PUT", "DELETE", "POST")),
    *((method, "/photos/kept") for method in ("GET", "HEAD", "PUT", "DELETE", "POST")),
    *(("GET", f"/photos?{name}") for name in ("acl", "location", "uploads", "policy", "versions")),
    *(("GET", f"/photos/kept?{name}") for name in ("acl", "tagging", "uploadId=x")),
    ("GET", "/photos?list-type=2"),
    ("POST", "/photos?delete"),
    ("POST", "/photos/kept?uploads"),
    ("POST", "/photos/kept?uploadId=x"),
    ("PUT", "/photos/kept?uploadId=x&partNumber=1"),
    ("DELETE", "/photos/kept?uploadId=x"),
    ("PUT", "/photos?policy"),
    ("OPTIONS", "/photos/kept"),
    ("PATCH", "/photos/kept"),
]
FAULTS = [
    ({"secret": "wrong"}, 403),
    ({"user": "eve"}, 403),
    ({"user": "ann", "secret": "secret of bob"}, 403),
]
OTHER_KINDS = [
    "Basic QUtBTk46c2VjcmV0IG9mIGFubg==",
    "Bearer AKANN",
    "AWS AKANN:AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "AWS4-ECDSA-P256-SHA256 Credential=AKANN/20260101/s3/aws4_request, SignedHeaders=host, "
    "Signature=00",
    "AWS4-HMAC-SHA256",
    "",
]


async def untouched(house: House) -> None:
    assert (await house.ask("GET", "/photos/kept")).body == b"kept"
    assert await house.keys() == ["kept"]


@pytest.mark.parametrize("signed_in", ["header", "query"])
async def test_bad_signatures(house: House, signed_in: str) -> None:
    assert (await house.ask("PUT", "/photos/kept", b"kept")).status == 200
    for method, target in ROUTES:
        for fault, status in FAULTS:
            if signed_in == "header":
                answer = await house.ask(method, target, **fault)
            else:
                url = presign(house.host, method, target, **fault)
                headers = {"Host": house.host, "Content-Length": "0"}
                answer = await house.raw(request_bytes(method, url, headers), method)
            assert answer.status == status, (method, target, fault)
    await untouched(house)


async def test_none_and_other_kinds(house: House) -> None:
    assert (await house.ask("PUT", "/photos/kept", b"kept")).status == 200
    for method, target in ROUTES:
        answer = await house.ask(method, target, user=None)
        assert answer.status == 403, (method, target)
        for kind in OTHER_KINDS:
            answer = await house.ask(method, target, user=None, headers={"Authorization": kind})
            assert answer.status in (400, 403), (method, target, kind)
    await untouched(house)


async def test_another_user(house: House) -> None:
    """A right signature of who does not own the bucket."""
    assert (await house.ask("PUT", "/photos/kept", b"kept")).status == 200
    for method, target in ROUTES[1:]:
        answer = await house.ask(method, target, user="bob")
        refused = (403, 405, 409, 501)
        assert answer.status in refused, (method, target)
    await untouched(house)


async def test_payload_modes_do_not_stand_for_a_signature(house: House) -> None:
    for mode in (
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    ):
        headers = {"x-amz-content-sha256": mode, "x-amz-decoded-content-length": "0"}
        anonymous = await house.ask("PUT", "/photos/k", b"0\r\n\r\n", headers, user=None)
        wrong = await house.ask(
            "PUT", "/photos/k", b"0\r\n\r\n", {"x-amz-decoded-content-length": "0"},
            payload=mode, secret="wrong",
        )  # fmt: skip
        assert anonymous.status in (400, 403), mode
        assert wrong.status == 403, mode
    assert await house.keys() == []


async def test_a_url_for_one_method_is_for_no_other(house: House) -> None:
    assert (await house.ask("PUT", "/photos/kept", b"kept")).status == 200
    url = presign(house.host, "GET", "/photos/kept")
    for method in ("PUT", "DELETE", "HEAD", "POST"):
        headers = {"Host": house.host, "Content-Length": "0"}
        assert (await house.raw(request_bytes(method, url, headers), method)).status == 403
    await untouched(house)
