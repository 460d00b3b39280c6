"""A copy takes the right to read its source, whatever else one may do there; and what names nobody
lets nobody in.

Published as RustFS GHSA-mx42 (copies out of what one may not read), SeaweedFS CVE-2026-55873 (who
is nobody was let in as an administrator). The rights of all the other operations are in
test_policy_matrix.py.
"""

import json

import pytest
from access_kit import put_policy, statement
from gateway_kit import House

from gateway.access.actions import OF_BUCKETS, OF_OBJECTS


def but(action: str) -> dict[str, object]:
    """All rights except for one."""
    return statement([f"s3:{one}" for one in sorted((OF_OBJECTS | OF_BUCKETS) - {action})])


@pytest.fixture(autouse=True)
async def kept(house: House) -> None:
    assert (await house.ask("PUT", "/photos/kept", b"kept")).status == 200


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
