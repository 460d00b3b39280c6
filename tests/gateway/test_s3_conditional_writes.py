"""Conditions on PUT, Complete, Copy and DELETE; and that of many writers exactly one wins."""

import asyncio

import pytest
from gateway_kit import House
from test_s3_multipart import complete_xml
from test_s3_versions import versioned

STATES = ["", "Enabled", "Suspended"]


async def bucket(house: House, state: str) -> None:
    await house.bucket()
    if state:
        await versioned(house, state)


async def put(house: House, body: bytes = b"body", **headers: str) -> tuple[int, str]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await house.ask("PUT", "/photos/k", body, sent)
    return answer.status, answer.code


async def etag(house: House) -> str:
    return (await house.ask("HEAD", "/photos/k")).headers["etag"]


@pytest.mark.parametrize("state", STATES)
async def test_a_put_follows_its_conditions(house: House, state: str) -> None:
    await bucket(house, state)
    failed, absent, done = (412, "PreconditionFailed"), (404, "NoSuchKey"), (200, "")
    assert await put(house, If_Match="*") == absent
    assert await put(house, If_Match='"x"') == absent
    assert await put(house, If_None_Match="*") == done
    assert await put(house, If_None_Match="*") == failed
    current = await etag(house)
    assert await put(house, If_None_Match=current) == failed
    assert await put(house, If_None_Match=current.strip('"')) == failed
    assert await put(house, If_Match='"x"') == failed
    assert await put(house, If_Match=f'"x", W/{current}') == done
    assert await put(house, b"other", If_Match=current, If_None_Match='"x"') == done
    assert await put(house, If_Match=current) == failed
    assert await put(house, If_Match="*") == done
    await house.ask("DELETE", "/photos/k")
    assert await put(house, If_Match="*") == absent
    assert await put(house, If_None_Match="*") == done


@pytest.mark.parametrize("state", STATES)
async def test_a_delete_follows_its_conditions(house: House, state: str) -> None:
    await bucket(house, state)
    assert (await house.ask("DELETE", "/photos/k", headers={"If-Match": '"x"'})).status == 204
    bucket_ = house.names.directory.bucket("photos")
    assert bucket_ is not None
    assert (await house.names.list_versions(bucket_.id)).versions == [], "no marker was put"
    await put(house)
    head = (await house.ask("HEAD", "/photos/k")).headers
    for headers in (
        {"If-Match": '"x"'},
        {"x-amz-if-match-size": "9"},
        {"x-amz-if-match-last-modified-time": "Thu, 01 Jan 2015 00:00:00 GMT"},
    ):
        answer = await house.ask("DELETE", "/photos/k", headers=headers)
        assert (answer.status, answer.code) == (412, "PreconditionFailed")
    right = {
        "If-Match": head["etag"],
        "x-amz-if-match-size": "4",
        "x-amz-if-match-last-modified-time": head["last-modified"],
    }
    assert (await house.ask("DELETE", "/photos/k", headers=right)).status == 204
    assert (await house.ask("HEAD", "/photos/k")).status == 404


async def test_a_delete_of_a_version_is_about_that_version(house: House) -> None:
    await bucket(house, "Enabled")
    put_ = await house.ask("PUT", "/photos/k", b"old")
    old = put_.headers["x-amz-version-id"]
    await put(house)
    current = await etag(house)
    target = f"/photos/k?versionId={old}"
    answer = await house.ask("DELETE", target, headers={"If-Match": current})
    assert answer.code == "PreconditionFailed"
    assert (await house.ask("GET", target)).body == b"old"
    answer = await house.ask("DELETE", target, headers={"If-Match": put_.headers["etag"]})
    assert answer.status == 204
    assert (await house.ask("GET", target)).code == "NoSuchVersion"


async def test_a_copy_follows_its_conditions(house: House) -> None:
    await bucket(house, "")
    await house.ask("PUT", "/photos/source", b"source")
    headers = {"x-amz-copy-source": "photos/source", "If-None-Match": "*"}
    assert (await house.ask("PUT", "/photos/k", headers=headers)).status == 200
    answer = await house.ask("PUT", "/photos/k", headers=headers)
    assert (answer.status, answer.code) == (412, "PreconditionFailed")


@pytest.mark.parametrize("state", STATES)
async def test_of_many_that_would_be_the_first_exactly_one_is(house: House, state: str) -> None:
    """PUTs, copies and uploads together."""
    await bucket(house, state)
    await house.ask("PUT", "/photos/source", b"copied")
    uploads = []
    for _ in range(8):
        begun = await house.ask("POST", "/photos/k?uploads")
        (upload,) = begun.texts("UploadId")
        part = await house.ask("PUT", f"/photos/k?partNumber=1&uploadId={upload}", b"part")
        uploads.append((upload, part.headers["etag"].strip('"')))
    first = {"If-None-Match": "*"}
    copied = {"x-amz-copy-source": "photos/source", **first}
    answers = await asyncio.gather(
        *(house.ask("PUT", "/photos/k", b"put %d" % number, first) for number in range(8)),
        *(house.ask("PUT", "/photos/k", headers=copied) for _ in range(8)),
        *(
            house.ask("POST", f"/photos/k?uploadId={upload}", complete_xml([(1, part)]), first)
            for upload, part in uploads
        ),
    )
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [200, *[412] * 23]
    bucket_ = house.names.directory.bucket("photos")
    assert bucket_ is not None
    found = await house.names.list_versions(bucket_.id, prefix="k")
    assert len(found.versions) == 1
