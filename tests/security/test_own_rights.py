"""Each operation takes its own right: all the others together do not give it, and no denial does.

Published as RustFS GHSA-mx42, GHSA-wfxj, GHSA-3ppv (copies, versions and lists read without
theirs); Ceph CVE-2016-7031 (a list read by who may not); SeaweedFS CVE-2026-55873 (who is nobody
was let in as an administrator); MinIO CVE-2021-43858 (rights that one gives to oneself). Who is let
in by what, in detail, is in tests/gateway/test_access.py.
"""

import json
from base64 import b64encode
from hashlib import md5

import pytest
from access_kit import put_policy, statement
from gateway_kit import Answer, House
from test_auth_matrix import ROUTES, Route

from gateway.access.actions import ACTIONS, OF_BUCKETS, OF_OBJECTS
from gateway.operations import OPERATIONS as ROWS
from gateway.operations import ROOT

CASES: list[tuple[Route, str]] = [
    (one, ROWS[one.name].action)
    for one in ROUTES
    if one.name in ROWS and ROWS[one.name].scope != ROOT and one.name != "CreateBucket"
]
CASES += [
    (
        one._replace(target=f"{one.target}{'&' if '?' in one.target else '?'}versionId=null"),
        ROWS[one.name].version_action,
    )
    for one, _ in CASES
    if ROWS[one.name].versioned
]
BODIES = {
    "DeleteObjects": "<Delete><Object><Key>kept</Key></Object></Delete>",
    "PutObjectLegalHold": "<LegalHold><Status>ON</Status></LegalHold>",
    "PutObjectRetention": "<Retention></Retention>",
    "PutObjectTagging": "<Tagging><TagSet></TagSet></Tagging>",
}
"""Of what is decided by what the body says."""
CHANGES = {
    *("PutBucketPolicy", "DeleteBucketPolicy", "DeleteBucket", "PutBucketAcl", "DeleteObject"),
}
"""What would take away what the others are about."""


async def ask(house: House, one: Route, user: str | None) -> Answer:
    body = BODIES.get(one.name, "").encode()
    headers = one.headers
    if body:
        headers = headers | {"Content-MD5": b64encode(md5(body).digest()).decode()}
    return await house.ask(one.method, one.target, body, headers, user=user)


def is_denied(answer: Answer) -> bool:
    """DeleteObjects answers for each of its keys."""
    if answer.status == 200 and b"<DeleteResult" in answer.body:
        return answer.texts("Code") == ["AccessDenied"]
    return answer.status == 403


def but(action: str) -> dict[str, object]:
    """All rights except for one."""
    others = [f"s3:{one}" for one in sorted((OF_OBJECTS | OF_BUCKETS) - {action})]
    return statement(others)


@pytest.fixture(autouse=True)
async def kept(house: House) -> None:
    assert (await house.ask("PUT", "/photos/kept", b"kept")).status == 200


def test_the_cases_are_all_that_there_is() -> None:
    assert len(CASES) >= len(ROWS) - 2 + 8
    assert {"CopyObject", "UploadPartCopy", "ListObjectVersions"} <= {one.name for one, _ in CASES}
    assert all(action in ACTIONS for _, action in CASES)


async def test_all_other_rights_do_not_give_it(house: House) -> None:
    for one, action in CASES:
        answer = await put_policy(house, but(action))
        assert answer.status == 204, answer
        for user in ("bob", None):
            assert is_denied(await ask(house, one, user)), (one, action, user)
    assert (await house.ask("GET", "/photos/kept")).body == b"kept"
    assert await house.keys() == ["kept"]


async def test_denials_alone_give_nothing(house: House) -> None:
    """Neither of it, nor of others, nor of nobody."""
    nobody = {"StringEquals": {"aws:username": "nobody at all"}}
    for denied in (
        [statement("s3:PutObjectAcl", "Deny")],
        [statement("s3:*", "Deny", Condition=nobody)],
        [statement("s3:GetObject", "Deny"), statement("s3:Put*", "Deny")],
    ):
        assert (await put_policy(house, *denied)).status == 204
        for one, _ in CASES:
            for user in ("bob", None):
                assert is_denied(await ask(house, one, user)), (one, user)


async def test_it_alone_is_enough_but_for_what_takes_two(house: House) -> None:
    """So that the cases above were about this right."""
    more = {
        "GetObjectAttributes": ["s3:GetObject"],
        "GetObjectVersionAttributes": ["s3:GetObjectVersion"],
    }
    for one, action in CASES:
        if one.name in CHANGES:
            continue
        source = ["s3:GetObject"] if "copy-source" in str(one.headers) else []
        listing = ["s3:ListBucket"]
        await put_policy(
            house, statement([f"s3:{action}", *source, *listing, *more.get(action, [])])
        )
        answer = await ask(house, one, "bob")
        assert answer.status != 403, (one, action, answer)


@pytest.mark.parametrize("part", [False, True], ids=["CopyObject", "UploadPartCopy"])
async def test_the_source_of_a_copy_takes_its_own(house: House, part: bool) -> None:
    """The whole bucket of the source but for the right to read: nothing is copied out of it. And
    the right to read one object or version is none to read another."""
    target = "/bobs/copy"
    if part:
        begun = await house.ask("POST", "/bobs/copy?uploads", user="bob")
        target += f"?partNumber=1&uploadId={begun.texts('UploadId')[0]}"
    named = "/photos/kept?versionId=null"
    for source, action in (("/photos/kept", "GetObject"), (named, "GetObjectVersion")):
        said = {"x-amz-copy-source": source}
        others = {"x-amz-copy-source": source.replace("kept", "other")}
        await put_policy(house, but(action))
        answer = await house.ask("PUT", target, headers=said, user="bob")
        assert (answer.status, answer.code) == (403, "AccessDenied")
        anonymous = await house.ask("PUT", target, headers=said, user=None)
        assert anonymous.status == 403
        one = statement(f"s3:{action}", Resource="arn:aws:s3:::photos/kept")
        await put_policy(house, one)
        answer = await house.ask("PUT", target, headers=others, user="bob")
        assert (answer.status, answer.code) == (403, "AccessDenied")
        await put_policy(house, statement([f"s3:{action}", "s3:GetObjectTagging"]))
        assert (await house.ask("PUT", target, headers=said, user="bob")).status == 200


async def test_who_is_nobody_is_not_somebody(house: House) -> None:
    """What is empty, absent or of an unknown kind in a policy is nobody's right."""
    for principal in ({"AWS": []}, {"AWS": ""}, {}, [], "", None, {"AWS": [""]}, {"AWS": None}):
        document = {
            "Version": "2012-10-17",
            "Statement": [statement("s3:*") | {"Principal": principal}],
        }
        answer = await house.ask("PUT", "/photos?policy", json.dumps(document).encode())
        assert (answer.status, answer.code) == (400, "MalformedPolicy"), principal
        for user in ("bob", None):
            assert (await house.ask("GET", "/photos/kept", user=user)).status == 403
