"""Tags: what they may be, in each of the forms in which they come in."""

import asyncio

import pytest
from botocore.exceptions import ClientError
from gateway_kit import House
from hypothesis import given
from hypothesis import strategies as st

from dc.names.model import Register
from gateway.errors import S3Error
from gateway.tags import check_tags, register_text, tags_in, tags_of_document, tags_of_header

TAG = "<Tag><Key>{}</Key><Value>{}</Value></Tag>"


def document(*pairs: tuple[str, str]) -> bytes:
    tags = "".join(TAG.format(*pair) for pair in pairs)
    return f"<Tagging><TagSet>{tags}</TagSet></Tagging>".encode()


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", {}),
        ("foo=bar&bar", {"bar": "", "foo": "bar"}),
        ("a%20b=%C3%A9+x", {"a b": "é x"}),
        ("k=v=w", {"k": "v=w"}),
    ],
)
def test_the_header_is_a_query(text: str, tags: dict[str, str]) -> None:
    assert tags_of_header(text) == tags


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a=1&a=2", "InvalidArgument"),
        ("&", "InvalidArgument"),
        ("a=%zz", "InvalidArgument"),
        ("a=%ff", "InvalidArgument"),
        ("=v", "InvalidTag"),
        ("a=%00", "InvalidTag"),
        ("a=b%3Bc", "InvalidTag"),
        ("aws:x=1", "InvalidTag"),
        ("AWS:x=1", "InvalidTag"),
        ("k" * 129 + "=v", "InvalidTag"),
        ("k=" + "v" * 257, "InvalidTag"),
        ("&".join(f"k{n}=v" for n in range(11)), "InvalidTag"),
    ],
)
def test_bad_headers(text: str, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        tags_of_header(text)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<Tagging/>", "MalformedXML"),
        (b"<Tagging><TagSet/><TagSet/></Tagging>", "MalformedXML"),
        (b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", "MalformedXML"),
        (b"<Tagging><TagSet><Tog><Key>a</Key><Value/></Tog></TagSet></Tagging>", "MalformedXML"),
        (document(("a", "1"), ("a", "2")), "InvalidTag"),
    ],
)
def test_bad_documents(body: bytes, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        tags_of_document(body)
    assert refused.value.code == code
    assert tags_of_document(document(("b", ""), ("a", "1"))) == {"a": "1", "b": ""}


@given(st.dictionaries(st.text(max_size=130), st.text(max_size=260), max_size=12))
def test_tags_are_kept_as_they_are_or_refused(pairs: dict[str, str]) -> None:
    try:
        tags = check_tags(pairs.items())
    except S3Error as error:
        assert error.code == "InvalidTag"
        return
    assert tags == pairs
    assert tags_in({"tags": Register("0" * 32, register_text(tags))}) == pairs


async def test_object_tags_through_a_client(house: House) -> None:
    await house.bucket()
    client = house.boto()

    def run() -> None:
        at = {"Bucket": "photos", "Key": "k"}
        client.put_object(**at, Body=b"x", Tagging="foo=bar&bar")
        assert client.get_object_tagging(**at)["TagSet"] == [
            {"Key": "bar", "Value": ""},
            {"Key": "foo", "Value": "bar"},
        ]
        assert client.head_object(**at)["TagCount"] == 2
        assert client.get_object(**at)["TagCount"] == 2
        client.put_object_tagging(**at, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        assert client.get_object_tagging(**at)["TagSet"] == [{"Key": "a", "Value": "b"}]
        client.delete_object_tagging(**at)
        assert client.get_object_tagging(**at)["TagSet"] == []
        assert "TagCount" not in client.head_object(**at)
        client.put_object_tagging(**at, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        client.put_object(**at, Body=b"y")
        assert client.get_object_tagging(**at)["TagSet"] == []
        with pytest.raises(ClientError) as refused:
            client.get_object_tagging(Bucket="photos", Key="none")
        assert refused.value.response["Error"]["Code"] == "NoSuchKey"

    await asyncio.to_thread(run)


async def test_an_upload_keeps_its_tags_until_it_is_complete(house: House) -> None:
    await house.bucket()
    client = house.boto()

    def run() -> None:
        at = {"Bucket": "photos", "Key": "k"}
        upload = client.create_multipart_upload(**at, Tagging="a=1")["UploadId"]
        etag = client.upload_part(**at, UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
        client.complete_multipart_upload(
            **at,
            UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]},
        )
        assert client.get_object_tagging(**at)["TagSet"] == [{"Key": "a", "Value": "1"}]

    await asyncio.to_thread(run)


async def test_bucket_tags_through_a_client(house: House) -> None:
    await house.bucket()
    client = house.boto()
    many = [{"Key": f"k{n:02}", "Value": "v"} for n in range(50)]

    def run() -> None:
        with pytest.raises(ClientError) as refused:
            client.get_bucket_tagging(Bucket="photos")
        assert refused.value.response["Error"]["Code"] == "NoSuchTagSet"
        client.put_bucket_tagging(Bucket="photos", Tagging={"TagSet": many})
        assert client.get_bucket_tagging(Bucket="photos")["TagSet"] == many
        with pytest.raises(ClientError) as refused:
            more = [*many, {"Key": "one", "Value": "more"}]
            client.put_bucket_tagging(Bucket="photos", Tagging={"TagSet": more})
        assert refused.value.response["Error"]["Code"] == "InvalidTag"
        client.delete_bucket_tagging(Bucket="photos")
        with pytest.raises(ClientError) as refused:
            client.get_bucket_tagging(Bucket="photos")
        assert refused.value.response["Error"]["Code"] == "NoSuchTagSet"

    await asyncio.to_thread(run)
