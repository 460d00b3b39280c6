"""Buckets, listings of objects, and what clients ask about buckets."""

import asyncio
from typing import Any

import pytest
from botocore.exceptions import ClientError
from gateway_kit import REGION, USERS, House
from hypothesis import given
from hypothesis import strategies as st

from dc.names.model import AccessKey, User
from gateway.errors import S3Error
from gateway.listing import make_token, read_token
from gateway.xmltext import key_writer


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    code: str = error.value.response["Error"]["Code"]
    return code


async def test_the_life_of_a_bucket(house: House) -> None:
    ann, bob = house.boto(), house.boto("bob")

    def run() -> None:
        assert ann.list_buckets()["Buckets"] == []
        ann.create_bucket(Bucket="photos")
        where: Any = {"LocationConstraint": REGION}
        ann.create_bucket(Bucket="music", CreateBucketConfiguration=where)
        listed = ann.list_buckets()
        assert [bucket["Name"] for bucket in listed["Buckets"]] == ["music", "photos"]
        assert listed["Owner"]["ID"] == USERS["ann"]
        assert bob.list_buckets()["Buckets"] == []
        assert ann.head_bucket(Bucket="photos")["BucketRegion"] == REGION
        assert ann.get_bucket_location(Bucket="photos")["LocationConstraint"] == REGION
        with pytest.raises(ClientError) as mine:
            ann.create_bucket(Bucket="photos")
        assert code_of(mine) == "BucketAlreadyOwnedByYou"
        with pytest.raises(ClientError) as taken:
            bob.create_bucket(Bucket="photos")
        assert code_of(taken) == "BucketAlreadyExists"
        for ask in (bob.head_bucket, bob.delete_bucket, bob.list_objects_v2):
            with pytest.raises(ClientError) as foreign:
                ask(Bucket="photos")
            assert foreign.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        ann.put_object(Bucket="photos", Key="k", Body=b"x")
        with pytest.raises(ClientError) as full:
            ann.delete_bucket(Bucket="photos")
        assert code_of(full) == "BucketNotEmpty"
        ann.delete_object(Bucket="photos", Key="k")
        ann.delete_bucket(Bucket="photos")
        with pytest.raises(ClientError) as gone:
            ann.head_bucket(Bucket="photos")
        assert gone.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
        assert [bucket["Name"] for bucket in ann.list_buckets()["Buckets"]] == ["music"]

    await asyncio.to_thread(run)


async def test_buckets_are_listed_in_pages_when_a_number_is_asked_for(house: House) -> None:
    for name in ("tax-b", "photos", "tax-a", "tax-c"):
        await house.bucket(name)
    ann = house.boto()

    def names(**asked: Any) -> tuple[list[str], Any]:
        listed = ann.list_buckets(**asked)
        return [each["Name"] for each in listed["Buckets"]], listed.get("ContinuationToken")

    def run() -> None:
        assert names() == (["photos", "tax-a", "tax-b", "tax-c"], None)
        first, token = names(MaxBuckets=2, Prefix="tax")
        assert first == ["tax-a", "tax-b"] and token
        assert names(MaxBuckets=2, Prefix="tax", ContinuationToken=token) == (["tax-c"], None)
        assert names(BucketRegion="elsewhere") == ([], None)
        assert names(MaxBuckets=4)[1] is None

    await asyncio.to_thread(run)
    for wrong in ("max-buckets=0", "max-buckets=10001", "max-buckets=a", "continuation-token=x"):
        answer = await house.ask("GET", f"/?{wrong}")
        assert (answer.status, answer.code) == (400, "InvalidArgument"), wrong


async def test_a_bucket_made_again_succeeds_where_the_client_takes_this_for_us_east_1(
    house: House,
) -> None:
    await house.bucket("photos")
    await house.bucket("bobs", "bob")
    assert (await house.ask("PUT", "/photos", region="us-east-1")).status == 200
    taken = await house.ask("PUT", "/bobs", region="us-east-1")
    assert (taken.status, taken.code) == (409, "BucketAlreadyExists")
    mine = await house.ask("PUT", "/photos")
    assert (mine.status, mine.code) == (409, "BucketAlreadyOwnedByYou")


async def test_owners_are_shown_with_the_part_of_the_address_before_the_at(house: House) -> None:
    await house.bucket()
    stamp = house.names.clock.now()
    key = AccessKey(id="AKOTHER", user=USERS["ann"], secret=b"", stamp=stamp)
    user = User(id=USERS["ann"], email="ann.b@example.org", stamp=stamp)
    await house.names.add_user(user, key)
    await house.ask("PUT", "/photos/k", b"x")
    for target in ("/photos", "/photos?list-type=2&fetch-owner=true", "/photos?acl", "/"):
        answer = await house.ask("GET", target)
        assert set(answer.texts("DisplayName")) == {"ann.b"}, target
        assert "example.org" not in answer.body.decode()


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("<CreateBucketConfiguration>", "MalformedXML"),
        ("<Other/>", "MalformedXML"),
        (
            "<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint>"
            "</CreateBucketConfiguration>",
            "IllegalLocationConstraintException",
        ),
        (
            "<CreateBucketConfiguration><Bucket><Type>Directory</Type></Bucket>"
            "</CreateBucketConfiguration>",
            "NotImplemented",
        ),
        (
            f"<CreateBucketConfiguration>{' ' * 70_000}</CreateBucketConfiguration>",
            "MaxMessageLengthExceeded",
        ),
    ],
)
async def test_bad_configurations_make_no_bucket(house: House, document: str, code: str) -> None:
    answer = await house.ask("PUT", "/photos", document.encode())
    assert answer.code == code
    assert house.names.directory.bucket("photos") is None


async def test_what_was_never_set_is_answered_so(house: House) -> None:
    await house.bucket()
    table = {
        "versioning": (200, ""), "logging": (200, ""), "notification": (200, ""),
        "requestPayment": (200, ""), "accelerate": (200, ""), "acl": (200, ""),
        "policy": (404, "NoSuchBucketPolicy"), "tagging": (404, "NoSuchTagSet"),
        "lifecycle": (404, "NoSuchLifecycleConfiguration"),
        "cors": (404, "NoSuchCORSConfiguration"),
        "website": (404, "NoSuchWebsiteConfiguration"),
        "encryption": (404, "ServerSideEncryptionConfigurationNotFoundError"),
        "object-lock": (404, "ObjectLockConfigurationNotFoundError"),
        "replication": (404, "ReplicationConfigurationNotFoundError"),
        "publicAccessBlock": (404, "NoSuchPublicAccessBlockConfiguration"),
        "ownershipControls": (404, "OwnershipControlsNotFoundError"),
        "inventory": (501, "NotImplemented"), "versions": (200, ""),
    }  # fmt: skip
    for name, (status, code) in table.items():
        answer = await house.ask("GET", f"/photos?{name}")
        assert (answer.status, answer.code) == (status, code), name
        if name != "acl":
            continue
        assert answer.texts("Permission") == ["FULL_CONTROL"]
    await house.ask("PUT", "/photos/k", b"x")
    assert (await house.ask("GET", "/photos/k?tagging")).texts("Tag") == []
    assert (await house.ask("GET", "/photos/k?acl")).texts("ID") == [USERS["ann"]] * 2


async def fill(house: House, keys: list[str]) -> None:
    await house.bucket()
    for key in keys:
        client = house.boto()
        await asyncio.to_thread(client.put_object, Bucket="photos", Key=key, Body=b"x")


KEYS = ["a", "b/1", "b/2", "b/3/x", "c d", "d&<>\"'", "e+f", "z", "\u00fc/\u00fc"]


async def test_listings(house: House) -> None:
    await fill(house, KEYS)
    client = house.boto()

    def run() -> None:
        for ask in (client.list_objects, client.list_objects_v2):
            everything = ask(Bucket="photos")
            assert [item["Key"] for item in everything["Contents"]] == KEYS
            assert everything["IsTruncated"] is False
            assert all(item["Size"] == 1 and item["ETag"] for item in everything["Contents"])
            assert everything["Contents"][0]["ChecksumAlgorithm"] == ["CRC32"]
            grouped = ask(Bucket="photos", Delimiter="/")
            assert [item["Key"] for item in grouped["Contents"]] == ["a", *KEYS[4:8]]
            assert [item["Prefix"] for item in grouped["CommonPrefixes"]] == ["b/", "\u00fc/"]
            inside = ask(Bucket="photos", Delimiter="/", Prefix="b/")
            assert [item["Key"] for item in inside["Contents"]] == ["b/1", "b/2"]
            assert [item["Prefix"] for item in inside["CommonPrefixes"]] == ["b/3/"]
            nothing = ask(Bucket="photos", MaxKeys=0)
            assert "Contents" not in nothing
            assert nothing["IsTruncated"] is False
        two = client.list_objects_v2(Bucket="photos", StartAfter="c d", FetchOwner=True)
        assert [item["Key"] for item in two["Contents"]] == KEYS[5:]
        assert (two["StartAfter"], two["KeyCount"]) == ("c d", 4)
        assert two["Contents"][0]["Owner"]["ID"] == USERS["ann"]
        one = client.list_objects(Bucket="photos", Marker="c d")
        assert one["Contents"][0]["Owner"]["ID"] == USERS["ann"]

    await asyncio.to_thread(run)


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
async def test_paging_gives_everything_once(house: House, delimiter: str, limit: int) -> None:
    await fill(house, KEYS)
    client = house.boto()

    def run() -> None:
        for name in ("list_objects", "list_objects_v2"):
            pages = client.get_paginator(name).paginate(
                Bucket="photos", Delimiter=delimiter, PaginationConfig={"PageSize": limit}
            )
            keys, prefixes = [], []
            for page in pages:
                keys += [item["Key"] for item in page.get("Contents", [])]
                prefixes += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
                assert len(page.get("Contents", [])) + len(page.get("CommonPrefixes", [])) <= limit
            whole = [key for key in KEYS if not delimiter or "/" not in key]
            assert keys == whole
            assert prefixes == (["b/", "\u00fc/"] if delimiter else [])

    await asyncio.to_thread(run)


async def test_keys_in_xml_are_escaped_or_encoded(house: House) -> None:
    await house.bucket()
    for key in ("a%26%3C%3E", "%01%0D%0A", "%C3%BC+"):
        assert (await house.ask("PUT", f"/photos/{key}", b"x")).status == 200
    plain = (await house.ask("GET", "/photos")).body
    assert b"<Key>a&amp;&lt;&gt;</Key>" in plain
    assert b"<Key>&#x1;&#xd;&#xa;</Key>" in plain
    encoded = await house.ask("GET", "/photos?encoding-type=url")
    assert encoded.texts("Key") == ["%01%0D%0A", "a%26%3C%3E", "%C3%BC%2B"]
    assert encoded.texts("EncodingType") == ["url"]


@given(st.text())
def test_continuation_tokens_come_back(last: str) -> None:
    if last:
        assert read_token(make_token(last)) == last


@given(st.text(max_size=30))
def test_made_up_continuation_tokens_are_refused(token: str) -> None:
    with pytest.raises(S3Error) as refused:
        read_token(token)
    assert refused.value.code == "InvalidArgument"


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_keys_need_escaping_only_when_one_of_them_does(keys: list[str]) -> None:
    special = set('&<>"\x7f\ufffe\uffff') | {chr(code) for code in range(32)}
    write = key_writer(keys, url=False)
    if write is None:
        assert not special.intersection("".join(keys))
