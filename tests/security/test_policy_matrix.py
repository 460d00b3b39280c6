"""Every operation x every action that a policy can allow or deny: each is given by its own action,
and by no other; and no rule that only denies allows anything.

Published as RustFS GHSA-mx42, GHSA-wfxj, GHSA-3ppv; Ceph CVE-2016-7031; SeaweedFS CVE-2026-55873:
reads of copies, versions and listings without their own right. MinIO CVE-2024-55949: a rule that
only denies.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from access_kit import ANN, BOB
from gateway_kit import House, open_house
from security_kit import Route, route

from gateway.operations import OPERATIONS, ROWS
from gateway.operations import Row as Operation

POLICIES = {"GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"}
"""The owner's, whatever they say."""
ALONE = {"ListBuckets", "CreateBucket"}
"""No bucket's policy is asked."""
EACH_KEY = {"DeleteObjects"}
"""Asked for each key of the body."""
BY_BODY = {
    "PutObjectTagging": "<Tagging><TagSet/></Tagging>",
    "PutObjectRetention": "<Retention/>",
    "PutObjectLegalHold": "<LegalHold><Status>OFF</Status></LegalHold>",
}
"""Decided when the body was read."""


class Case(NamedTuple):
    """A request, and the actions that it takes."""

    one: Route
    actions: frozenset[str]


def cases(row: Operation) -> list[Case]:
    if row.name in POLICIES | ALONE | EACH_KEY:
        return []
    one, actions = route(row.name), frozenset((row.action,))
    if row.name == "CopyObject":
        actions |= {"GetObject"}
    if row.name == "GetObjectAttributes":
        return [Case(one, actions | {"GetObject"})]
    found = [Case(one, actions)]
    if row.versioned:
        mark = "&" if "?" in one.target else "?"
        named = one._replace(target=f"{one.target}{mark}versionId=null")
        found.append(Case(named, frozenset((row.version_action,))))
    return found


CASES = [case for row in ROWS for case in cases(row)]
ACTIONS = sorted({action for case in CASES for action in case.actions})


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        await opened.bucket("photos", "ann")
        yield opened


async def send(house: House, case: Case, user: str | None) -> int:
    """The status."""
    name, method, target, headers = case.one
    body = BY_BODY.get(name, "").encode()
    if body:
        headers = {**headers, "Content-MD5": b64encode(hashlib.md5(body).digest()).decode()}
    return (await house.ask(method, target, body, headers, user=user)).status


async def put_policy(house: House, *statements: dict[str, Any]) -> None:
    """Also where a policy that denies it is in force. The object is there again."""
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    every = {"Resource": ["arn:aws:s3:::photos", "arn:aws:s3:::photos/*"]}
    document = {"Version": "2012-10-17", "Statement": [{**every, **one} for one in statements]}
    await house.names.set_bucket_registers(bucket.id, dict.fromkeys(bucket.registers, ""))
    assert (await house.ask("PUT", "/photos/kept", b"kept", user="ann")).status == 200
    await house.names.set_bucket_registers(bucket.id, {"policy": json.dumps(document)})


def allow(*actions: str) -> dict[str, Any]:
    names = [f"s3:{action}" for action in actions]
    return {"Effect": "Allow", "Principal": {"AWS": BOB}, "Action": names}


@pytest.mark.parametrize("action", ACTIONS)
async def test_an_action_allows_its_operations_and_no_other(house: House, action: str) -> None:
    await put_policy(house, allow(action))
    for case in CASES:
        status = await send(house, case, "bob")
        given = case.actions == {action}
        assert (status != 403) == given, (case, status)
        if given:
            assert await send(house, case, None) == 403, case
            await put_policy(house, allow(action))


@pytest.mark.parametrize("action", ACTIONS)
async def test_what_is_denied_is_denied_to_all(house: House, action: str) -> None:
    deny = {"Effect": "Deny", "Principal": "*", "Action": f"s3:{action}"}
    await put_policy(house, allow("*"), deny)
    for case in CASES:
        if action in case.actions:
            for user in ("ann", "bob", None):
                assert await send(house, case, user) == 403, (case, user)


async def test_a_rule_that_only_denies_allows_nothing(house: House) -> None:
    for action in ("GetObject", "PutObject", "ListBucket"):
        deny = {"Effect": "Deny", "Principal": {"AWS": ANN}, "NotAction": f"s3:{action}"}
        await put_policy(house, deny, {**deny, "Condition": {"Null": {"aws:userid": "true"}}})
        for case in CASES:
            for user in ("bob", None):
                assert await send(house, case, user) == 403, (case, user)


def test_all_are_here() -> None:
    names = {case.one.name for case in CASES} | POLICIES | ALONE | EACH_KEY
    assert names == OPERATIONS.keys()
