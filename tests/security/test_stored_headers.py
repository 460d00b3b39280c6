"""CR, LF and NUL are neither stored nor echoed; what is stored, every peer takes.

Published as Ceph GHSA-cggp-94xr-prm6. A header or a setting that a peer's checks refuse would stop
the whole feed, of all users.
"""

import hashlib
import json
from base64 import b64encode

import pytest
from gateway_kit import House, request_bytes
from security_kit import presign

from gateway.limits import LIFECYCLE_RULES_MAX, POLICY_SPACE_BYTES_MAX
from replicator import wire
from replicator.records import _wire_meta

EVIL = ["%0D%0ASet-Cookie%3A%20a%3Db", "%0A", "%0D", "%00", "%3A", "%20", "%C3%BC", "%7F", ""]


@pytest.mark.parametrize("evil", EVIL)
async def test_name_of_a_header_in_a_presigned_url(house: House, evil: str) -> None:
    name = f"X-Amz-Meta-{evil and 'a'}{evil}"
    target = presign(house.host, "PUT", f"/photos/k?{name}=v")
    headers = {"Host": house.host, "Content-Length": "3"}
    answer = await house.raw(request_bytes("PUT", target, headers, b"abc"))
    assert answer.status == 400
    assert await house.keys() == []


@pytest.mark.parametrize("evil", EVIL[:4])
async def test_value_in_a_presigned_url(house: House, evil: str) -> None:
    await house.ask("PUT", "/photos/kept", b"kept")
    headers = {"Host": house.host, "Content-Length": "3"}
    target = presign(house.host, "PUT", f"/photos/k?X-Amz-Meta-a=v{evil}")
    assert (await house.raw(request_bytes("PUT", target, headers, b"abc"))).status == 400
    for name in ("type", "language", "disposition", "encoding"):
        answer = await house.ask("GET", f"/photos/kept?response-content-{name}=a{evil}")
        assert (answer.status, answer.code) == (400, "InvalidArgument"), name
    assert await house.keys() == ["kept"]


async def test_metadata_without_a_name(house: House) -> None:
    answer = await house.ask("PUT", "/photos/k", b"abc", {"x-amz-meta-": "v"})
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert await house.keys() == []


async def test_peers_take_the_largest_settings(house: House) -> None:
    """Of a policy, white space counts; and a rule may be as long as its prefix."""
    rule = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "arn:aws:s3:::photos/*"}
    policy = json.dumps({"Statement": rule}).encode().ljust(POLICY_SPACE_BYTES_MAX)
    assert (await house.ask("PUT", "/photos?policy", policy)).status == 204
    most = 0
    for prefix in ("p" * 60, "p" * 200, "p" * 900):
        rows = "".join(
            f"<Rule><ID>{number}</ID><Filter><Prefix>{number}{prefix}</Prefix></Filter>"
            "<Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>"
            for number in range(LIFECYCLE_RULES_MAX)
        )
        body = f"<LifecycleConfiguration>{rows}</LifecycleConfiguration>".encode()
        md5 = b64encode(hashlib.md5(body).digest()).decode()
        answer = await house.ask("PUT", "/photos?lifecycle", body, {"Content-MD5": md5})
        assert (answer.status, answer.code) in ((200, ""), (400, "InvalidRequest"))
        bucket = house.names.directory.bucket("photos")
        assert bucket is not None
        record = wire.BucketRecord(
            seq=1, id=bucket.id, name=bucket.name, owner=bucket.owner, region=bucket.region,
            created=bucket.created, deleted="", revived="",
            registers={name: (one.stamp, one.value) for name, one in bucket.registers.items()},
        )  # fmt: skip
        assert wire.decode_record(wire.encode_record(record)) == record
        most += answer.status == 200
    assert most == 1, "the test has some on each side of the limit"


async def test_peers_take_whatever_is_stored(house: House) -> None:
    odd = {
        "x-amz-meta-" + "n" * 1000: "v" * 1000,
        "x-amz-meta-!#$%&'*+-.^_`|~": "\u2028 \x85 \t,;:\"'<>",
        "Content-Type": "t" * 500,
        "Content-Disposition": "\u202e\ufffe",
        "Content-Language": "\U0010ffff",
    }
    for name, value in odd.items():
        await house.ask("PUT", f"/photos/{len(name)}", b"abc", {name: value})
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    assert len(await house.keys()) >= 4
    for key in await house.keys():
        kept = await house.names.current(bucket.id, key)
        assert kept is not None
        record = wire.VersionRecord(
            seq=1, bucket=kept.bucket, key=kept.key, vid=kept.vid, stamp=kept.stamp,
            kind=kept.kind, size=kept.size, etag=kept.etag, meta=_wire_meta(kept.meta),
            seen=kept.seen, registers={}, body=None,
        )  # fmt: skip
        assert wire.decode_record(wire.encode_record(record)) == record
