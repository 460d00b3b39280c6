"""Headers that a proxy may have set, and those that somebody made up for inside, change nothing:
where a request comes from is the socket's other end, who sent it is who signed it.

Published as RustFS CVE-2026-21862, GHSA-6r96 (X-Forwarded-For decided in policies); Swift
CVE-2015-5223 (a header of the request named the object to serve), CVE-2026-71192 (headers for
inside taken from outside).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from access_kit import put_policy, statement
from gateway_kit import USERS, Answer, House, open_house, request_bytes
from process_kit import Dc
from security_kit import presign
from test_internal_doors import ADMIN, PEER, ask

ADDRESS = "10.1.2.3"
FROM = {
    **dict.fromkeys(
        (
            *("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "X-Originating-IP", "X-Remote-Addr"),
            *("X-Remote-IP", "True-Client-IP", "CF-Connecting-IP", "X-Cluster-Client-IP"),
            *("X-Forwarded", "Forwarded-For", "Via", "Client-IP", "X-ProxyUser-Ip", "Remote-Addr"),
            *("X-Envoy-External-Address", "Fastly-Client-IP", "X-Azure-ClientIP"),
        ),
        ADDRESS,
    ),
    "Forwarded": f"for={ADDRESS};proto=https;host=photos.localhost;by=127.0.0.1",
}
HOSTS = {
    **dict.fromkeys(
        ("X-Forwarded-Host", "X-Host", "X-Forwarded-Server", "X-HTTP-Host-Override"),
        "bobs.localhost",
    ),
    **dict.fromkeys(("X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Url-Scheme"), "https"),
    **dict.fromkeys(("Front-End-Https", "X-Forwarded-Ssl"), "on"),
    **dict.fromkeys(("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri"), "/bobs/secret"),
    **dict.fromkeys(("X-Forwarded-Prefix", "X-Forwarded-Path"), "/bobs"),
    "X-Forwarded-Port": "443",
    "X-Accel-Redirect": "/bobs/secret",
    "X-Sendfile": "/etc/passwd",
    "Destination": "/bobs/secret",
    "X-Object-Manifest": "bobs/secret",
    "X-Copy-From": "/bobs/secret",
}
METHODS = dict.fromkeys(
    ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Forwarded-Method"), "DELETE"
)
BOB = USERS["bob"]
INSIDE = {
    **dict.fromkeys(
        (
            *("X-Farshore-User", "X-Farshore-Admin", "X-Auth-User", "X-Forwarded-User", "X-User"),
            *("X-Remote-User", "Remote-User", "X-WEBAUTH-USER", "X-Auth-Request-User"),
            *("X-Storage-Token", "X-Auth-Token", "X-Service-Token", "X-Backend-Owner-User"),
            *("X-Minio-Internal", "X-Minio-Source-Replication-Request", "X-Rgw-System"),
            *("X-Container-Sysmeta-Acl", "X-Object-Sysmeta-Owner", "X-Internal", "X-Admin-Token"),
            *("X-Backend-Override-Delete", "X-Farshore-Peer", "X-Farshore-Replica", "X-Owner"),
        ),
        BOB,
    ),
    "Cookie": f"user={BOB}; session=1",
    "Proxy-Authorization": "Basic Ym9iOmJvYg==",
    "X-Forwarded-Client-Cert": "Subject=CN=bob",
    "X-SSL-Client-Verify": "SUCCESS",
}
ALL = {"from": FROM, "hosts": HOSTS, "methods": METHODS, "inside": INSIDE}


@pytest.fixture
async def telling(tmp_path: Path) -> AsyncIterator[House]:
    """One that logs and notifies."""
    async with open_house(tmp_path, notifications=True) as opened:
        for name in ("photos", "logs"):
            await opened.bucket(name, "ann")
        yield opened


VARYING = {"date", "x-amz-request-id", "last-modified", "x-farshore-position"}


def told(answer: Answer) -> tuple[int, dict[str, str], str]:
    """All of an answer that may not differ."""
    same = {name: text for name, text in answer.headers.items() if name not in VARYING}
    return answer.status, same, answer.code


async def battery(house: House, extra: dict[str, str]) -> list[Any]:
    """What requests of all kinds come to, with these headers besides, which nobody has signed."""
    await house.ask("PUT", "/photos/gone", b"x")
    ssec = {"x-amz-server-side-encryption-customer-algorithm": "AES256"}
    presigned = presign(house.host, "GET", "/photos/kept")
    forged = presign(house.host, "GET", "/photos/kept", secret="wrong")
    answers = [
        await house.ask("GET", "/photos/kept", unsigned=extra),
        await house.ask("GET", "/photos/kept", user="bob", unsigned=extra),
        await house.ask("GET", "/photos/kept", user=None, unsigned=extra),
        await house.ask("GET", "/bobs/secret", unsigned=extra),
        await house.ask("GET", "/photos", unsigned=extra),
        await house.ask("GET", "/", unsigned=extra),
        await house.ask("PUT", "/photos/new", b"new", unsigned=extra),
        await house.ask("PUT", "/photos/new", b"new", user="bob", unsigned=extra),
        await house.ask("PUT", "/photos/new", b"new", ssec, unsigned=extra),
        await house.ask("GET", "/photos?acl", unsigned=extra),
        await house.ask("DELETE", "/photos/gone", user="bob", unsigned=extra),
        await house.ask("DELETE", "/photos/gone", unsigned=extra),
        await house.raw(request_bytes("GET", presigned, {"Host": house.host, **extra})),
        await house.raw(request_bytes("GET", forged, {"Host": house.host, **extra})),
    ]
    found: list[Any] = [told(answer) for answer in answers]
    found += [answers[4].texts("Key"), answers[5].texts("Bucket"), await house.keys()]
    return [*found, answers[9].texts("ID"), answers[0].body, answers[12].body]


@pytest.mark.parametrize("kind", ALL)
async def test_answers_are_the_same(house: House, kind: str) -> None:
    for key in ("kept", "new"):
        await house.ask("PUT", f"/photos/{key}", key.encode())
    await house.ask("PUT", "/bobs/secret", b"secret", user="bob")
    usual = await battery(house, {})
    assert [one[0] for one in usual[:14]] == [
        *(200, 403, 403, 403, 200, 200, 200, 403, 400, 200, 403, 204, 200, 403),
    ]
    assert await battery(house, ALL[kind]) == usual
    for name, value in ALL[kind].items():
        answer = await house.ask("GET", "/photos/kept", user="bob", unsigned={name: value})
        assert answer.status == 403, name
        answer = await house.ask("GET", "/bobs/secret", unsigned={name: value})
        assert answer.status == 403, name


@pytest.mark.parametrize("name", [*FROM, "X-Forwarded-Proto", "Front-End-Https"])
async def test_policies_see_the_socket(house: House, name: str) -> None:
    await house.ask("PUT", "/photos/kept", b"kept")
    said = {name: {**FROM, **HOSTS}[name]}

    async def get(user: str) -> int:
        signed = await house.ask("GET", "/photos/kept", user=user, headers=said)
        added = await house.ask("GET", "/photos/kept", user=user, unsigned=said)
        assert signed.status == added.status
        return signed.status

    there = {"IpAddress": {"aws:SourceIp": f"{ADDRESS}/32"}}
    here = {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}
    secure = {"Bool": {"aws:SecureTransport": "true"}}
    for condition, status in ((there, 403), (secure, 403), (here, 200)):
        await put_policy(house, statement("s3:GetObject", Condition=condition))
        assert await get("bob") == status, condition
    elsewhere = {"NotIpAddress": {"aws:SourceIp": f"{ADDRESS}/32"}}
    plain = {"Bool": {"aws:SecureTransport": "false"}}
    for condition in (elsewhere, plain, here):
        await put_policy(house, statement("s3:GetObject", "Deny", Condition=condition))
        assert await get("ann") == 403, condition


async def test_access_logs_and_notifications_name_the_socket(telling: House) -> None:
    client = telling.boto()
    enabled = {"LoggingEnabled": {"TargetBucket": "logs", "TargetPrefix": ""}}
    await asyncio.to_thread(client.put_bucket_logging, Bucket="photos", BucketLoggingStatus=enabled)
    bucket = telling.names.directory.bucket("photos")
    assert bucket is not None
    topic = {"TopicArn": "arn:aws:sns:paris::topic", "Events": ["s3:ObjectCreated:*"], "Id": "t"}
    text = json.dumps({"TopicConfigurations": [topic]})
    await telling.names.set_bucket_registers(bucket.id, {"notification": text})
    for kind in ALL.values():
        await telling.ask("PUT", "/photos/k", b"x", unsigned=kind)
        await telling.ask("GET", "/photos/k", user=None, unsigned=kind)
    await telling.logs.flush()
    lines = ""
    for key in await telling.keys("logs"):
        lines += (await telling.ask("GET", f"/logs/{key}")).body.decode()
    assert lines.count(" 127.0.0.1 ") == lines.count("\n") >= 8
    assert ADDRESS not in lines and BOB not in lines
    events = [one.event.payload for one in await telling.names.outbox.page()]
    assert len(events) == 4
    for payload in events:
        record = json.loads(payload)["Records"][0]
        assert record["requestParameters"]["sourceIPAddress"] == "127.0.0.1"
        assert record["userIdentity"]["principalId"] == USERS["ann"]


@pytest.mark.process
@pytest.mark.parametrize("kind", ALL)
def test_no_header_opens_the_other_listeners(dc: Dc, kind: str) -> None:
    for path in ADMIN:
        assert ask(dc, "admin", "GET", path, ALL[kind])[0] == 401
    for path in PEER:
        assert ask(dc, "peer", "POST", path, ALL[kind])[0] == 403
