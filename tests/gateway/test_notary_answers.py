"""What clients are told of the notary: the header, and certificates; and who gets them."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from access_kit import BOB, add_users, put_acl, put_policy, statement
from proving_kit import MARK, Proven, facts, of, open_proven, set_quick
from test_s3_bad_input import presigned
from test_s3_encryption import customer

from dc.names.errors import NamesClosed

PENDING, NOTARIZED = "pending", "notarized"


@pytest.fixture(params=["here", "elsewhere"])
async def proven(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Proven]:
    set_quick(monkeypatch)
    async with open_proven(tmp_path, elsewhere=request.param == "elsewhere") as opened:
        yield opened


async def test_the_header_says_how_far_it_is(proven: Proven) -> None:
    await proven.house.bucket("plain")
    await proven.put("/plain/k")
    await proven.put("/photos/k", b"0123456789")
    etag = f'"{hashlib.md5(b"0123456789").hexdigest()}"'
    asked: list[tuple[str, str, dict[str, str], int]] = [
        ("GET", "/photos/k", {}, 200),
        ("HEAD", "/photos/k", {}, 200),
        ("GET", "/photos/k", {"Range": "bytes=2-4"}, 206),
        ("HEAD", "/photos/k", {"Range": "bytes=2-4"}, 206),
        ("GET", "/photos/k?partNumber=1", {}, 206),
        ("GET", "/photos/k?versionId=null", {}, 200),
        ("HEAD", "/photos/k?versionId=null", {}, 200),
        ("GET", "/photos/k", {"If-None-Match": etag}, 304),
        ("HEAD", "/photos/k", {"If-None-Match": etag}, 304),
        ("GET", "/photos/k?response-content-type=a/b", {}, 200),
    ]
    for expected in (PENDING, NOTARIZED):
        for method, target, headers, status in asked:
            answer = await proven.house.ask(method, target, headers=headers)
            assert (answer.status, answer.headers.get(MARK)) == (status, expected), target
            assert await proven.mark("/plain/k", method) is None
        await proven.prove()


async def test_a_database_that_cannot_be_read_keeps_no_object_from_being_read(
    proven: Proven,
) -> None:
    await proven.put("/photos/k", b"0123456789")
    await proven.prove()

    async def rename(one: str, other: str) -> None:
        statement = f"ALTER TABLE {one} RENAME TO {other}"
        await proven.notary.store.act(lambda db: db.execute(statement))

    await rename("entries", "broken")
    for method in ("GET", "HEAD"):
        assert await proven.mark("/photos/k", method) == PENDING
    errors = (await proven.notary.status())["errors"]
    assert errors["notary database"] == "OperationalError: no such table: entries"
    await rename("broken", "entries")
    assert await proven.mark("/photos/k") == NOTARIZED
    assert "notary database" not in (await proven.notary.status())["errors"]


async def test_a_version_keeps_what_it_was_born_with(proven: Proven) -> None:
    """What was there before has none, what comes while it is on has one, also when it is off."""
    await proven.house.bucket("other")
    await proven.put("/other/before")
    await proven.switch("other")
    await proven.put("/other/k", b"one")
    await proven.switch("other", on=False)
    await proven.put("/other/after")
    await proven.put("/other/gone")
    entries = await proven.prove()
    assert [await proven.mark(f"/other/{key}") for key in ("before", "k", "after")] == [
        None,
        NOTARIZED,
        None,
    ]
    assert facts(await proven.entry("/other/k")) == of(b"one")
    said = [(one["type"], one.get("key")) for one in entries if one["bucket"] == "other"]
    assert said == [("enabled", None), ("version", "k"), ("disabled", None)]
    for key in ("before", "after"):
        answer = await proven.house.ask("GET", f"/other/{key}?notary")
        assert (answer.status, answer.code, MARK in answer.headers) == (
            404,
            "NoSuchCertificate",
            False,
        )


async def test_a_certificate_is_of_one_version(proven: Proven) -> None:
    versioning = b"<VersioningConfiguration><Status>%s</Status></VersioningConfiguration>"
    await proven.put("/photos/k", b"null")
    await proven.house.ask("PUT", "/photos?versioning", versioning % b"Enabled")
    first, second = [await proven.put("/photos/k", body) for body in (b"one", b"two")]
    await proven.prove()
    for target, body, version_id in (
        ("/photos/k", b"two", second),
        (f"/photos/k?versionId={second}", b"two", second),
        (f"/photos/k?versionId={first}", b"one", first),
        ("/photos/k?versionId=null", b"null", "null"),
    ):
        entry = await proven.entry(target)
        assert (facts(entry), entry["version_id"]) == (of(body), version_id)
        assert (entry["bucket"], entry["key"], entry["dc"]) == ("photos", "k", "paris")
    await proven.house.ask("DELETE", "/photos/k")
    gone = await proven.house.ask("GET", "/photos/k?notary")
    assert (gone.status, gone.code) == (404, "NoSuchKey")
    assert facts(await proven.entry(f"/photos/k?versionId={second}")) == of(b"two")


async def test_certificates_that_there_are_not(proven: Proven) -> None:
    ask = proven.house.ask
    await proven.put("/photos/k")
    for method in ("GET", "HEAD"):
        answer = await ask(method, "/photos/k?notary")
        assert answer.status == 503 and answer.headers["retry-after"] == "1"
        assert MARK not in answer.headers
    assert (await ask("GET", "/photos/k?notary")).code == "CertificatePending"
    await proven.prove()
    for target, status, code in (
        ("/photos/none?notary", 404, "NoSuchKey"),
        ("/none/k?notary", 404, "NoSuchBucket"),
        (f"/photos/k?notary&versionId={'0' * 32}", 404, "NoSuchVersion"),
        ("/photos/k?notary&versionId=x", 400, "InvalidArgument"),
    ):
        answer = await ask("GET", target)
        assert (answer.status, answer.code) == (status, code)
    whole = await ask("GET", "/photos/k?notary")
    head = await ask("HEAD", "/photos/k?notary")
    assert (head.status, head.headers["content-type"]) == (200, whole.headers["content-type"])
    assert head.headers["content-length"] == str(len(whole.body))
    assert (await ask("GET", "/photos/k?notary", headers={"Range": "bytes=0-1"})).status == 200


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
async def test_a_certificate_is_only_read(proven: Proven, method: str) -> None:
    """Nobody who gets the method wrong is to lose an object."""
    await proven.put("/photos/k", b"kept")
    for query in ("notary", "notary=1", "notary&versionId=null", "notary&uploads"):
        answer = await proven.house.ask(method, f"/photos/k?{query}", b"<x/>")
        assert (answer.status, answer.code) == (405, "MethodNotAllowed")
    assert (await proven.house.ask("GET", "/photos/k")).body == b"kept"


async def test_who_may_read_an_object_gets_its_certificate(proven: Proven) -> None:
    house = proven.house
    await add_users(house)
    await house.ask("PUT", "/photos?versioning", (
        b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    ))  # fmt: skip
    first = await proven.put("/photos/k", b"one")
    await proven.put("/photos/k", b"two")
    await proven.prove()
    current, older = "/photos/k?notary", f"/photos/k?notary&versionId={first}"

    async def seen(*users: str | None) -> list[list[int]]:
        return [
            [(await house.ask("GET", target, user=user)).status for target in (current, older)]
            for user in users
        ]

    assert await seen("ann", "bob", None) == [[200, 200], [403, 403], [403, 403]]
    bob = {"AWS": BOB}
    assert (await put_policy(house, statement("s3:GetObject", Principal=bob))).status == 204
    assert await seen("bob", None) == [[200, 403], [403, 403]]
    await put_policy(house, statement(["s3:GetObject", "s3:GetObjectVersion"]))
    assert await seen("bob", None) == [[200, 200], [200, 200]]
    await put_policy(house, statement("s3:GetObject", "Deny", Principal="*"))
    assert await seen("ann") == [[403, 200]]
    await house.ask("DELETE", "/photos?policy")
    assert (await put_acl(house, "/photos/k", "public-read")).status == 200
    assert await seen("bob", None) == [[200, 403], [200, 403]]


async def test_presigned(proven: Proven) -> None:
    await proven.put("/photos/k", b"bytes")
    await proven.prove()
    entry = await proven.house.ask(
        "GET", presigned("GET", proven.house, "/photos/k", notary=""), user=None
    )
    assert json.loads(json.loads(entry.body)["entry"])["key"] == "k"
    plain = presigned("GET", proven.house, "/photos/k")
    assert (await proven.house.ask("GET", plain, user=None)).body == b"bytes"
    forged = await proven.house.ask("GET", f"{plain}&notary", user=None)
    assert forged.code == "SignatureDoesNotMatch"


async def test_a_certificate_needs_no_key(proven: Proven) -> None:
    """Of an object that only its client can read; its bytes do."""
    house = proven.house
    assert (await house.ask("PUT", "/photos/k", b"secret", customer())).status == 200
    await proven.prove()
    assert facts(await proven.entry("/photos/k")) == of(b"secret")
    assert (await house.ask("GET", "/photos/k")).status == 400
    assert await proven.mark("/photos/k", "HEAD", headers=customer()) == NOTARIZED


async def test_where_there_is_no_notary(proven: Proven, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be asked is no reason to say that something is notarized, or not."""
    await proven.put("/photos/k")
    await proven.prove()

    async def closed(*_: Any) -> None:
        raise NamesClosed("no")

    monkeypatch.setattr(proven.notary, "is_proven", closed)
    monkeypatch.setattr(proven.notary, "certificate", closed)
    assert (await proven.house.ask("GET", "/photos/k?notary")).status == 503
    assert (await proven.house.ask("GET", "/photos/k")).status == 503


async def test_what_is_not_notarized_asks_nobody(
    proven: Proven, monkeypatch: pytest.MonkeyPatch
) -> None:
    await proven.house.bucket("plain")
    await proven.put("/plain/k")

    async def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(proven.notary, "is_proven", never)
    assert (await proven.house.ask("GET", "/plain/k")).status == 200
    assert (await proven.house.ask("GET", "/plain/k?notary")).code == "NoSuchCertificate"


async def test_clients_neither_see_nor_set_what_it_goes_by(proven: Proven) -> None:
    """The register of a version: not its tags, metadata, attributes, nor what lists show."""
    house = proven.house
    digest = hashlib.sha256(b"bytes").hexdigest()
    forged = "f" * 64
    await house.bucket("plain")
    headers = {
        "x_amz_tagging": f"notary={forged}",
        "x_amz_meta_notary": forged,
        "x_farshore_notary": "notarized",
        "notary": forged,
    }
    for bucket in ("photos", "plain"):
        await proven.put(f"/{bucket}/k", b"bytes", **headers)
        tag = f"<Tag><Key>notary</Key><Value>{forged}</Value></Tag>"
        tags = f"<Tagging><TagSet>{tag}</TagSet></Tagging>"
        assert (await house.ask("PUT", f"/{bucket}/k?tagging", tags.encode())).status == 200
        assert (await house.ask("PUT", f"/{bucket}?tagging", tags.encode())).status < 300
    assert await proven.mark("/plain/k") is None and await proven.mark("/photos/k") == PENDING
    entries = await proven.prove()
    assert [one.get("sha256") for one in entries] == [None, digest]
    seen = []
    asked = {"x-amz-object-attributes": "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"}
    seen.append(await house.ask("GET", "/photos/k?attributes", headers=asked))
    for query in ("tagging", "acl", "versionId=null"):
        seen.append(await house.ask("GET", f"/photos/k?{query}"))
    for query in ("", "?versions", "?list-type=2", "?tagging", "?location", "?acl", "?logging"):
        seen.append(await house.ask("GET", f"/photos{query}"))
    seen.append(await house.ask("HEAD", "/photos/k"))
    for answer in seen:
        assert answer.status == 200
        assert digest.encode() not in answer.body and digest not in str(answer.headers)
        named = {n: v for n, v in answer.headers.items() if "notary" in n and n != MARK}
        assert set(named) <= {"x-amz-meta-notary"}


async def test_many_ask_at_once(proven: Proven) -> None:
    for number in range(20):
        await proven.put(f"/photos/{number}", b"%d" % number)
    await proven.prove()
    found = await asyncio.gather(*(proven.entry(f"/photos/{number}") for number in range(20)))
    assert [facts(one) for one in found] == [of(b"%d" % number) for number in range(20)]
