"""Who may do what, when something comes between, says two things, or cannot be understood.

Ann has the bucket `photos`; Bob is another user; nobody signs for None.
"""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from access_kit import ANN, BOB, add_users, code, put, put_acl, put_policy, statement
from gateway_kit import EMPTY_SHA256, House, open_house, read_answer, request_bytes, sign

from dc.names.model import Version

DENIED = "AccessDenied"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        await add_users(opened)
        await opened.bucket("photos", "ann")
        await put(opened, "kept", "ann")
        yield opened


async def version_of(house: House, key: str) -> Version | None:
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    return await house.names.current(bucket.id, key)


# -- tags of copies -------------------------------------------------------------------------------


async def test_tags_that_a_copy_brings_are_what_the_policy_is_asked_about(house: House) -> None:
    """Not those of a header that is not followed."""
    await house.bucket("bobs", "bob")
    headers = {"x-amz-tagging": "a=no"}
    assert (await house.ask("PUT", "/bobs/no", b"", headers, user="bob")).status == 200
    asked = {"StringEquals": {"s3:RequestObjectTag/a": "yes"}}
    source = {"x_amz_copy_source": "/bobs/no", "x_amz_tagging": "a=yes"}
    replaced = {**source, "x_amz_tagging_directive": "REPLACE"}
    tagged = statement("s3:PutObjectTagging", Condition=asked)
    await put_policy(house, statement("s3:PutObject"), tagged)
    assert await code(house, "PUT", "/photos/copy", "bob", **source) == DENIED
    bare = {"x_amz_copy_source": "/bobs/no"}
    assert await code(house, "PUT", "/photos/copy", "bob", **bare) == DENIED
    assert await code(house, "PUT", "/photos/copy", "bob", **replaced) == "200"
    # Of a copy that takes its source's tags, the request itself says none.
    await put_policy(house, statement(["s3:PutObject", "s3:PutObjectTagging"], Condition=asked))
    assert await code(house, "PUT", "/photos/copy", "bob", **source) == DENIED
    assert await code(house, "PUT", "/photos/copy", "bob", **replaced) == "200"
    await house.ask("PUT", "/bobs/no", b"", {"x-amz-tagging": "a=yes"}, user="bob")
    await put_policy(house, statement("s3:PutObject"), tagged)
    assert await code(house, "PUT", "/photos/copy", "bob", **bare) == "200"


async def test_tags_of_an_older_version_have_an_action_of_their_own(house: House) -> None:
    await house.bucket("bobs", "bob")
    await put(house, "kept", "ann", x_amz_tagging="a=b")
    named = {"x_amz_copy_source": "/photos/kept?versionId=null"}
    await put_policy(house, statement(["s3:GetObjectVersion", "s3:GetObjectTagging"]))
    assert await code(house, "PUT", "/bobs/copy", "bob", **named) == DENIED
    await put_policy(house, statement(["s3:GetObjectVersion", "s3:GetObjectVersionTagging"]))
    assert await code(house, "PUT", "/bobs/copy", "bob", **named) == "200"


# -- deletions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["DeleteObject", "DeleteObjectVersion"])
async def test_to_name_the_null_version_gets_round_no_denial(house: House, action: str) -> None:
    """An object without versions is deleted by either action; who may not do one may not."""
    await put_policy(house, statement("s3:*"), statement(f"s3:{action}", "Deny"))

    async def many(inside: str) -> list[str]:
        body = f"<Delete><Object><Key>kept</Key>{inside}</Object></Delete>".encode()
        said = {"Content-MD5": b64encode(hashlib.md5(body).digest()).decode()}
        return (await house.ask("POST", "/photos?delete", body, said)).texts("Code")

    for query in ("", "?versionId=null"):
        for user in ("ann", "bob", None):
            assert await code(house, "DELETE", f"/photos/kept{query}", user) == DENIED
    for inside in ("", "<VersionId>null</VersionId>"):
        assert await many(inside) == [DENIED]
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert (await house.ask("PUT", "/photos?versioning", body)).status == 200
    written = await put(house, "kept", "ann")
    target = f"/photos/kept?versionId={written.headers['x-amz-version-id']}"
    # Where there are versions, each has the one that it says.
    found = [await code(house, "DELETE", one, "bob") for one in (target, "/photos/kept")]
    assert found == (["204", DENIED] if action == "DeleteObject" else [DENIED, "204"])
    assert await code(house, "DELETE", "/photos/kept?versionId=null", "bob") == DENIED


# -- headers that stand twice ----------------------------------------------------------------------


async def test_all_grants_are_what_the_policy_is_asked_about(house: House) -> None:
    name = "x-amz-grant-full-control"
    only = {"StringEquals": {f"s3:{name}": f"id={ANN}"}}
    await put_policy(house, statement("s3:PutObject", Condition=only))

    async def written(*values: str) -> int:
        head = f"PUT /photos/new HTTP/1.1\r\nHost: {house.host}\r\nContent-Length: 0\r\n"
        signed = sign("PUT", "/photos/new", {"Host": house.host, name: ",".join(values)},
                      EMPTY_SHA256, user="bob")  # fmt: skip
        lines = [f"{one}: {text}" for one, text in signed.items() if one not in ("Host", name)]
        lines += [f"{name}: {value}" for value in values]
        answer = await house.raw((head + "\r\n".join(lines) + "\r\n\r\n").encode(), "PUT")
        return answer.status

    assert await written(f"id={ANN}") == 200
    assert await written(f"id={ANN}", f"id={BOB}") == 403
    assert await written(f"id={BOB}") == 403


# -- what cannot be understood --------------------------------------------------------------------


async def test_a_policy_that_cannot_be_read_allows_nobody_but_the_owner(house: House) -> None:
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    await put_acl(house, "/photos", "public-read")
    assert await code(house, "GET", "/photos", "bob") == "200"
    await house.names.set_bucket_registers(bucket.id, {"policy": '{"Statement": 1}'})
    assert await code(house, "GET", "/photos", "bob") == DENIED
    assert await code(house, "GET", "/photos", "ann") == "200"


async def test_a_list_that_cannot_be_read_grants_nothing(house: House) -> None:
    version = await version_of(house, "kept")
    assert version is not None
    for text in ("[]", '{"owner": 1}', "x"):
        await house.names.set_registers(version.bucket, "kept", "", {"acl": text})
        assert await code(house, "GET", "/photos/kept", "bob") == DENIED
        assert await code(house, "GET", "/photos/kept", "ann") == "200"


# -- in between -----------------------------------------------------------------------------------


async def test_what_is_read_is_what_was_decided_about(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that is public is replaced by one that is not, after the first look at it."""
    await put_acl(house, "/photos/kept", "public-read")
    current, looks = house.names.current, 0

    async def meanwhile(bucket: str, key: str) -> Version | None:
        nonlocal looks
        looks += 1
        if looks == 2:
            monkeypatch.setattr(house.names, "current", current)
            assert (await put(house, "kept", "ann")).status == 200
        return await current(bucket, key)

    monkeypatch.setattr(house.names, "current", meanwhile)
    async with asyncio.timeout(10):
        assert await code(house, "GET", "/photos/kept", None) == DENIED
    assert looks == 2


ACL_OF_BOB = {"x-amz-acl": "public-read"}
TAGS = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"


@pytest.mark.parametrize("what", ["acl", "tagging"])
async def test_what_replaces_an_object_does_not_become_its_writers(
    house: House, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Bob may set the list and the tags of what he wrote; meanwhile Ann writes something else."""
    only = {"StringNotEquals": {"s3:ExistingObjectTag/a": "closed"}}
    await put_acl(house, "/photos", "public-read-write")
    await put(house, "kept", "bob")
    await put_policy(house, statement("s3:PutObjectTagging", Condition=only))
    set_registers = house.names.set_registers

    async def meanwhile(*args: Any, **more: Any) -> None:
        monkeypatch.setattr(house.names, "set_registers", set_registers)
        assert (await put(house, "kept", "ann", x_amz_tagging="a=closed")).status == 200
        await set_registers(*args, **more)

    monkeypatch.setattr(house.names, "set_registers", meanwhile)
    headers, body = (ACL_OF_BOB, b"") if what == "acl" else ({}, TAGS)
    assert (await house.ask("PUT", f"/photos/kept?{what}", body, headers, user="bob")).status == 200
    assert house.names.set_registers == set_registers
    version = await version_of(house, "kept")
    assert version is not None and list(version.registers) == ["tags"]
    assert "closed" in version.registers["tags"].value
    assert await code(house, "GET", "/photos/kept", "bob") == DENIED
    assert await code(house, "GET", "/photos/kept", "ann") == "200"


async def test_a_name_that_is_used_again_keeps_nothing_of_the_former_bucket(house: House) -> None:
    """Neither what was allowed there, nor an upload or a body that is on its way."""
    await put_policy(house, statement("s3:*"))
    await put_acl(house, "/photos", "public-read-write")
    begun = await house.ask("POST", "/photos/big?uploads")
    part = f"/photos/big?partNumber=1&uploadId={begun.texts('UploadId')[0]}"
    signed = sign("PUT", "/photos/late", {"Host": house.host}, "UNSIGNED-PAYLOAD")
    reader, writer = await house.connect()
    late = {**signed, "Content-Length": "4", "Expect": "100-continue"}
    writer.write(request_bytes("PUT", "/photos/late", late))
    assert (await asyncio.wait_for(read_answer(reader), 20)).status == 100
    assert await code(house, "DELETE", "/photos/kept", "ann") == "204"
    await house.ask("DELETE", part.replace("partNumber=1&", ""))
    assert await code(house, "DELETE", "/photos", "ann") == "204"
    assert (await house.ask("PUT", "/photos", user="bob")).status == 200
    assert (await put(house, "kept", "bob")).status == 200
    writer.write(b"late")
    answer = await asyncio.wait_for(read_answer(reader, "PUT"), 20)
    writer.close()
    assert answer.code == "NoSuchBucket"
    for user in ("ann", None):
        for method, target in (
            ("GET", "/photos"),
            ("GET", "/photos/kept"),
            ("GET", "/photos/kept?versionId=null"),
            ("GET", "/photos?policy"),
            ("PUT", "/photos/new"),
            ("PUT", part),
            ("DELETE", "/photos/kept"),
            ("DELETE", "/photos"),
        ):
            assert await code(house, method, target, user) == DENIED, (user, method, target)
    assert await code(house, "PUT", part, "bob") == "NoSuchUpload"
    assert await house.keys() == ["kept"]
