"""What is locked stays: no lock is got round, and one that cannot be read is a lock.

Published as MinIO CVE-2023-25812 (a denied bypass of governance was one all the same), RustFS
GHSA-j548 (what could not be read counted as no lock). What locks do is in
tests/gateway/test_object_lock.py, who may bypass them in tests/gateway/test_gateway_access.py;
here are the ways around them.
"""

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import md5
from pathlib import Path

import pytest
from gateway_kit import Answer, House, open_house, read_answer, request_bytes, sign
from test_s3_replication_status import two
from test_s3_versions_two_dcs import LOCKED, apart, settled

from dc.names.model import Bucket
from dc.system import SystemClock
from gateway.lifecycle.worker import Lifecycle

ENABLE = {"x-amz-bucket-object-lock-enabled": "true"}
BYPASS = {"x-amz-bypass-governance-retention": "true"}
UNTIL = "2100-01-01T00:00:00Z"
LOCKS = {
    "governance": {
        "x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": UNTIL,
    },
    "compliance": {
        "x-amz-object-lock-mode": "COMPLIANCE", "x-amz-object-lock-retain-until-date": UNTIL,
    },
    "hold": {"x-amz-object-lock-legal-hold": "ON"},
}  # fmt: skip
ENABLED = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{}{}"
FREE = (
    "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>"
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """With a bucket that has object lock."""
    async with open_house(tmp_path) as opened:
        assert (await opened.ask("PUT", "/photos", headers=ENABLE)).status == 200
        yield opened


def bucket_of(house: House) -> Bucket:
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    return bucket


async def put(house: House, headers: dict[str, str]) -> str:
    """The version id of what is written."""
    answer = await house.ask("PUT", "/photos/k", b"kept", headers)
    assert answer.status == 200, answer
    return answer.headers["x-amz-version-id"]


async def document(house: House, target: str, text: str, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent["Content-MD5"] = b64encode(md5(text.encode()).digest()).decode()
    return await house.ask("PUT", target, text.encode(), sent)


async def is_kept(house: House, vid: str) -> None:
    answer = await house.ask("GET", f"/photos/k?versionId={vid}")
    assert (answer.status, answer.body) == (200, b"kept")


# -- ways around ----------------------------------------------------------------------------------

Way = Callable[[House, str], Awaitable[bool]]
"""Whether it was let through."""


async def overwrite(house: House, vid: str) -> bool:
    return (await house.ask("PUT", "/photos/k", b"another")).status == 200


async def copy_onto_itself(house: House, vid: str) -> bool:
    said = {"x-amz-copy-source": "/photos/k", "x-amz-metadata-directive": "REPLACE"}
    return (await house.ask("PUT", "/photos/k", headers=said)).status == 200


async def multipart(house: House, vid: str) -> bool:
    upload = (await house.ask("POST", "/photos/k?uploads")).texts("UploadId")[0]
    part = await house.ask("PUT", f"/photos/k?partNumber=1&uploadId={upload}", b"another")
    named = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
    return (await house.ask("POST", f"/photos/k?uploadId={upload}", body)).status == 200


async def delete_without_version(house: House, vid: str) -> bool:
    return (await house.ask("DELETE", "/photos/k", headers=BYPASS)).status == 204


async def remove_default(house: House, vid: str) -> bool:
    text = ENABLED.format("", "</ObjectLockConfiguration>")
    return (await document(house, "/photos?object-lock", text)).status == 200


async def expire(house: House, vid: str) -> bool:
    """Lifecycle rules under which nothing would be left, where a day lasts a millisecond."""
    await house.ask("PUT", "/photos/k", b"another")
    rule = f"<Rule><ID>a</ID><Prefix></Prefix><Status>Enabled</Status>{FREE}</Rule>"
    text = f"<LifecycleConfiguration>{rule}</LifecycleConfiguration>"
    assert (await document(house, "/photos?lifecycle", text)).status == 200
    worker = Lifecycle(house.names, SystemClock(), day_ms=1, notifications=False, host_id="dc")
    for _ in range(20):
        await worker.step()
    return worker.passes > 0


async def delete_version(house: House, vid: str) -> bool:
    return (await house.ask("DELETE", f"/photos/k?versionId={vid}")).status == 204


async def delete_many(house: House, vid: str) -> bool:
    one = f"<Object><Key>k</Key><VersionId>{vid}</VersionId></Object>"
    body = f"<Delete>{one}</Delete>".encode()
    said = {"Content-MD5": b64encode(md5(body).digest()).decode()}
    return "Deleted" in (await house.ask("POST", "/photos?delete", body, said)).body.decode()


async def suspend(house: House, vid: str) -> bool:
    text = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
    return (await document(house, "/photos?versioning", text)).status == 200


async def switch_off(house: House, vid: str) -> bool:
    text = ENABLED.replace("Enabled</", "Disabled</").format("", "</ObjectLockConfiguration>")
    empty = "<ObjectLockConfiguration/>"
    answers = [await document(house, "/photos?object-lock", one) for one in (text, empty)]
    answers.append(await house.ask("DELETE", "/photos?object-lock"))
    return any(answer.status < 300 for answer in answers)


async def delete_bucket(house: House, vid: str) -> bool:
    await house.ask("DELETE", "/photos/k")
    return (await house.ask("DELETE", "/photos")).status == 204


async def take_away(house: House, vid: str) -> bool:
    target = f"/photos/k?versionId={vid}"
    answer = await document(house, target.replace("?", "?retention&"), "<Retention></Retention>")
    return answer.status == 200 and not await has_hold(house, vid)


async def has_hold(house: House, vid: str) -> bool:
    answer = await house.ask("GET", f"/photos/k?legal-hold&versionId={vid}")
    return answer.status == 200 and answer.texts("Status") == ["ON"]


THROUGH: list[Way] = [
    *(overwrite, copy_onto_itself, multipart, delete_without_version, remove_default, expire),
]
REFUSED: list[Way] = [delete_version, delete_many, suspend, switch_off, delete_bucket, take_away]


@pytest.mark.parametrize("lock", LOCKS)
async def test_nothing_that_is_let_through_takes_it(house: House, lock: str) -> None:
    """All of it, one after the other, on one version."""
    vid = await put(house, LOCKS[lock])
    for way in THROUGH:
        assert await way(house, vid), way
        await is_kept(house, vid)
        assert not await delete_version(house, vid)
    await is_kept(house, vid)


@pytest.mark.parametrize("lock", LOCKS)
async def test_nothing_else_is_let_through(house: House, lock: str) -> None:
    vid = await put(house, LOCKS[lock])
    for way in REFUSED:
        assert not await way(house, vid), way
        await is_kept(house, vid)


async def test_what_is_not_locked_expires(house: House) -> None:
    """So that the lifecycle above had its chance."""
    vid = await put(house, {})
    assert await expire(house, vid)
    assert (await house.ask("GET", f"/photos/k?versionId={vid}")).status == 404


# -- what cannot be read --------------------------------------------------------------------------

RETENTIONS = [
    *("x", "[]", "{}", "null", "0", '"GOVERNANCE"', "{", '{"mode":"GOVERNANCE"}', '{"until":1}'),
    *('{"mode":"GOVERNANCE","until":"soon"}', '{"mode":"GOVERNANCE","until":1e400}'),
    *('{"mode":null,"until":1}', '{"mode":"governance","until":1}', "\U0001f600", " "),
    *('{"mode":"GOVERNANCE","until":-1}', '{"mode":"COMPLIANCE","until":4611686018427387904}'),
    '{"mode":"GOVERNANCE","until":1000000000000000000000000000000}',
    '{"mode":"X\\r\\nSet-Cookie: a","until":4611686018427387904}',
]


@pytest.mark.parametrize("text", RETENTIONS)
async def test_a_retention_that_cannot_be_read_is_one(house: House, text: str) -> None:
    """A peer lets in what it likes. It stays readable, and is loosened by nobody."""
    vid = await put(house, {})
    await house.names.set_registers(bucket_of(house).id, "k", vid, {"retention": text})
    for headers in ({}, BYPASS):
        answer = await house.ask("DELETE", f"/photos/k?versionId={vid}", headers=headers)
        assert (answer.status, answer.code) == (403, "AccessDenied")
        loose = await document(house, "/photos/k?retention", "<Retention></Retention>", **{
            name.replace("-", "_"): value for name, value in headers.items()
        })  # fmt: skip
        assert (loose.status, loose.code) == (403, "AccessDenied")
    await is_kept(house, vid)
    shown = await house.ask("GET", f"/photos/k?retention&versionId={vid}")
    assert shown.status == 200, shown
    assert "set-cookie" not in (await house.ask("HEAD", "/photos/k")).headers


@pytest.mark.parametrize("text", ["on", "ON ", "1", "{}", "\x01", "On\r\nSet-Cookie: a"])
async def test_a_hold_that_cannot_be_read_is_one(house: House, text: str) -> None:
    vid = await put(house, {})
    await house.names.set_registers(bucket_of(house).id, "k", vid, {"hold": text})
    assert not await delete_version(house, vid)
    await is_kept(house, vid)
    assert await has_hold(house, vid)
    assert (await house.ask("HEAD", "/photos/k")).headers["x-amz-object-lock-legal-hold"] == "ON"
    off = "<LegalHold><Status>OFF</Status></LegalHold>"
    assert (await document(house, "/photos/k?legal-hold", off)).status == 200
    assert await delete_version(house, vid)


@pytest.mark.parametrize(
    "text",
    [
        *("x", "[]", "null", "{}", '{"ObjectLockEnabled":"Disabled"}', '{"Rule":{}}', "0"),
        '{"ObjectLockEnabled":"Enabled","Rule":{"DefaultRetention":{"Days":1}}}',
        '{"ObjectLockEnabled":"Enabled","Rule":{"DefaultRetention":{"Mode":"COMPLIANCE"}}}',
    ],
)
async def test_a_setting_that_cannot_be_read_unlocks_nothing(house: House, text: str) -> None:
    """Of the bucket: what is there stays, versioning stays, and nothing is written without the lock
    that the bucket would have given it."""
    vid = await put(house, LOCKS["governance"])
    await house.names.set_bucket_registers(bucket_of(house).id, {"object-lock": text})
    assert not await delete_version(house, vid)
    assert not await suspend(house, vid)
    assert not await delete_bucket(house, vid)
    await house.ask("PUT", "/photos/k", b"another")
    await is_kept(house, vid)


# -- two datacenters ------------------------------------------------------------------------------


async def test_versioning_suspended_at_one_and_a_lock_given_at_the_other(tmp_path: Path) -> None:
    """Each is right where it is done. Joined, the bucket has object lock: so it has versions, and
    what is locked is not written over."""
    async with two(tmp_path) as (paris, tokyo, at_paris, at_tokyo):
        on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        assert (await at_paris.ask("PUT", "/photos/k", b"kept")).status == 200
        assert (await document(at_paris, "/photos?versioning", on)).status == 200
        await settled(paris, tokyo)
        async with apart(paris, tokyo):
            days = "<DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention>"
            text = ENABLED.format(f"<Rule>{days}</Rule>", "</ObjectLockConfiguration>")
            assert (await document(at_tokyo, "/photos?object-lock", text)).status == 200
            kept = (
                f"<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>{UNTIL}</RetainUntilDate>"
                "</Retention>"
            )
            target = "/photos/k?retention&versionId=null"
            assert (await document(at_tokyo, target, kept)).status == 200
            assert await suspend(at_paris, "")
        for house in (at_paris, at_tokyo):
            shown = await house.ask("GET", "/photos?versioning")
            assert shown.texts("Status") == ["Enabled"]
            for way in (overwrite, copy_onto_itself, multipart, delete_without_version):
                assert await way(house, "null"), way
                await is_kept(house, "null")
            assert not await delete_version(house, "null")
        await settled(paris, tokyo)
        for house in (at_paris, at_tokyo):
            await is_kept(house, "null")
            shown = await house.ask("GET", "/photos?versions")
            assert len(shown.texts("VersionId")) == 9


async def test_a_bucket_deleted_at_one_and_a_version_locked_at_the_other(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, at_paris, at_tokyo):
        await paris.names.set_bucket_registers(bucket_of(at_paris).id, LOCKED)
        await settled(paris, tokyo)
        async with apart(paris, tokyo):
            vid = await put(at_tokyo, LOCKS["compliance"])
            assert (await at_paris.ask("DELETE", "/photos")).status == 204
        for house in (at_paris, at_tokyo):
            await is_kept(house, vid)
            assert not await delete_version(house, vid)
            assert not await delete_bucket(house, vid)


# -- at the same moment ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["delete", "complete", "put"])
async def test_what_is_locked_while_a_body_is_on_its_way(house: House, way: str) -> None:
    """The request was let in while versioning was suspended; its body comes when the null version
    is locked."""
    await house.bucket("late")
    assert (await house.ask("PUT", "/late/k", b"kept")).status == 200
    off = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
    assert (await document(house, "/late?versioning", off)).status == 200
    method, target, body = "PUT", "/late/k", b"another"
    if way == "delete":
        method, target = "POST", "/late?delete"
        body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    elif way == "complete":
        method = "POST"
        upload = (await house.ask("POST", "/late/k?uploads")).texts("UploadId")[0]
        part = await house.ask("PUT", f"/late/k?partNumber=1&uploadId={upload}", body)
        named = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part>"
        target = f"/late/k?uploadId={upload}"
        body = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
    headers = {
        "Host": house.host, "Content-MD5": b64encode(md5(body).digest()).decode(),
        "Content-Length": str(len(body)), "Expect": "100-continue",
    }  # fmt: skip
    reader, writer = await house.connect()
    signed = sign(method, target, headers, "UNSIGNED-PAYLOAD")
    writer.write(request_bytes(method, target, signed))
    assert (await read_answer(reader)).status == 100
    text = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert (await document(house, "/late?versioning", text)).status == 200
    text = ENABLED.format("", "</ObjectLockConfiguration>")
    assert (await document(house, "/late?object-lock", text)).status == 200
    text = f"<Mode>COMPLIANCE</Mode><RetainUntilDate>{UNTIL}</RetainUntilDate>"
    text = f"<Retention>{text}</Retention>"
    assert (await document(house, "/late/k?retention&versionId=null", text)).status == 200
    writer.write(body)
    assert (await read_answer(reader)).status == 200
    writer.close()
    answer = await house.ask("GET", "/late/k?versionId=null")
    assert (answer.status, answer.body) == (200, b"kept")
