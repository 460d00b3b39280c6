"""An x-amz-* header that was not signed changes nothing: the request is refused.

Published as MinIO CVE-2026-97731, Swift CVE-2026-71191, Incus CVE-2026-115374, SeaweedFS PR 9121.
"""

import pytest
from gateway_kit import House, request_bytes
from security_kit import presign

from gateway.headers import COMMON, HONOURED, TOLERATED

NAMES = sorted(
    (COMMON | HONOURED | set(TOLERATED)) - {"x-amz-date", "x-amz-content-sha256"}
    | {"x-amz-meta-a", "x-amz-checksum-crc32", "x-amz-checksum-algorithm", "X-AMZ-Copy-Source"}
    | {"x-amz-tagging", "x-amz-object-lock-mode", "x-amz-unheard-of"}
)


@pytest.mark.parametrize("signed_in", ["header", "query"])
async def test_every_one_is_refused(house: House, signed_in: str) -> None:
    assert (await house.ask("PUT", "/photos/kept", b"kept")).status == 200
    for name in NAMES:
        extra = {name: "photos/kept"}
        if signed_in == "header":
            answer = await house.ask("PUT", "/photos/k", b"abc", unsigned=extra)
        else:
            target = presign(house.host, "PUT", "/photos/k")
            headers = {"Host": house.host, "Content-Length": "3", **extra}
            answer = await house.raw(request_bytes("PUT", target, headers, b"abc"))
        assert (answer.status, answer.code) == (403, "AccessDenied"), name
    assert await house.keys() == ["kept"]


async def test_a_presigned_put_takes_no_other_payload_mode(house: House) -> None:
    target = presign(house.host, "PUT", "/photos/k")
    headers = {"Host": house.host, "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
    answer = await house.raw(request_bytes("PUT", target, headers))
    assert answer.status == 403
    assert await house.keys() == []
