"""Encryption as clients meet it: SSE-C, SSE-S3, and what is on the disk."""

import asyncio
import hashlib
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from awscrt.checksums import crc32c, crc64nvme
from botocore.exceptions import ClientError
from gateway_kit import Answer, House, open_house

from dc.names.model import Encryption
from gateway.cipher import Decrypter
from gateway.encryption import CustomerKey, Opening, Sealing

KEY = bytes(range(32))
OTHER = bytes(32)
CANARY = b"canary of the plaintext 8d1e"


def customer(secret: bytes = KEY, prefix: str = "x-amz-", **changes: str | None) -> dict[str, str]:
    """The headers of SSE-C; `changes` by the last word of a name, None for leaving it out."""
    texts: dict[str, str | None] = {
        "algorithm": "AES256",
        "key": b64encode(secret).decode(),
        "md5": b64encode(hashlib.md5(secret).digest()).decode(),
        **changes,
    }
    names = {"algorithm": "algorithm", "key": "key", "md5": "key-MD5"}
    return {
        f"{prefix}server-side-encryption-customer-{names[name]}": text
        for name, text in texts.items()
        if text is not None
    }


def source(key: bytes = KEY) -> dict[str, str]:
    return customer(key, "x-amz-copy-source-")


SSE_S3 = {"x-amz-server-side-encryption": "AES256"}


@pytest.fixture
async def home(tmp_path: Path):
    async with open_house(tmp_path, ssec_over_http=True) as house:
        await house.bucket()
        yield house


def on_disk(root: Path) -> bytes:
    """All bytes of all files."""
    return b"".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())


async def put(house: House, key: str, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    answer = await house.ask("PUT", f"/photos/{key}", body, headers)
    assert answer.status == 200, answer.body
    return answer


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000, 3_000_000])
@pytest.mark.parametrize("kind", ["customer", "datacenter"])
async def test_an_object_comes_back_whole_and_in_ranges(home: House, kind: str, size: int):
    body = os.urandom(size)
    writing, reading = (customer(), customer()) if kind == "customer" else (SSE_S3, {})
    answer = await put(home, "a", body, writing)
    assert answer.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = await home.ask("GET", "/photos/a", headers=reading)
    assert (got.status, got.body) == (200, body)
    for said in (answer, got, await home.ask("HEAD", "/photos/a", headers=reading)):
        if kind == "customer":
            assert said.headers["x-amz-server-side-encryption-customer-algorithm"] == "AES256"
            md5 = said.headers["x-amz-server-side-encryption-customer-key-md5"]
            assert md5 == b64encode(hashlib.md5(KEY).digest()).decode()
            assert "x-amz-server-side-encryption" not in said.headers
        else:
            assert said.headers["x-amz-server-side-encryption"] == "AES256"
    for first, last in ((0, 0), (5, 40), (size // 2 - 7, size - 3)):
        if 0 <= first <= last < size:
            part = await home.ask(
                "GET", "/photos/a", headers={**reading, "Range": f"bytes={first}-{last}"}
            )
            assert (part.status, part.body) == (206, body[first : last + 1])


@pytest.mark.parametrize("size", [2000, 2_500_000])
@pytest.mark.parametrize("headers", [customer(), SSE_S3], ids=["customer", "datacenter"])
async def test_no_plaintext_and_no_key_is_on_the_disk(
    home: House, tmp_path: Path, headers: dict[str, str], size: int
):
    body = CANARY * (size // len(CANARY))
    await put(home, "plain", b"a canary that is not encrypted")
    await put(home, "a", body, headers)
    await home.ask(
        "PUT", "/photos/b", headers={**SSE_S3, **source(), "x-amz-copy-source": "/photos/a"}
    )
    seen = on_disk(tmp_path)
    assert b"a canary that is not encrypted" in seen
    assert CANARY not in seen
    for secret in (KEY, b64encode(KEY), KEY.hex().encode()):
        assert secret not in seen
    if headers is SSE_S3:
        _, data_key = await home.keyring.current()
        assert data_key not in seen


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", [{}, customer(OTHER)], ids=["no key", "another key"])
async def test_an_object_is_not_read_without_its_key(
    home: House, method: str, headers: dict[str, str]
):
    await put(home, "a", CANARY, customer())
    answer = await home.ask(method, "/photos/a", headers=headers)
    assert answer.status == 400
    assert CANARY not in answer.body
    if method == "GET":
        assert answer.code == "InvalidRequest"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_kind_of_encryption_is_nothing_to_read_with(home: House, method: str):
    await put(home, "a", CANARY, SSE_S3)
    answer = await home.ask(method, "/photos/a", headers=SSE_S3)
    assert answer.status == 400
    assert method == "HEAD" or answer.code == "InvalidArgument"


async def test_a_key_for_an_object_without_one_is_refused(home: House):
    await put(home, "plain", b"x")
    await put(home, "dc", b"x", SSE_S3)
    for key in ("plain", "dc"):
        answer = await home.ask("GET", f"/photos/{key}", headers=customer())
        assert (answer.status, answer.code) == (400, "InvalidRequest")


WRONG = {
    "no algorithm": (customer(algorithm=None), "InvalidArgument"),
    "another algorithm": (customer(algorithm="AES128"), "InvalidEncryptionAlgorithmError"),
    "no key": (customer(key=None), "InvalidArgument"),
    "no md5": (customer(md5=None), "InvalidArgument"),
    "algorithm alone": (customer(key=None, md5=None), "InvalidArgument"),
    "short key": (customer(b"short"), "InvalidArgument"),
    "no base64": (
        {**customer(), "x-amz-server-side-encryption-customer-key": "?"},
        "InvalidArgument",
    ),
    "wrong md5": (customer(md5="AAAAAAAAAAAAAAAAAAAAAA=="), "InvalidArgument"),
    "no md5 at all": (customer(md5="?"), "InvalidArgument"),
    "both kinds": ({**customer(), **SSE_S3}, "InvalidArgument"),
    "another kind": ({"x-amz-server-side-encryption": "ROT13"}, "InvalidArgument"),
    "kms": ({"x-amz-server-side-encryption": "aws:kms"}, "NotImplemented"),
    "kms key": ({"x-amz-server-side-encryption-aws-kms-key-id": "1"}, "NotImplemented"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_headers_that_make_no_sense_are_refused(home: House, wrong: str):
    headers, code = WRONG[wrong]
    answer = await home.ask("PUT", "/photos/a", b"x", headers)
    assert answer.code == code
    key = headers.get("x-amz-server-side-encryption-customer-key", "")
    assert len(key) < 2 or key.encode() not in answer.body
    assert (await home.ask("HEAD", "/photos/a")).status == 404


async def test_a_customer_key_is_refused_over_plain_http(house: House):
    await house.bucket()
    answer = await house.ask("PUT", "/photos/a", b"x", customer())
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert "secure connection" in answer.body.decode()
    assert (await house.ask("PUT", "/photos/a", b"x", SSE_S3)).status == 200


async def test_checksums_are_of_the_plaintext(home: House):
    body = os.urandom(5000)
    crc = {"x-amz-checksum-crc32c": b64encode(crc32c(body).to_bytes(4, "big")).decode()}
    await put(home, "a", body, {**customer(), **crc})
    await put(home, "b", body, customer())
    mode = {**customer(), "x-amz-checksum-mode": "ENABLED"}
    got = await home.ask("GET", "/photos/a", headers=mode)
    assert got.headers["x-amz-checksum-crc32c"] == crc["x-amz-checksum-crc32c"]
    got = await home.ask("GET", "/photos/b", headers=mode)
    expected = b64encode(crc64nvme(body).to_bytes(8, "big")).decode()
    assert got.headers["x-amz-checksum-crc64nvme"] == expected
    answer = await home.ask("PUT", "/photos/c", body + b"!", {**customer(), **crc})
    assert answer.code == "BadDigest"


def multipart(client: Any, begin: dict[str, str], args: dict[str, str], parts: list[bytes]) -> None:
    made = client.create_multipart_upload(Bucket="photos", Key="m", **begin)
    done = []
    for number, part in enumerate(parts, 1):
        answer = client.upload_part(
            Bucket="photos",
            Key="m",
            UploadId=made["UploadId"],
            PartNumber=number,
            Body=part,
            **args,
        )
        done.append({"PartNumber": number, "ETag": answer["ETag"]})
    client.complete_multipart_upload(
        Bucket="photos",
        Key="m",
        UploadId=made["UploadId"],
        MultipartUpload={"Parts": done},
        **args,
    )


PARTS = [b"q" * (5 << 20), b"r" * (5 << 20), b"s" * 1000]
ARGS = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY}


@pytest.mark.parametrize(
    ("begin", "args"),
    [(ARGS, ARGS), ({"ServerSideEncryption": "AES256"}, {})],
    ids=["customer", "datacenter"],
)
async def test_a_multipart_object_comes_back_in_ranges_and_parts(
    home: House, tmp_path: Path, begin: dict[str, str], args: dict[str, str]
):
    client = home.boto()
    await asyncio.to_thread(multipart, client, begin, args, PARTS)
    whole = b"".join(PARTS)

    def read(**more: Any) -> bytes:
        return client.get_object(Bucket="photos", Key="m", **args, **more)["Body"].read()

    assert await asyncio.to_thread(read) == whole
    for number, part in enumerate(PARTS, 1):
        assert await asyncio.to_thread(read, PartNumber=number) == part
    edge = 5 << 20
    for first, last in (
        (0, 10),
        (edge - 3, edge + 5),
        (edge - 20, 2 * edge + 7),
        (2 * edge, 2 * edge + 999),
    ):
        found = await asyncio.to_thread(read, Range=f"bytes={first}-{last}")
        assert found == whole[first : last + 1]
    assert b"q" * 64 not in on_disk(tmp_path)


async def test_parts_need_the_key_that_their_upload_began_with(home: House):
    client = home.boto()

    def begin(**args: Any) -> Any:
        return client.create_multipart_upload(Bucket="photos", Key="m", **args)["UploadId"]

    def part(upload: str, **args: Any) -> Any:
        return client.upload_part(
            Bucket="photos", Key="m", UploadId=upload, PartNumber=1, Body=b"x", **args
        )

    upload = await asyncio.to_thread(begin, **ARGS)
    for args in ({}, {**ARGS, "SSECustomerKey": OTHER}):
        with pytest.raises(ClientError) as refused:
            await asyncio.to_thread(part, upload, **args)
        assert refused.value.response["Error"]["Code"] == "InvalidRequest"
    plain = await asyncio.to_thread(begin)
    with pytest.raises(ClientError) as refused:
        await asyncio.to_thread(part, plain, **ARGS)
    assert refused.value.response["Error"]["Code"] == "InvalidRequest"


KINDS: dict[str, tuple[dict[str, str], dict[str, str], dict[str, str]]] = {
    "plain": ({}, {}, {}),
    "customer": (customer(), customer(), source()),
    "other": (customer(OTHER), customer(OTHER), source(OTHER)),
    "datacenter": (SSE_S3, {}, {}),
}


@pytest.mark.parametrize("size", [20, 2_000_000])
@pytest.mark.parametrize("old", KINDS)
@pytest.mark.parametrize("new", KINDS)
async def test_a_copy_is_encrypted_as_it_is_asked_for(home: House, old: str, new: str, size: int):
    body = os.urandom(size)
    await put(home, "a", body, KINDS[old][0])
    headers = {"x-amz-copy-source": "/photos/a", **KINDS[old][2], **KINDS[new][0]}
    answer = await home.ask("PUT", "/photos/b", headers=headers)
    assert answer.status == 200, answer.body
    got = await home.ask("GET", "/photos/b", headers=KINDS[new][1])
    assert got.body == body
    assert ("x-amz-server-side-encryption" in got.headers) == (new == "datacenter")


async def test_an_object_can_be_encrypted_in_its_place(home: House, tmp_path: Path):
    await put(home, "a", CANARY)
    itself = {"x-amz-copy-source": "/photos/a"}
    answer = await home.ask("PUT", "/photos/a", headers=itself)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    for headers in (SSE_S3, customer(), {**source(), **customer(OTHER)}):
        answer = await home.ask("PUT", "/photos/a", headers={**itself, **headers})
        assert answer.status == 200, answer.body
    answer = await home.ask("GET", "/photos/a", headers=customer(OTHER))
    assert answer.body == CANARY


async def test_a_bucket_encrypts_what_does_not_say_otherwise(home: House):
    rule = b"<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
    rule += b"</ApplyServerSideEncryptionByDefault></Rule>"
    document = b"<ServerSideEncryptionConfiguration>" + rule
    document += b"</ServerSideEncryptionConfiguration>"
    await put(home, "before", b"x")
    assert (await home.ask("PUT", "/photos?encryption", document)).status == 200
    said = {}
    await put(home, "a", b"x")
    await put(home, "c", b"x", customer())
    await home.ask("PUT", "/photos/b", headers={"x-amz-copy-source": "/photos/before"})
    begun = await home.ask("POST", "/photos/m?uploads")
    assert begun.headers["x-amz-server-side-encryption"] == "AES256"
    assert (await home.ask("DELETE", "/photos?encryption")).status == 204
    await put(home, "after", b"x")
    for key in ("before", "a", "b", "c", "after"):
        answer = await home.ask("GET", f"/photos/{key}", headers=customer() if key == "c" else {})
        assert (answer.status, answer.body) == (200, b"x")
        said[key] = "x-amz-server-side-encryption" in answer.headers
    assert said == {"before": False, "a": True, "b": True, "c": False, "after": False}


async def test_a_bucket_can_refuse_keys_of_customers(home: House):
    await put(home, "before", CANARY, customer())
    rule = b"<Rule><BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType>"
    rule += b"</BlockedEncryptionTypes></Rule>"
    document = b"<ServerSideEncryptionConfiguration>" + rule
    document += b"</ServerSideEncryptionConfiguration>"
    assert (await home.ask("PUT", "/photos?encryption", document)).status == 200
    for method, target in (("PUT", "/photos/a"), ("POST", "/photos/a?uploads")):
        answer = await home.ask(method, target, b"", customer())
        assert (answer.status, answer.code) == (403, "AccessDenied")
    answer = await home.ask("GET", "/photos/before", headers=customer())
    assert answer.body == CANARY
    # It says nothing of a default.
    assert "x-amz-server-side-encryption" not in (await put(home, "a", b"x")).headers


async def test_a_copy_needs_the_key_of_its_source(home: House):
    await put(home, "a", CANARY, customer())
    for headers in ({}, source(OTHER)):
        answer = await home.ask(
            "PUT", "/photos/b", headers={"x-amz-copy-source": "/photos/a", **headers}
        )
        assert (answer.status, answer.code) == (400, "InvalidRequest")


async def test_attributes_of_an_encrypted_object_need_its_key(home: House):
    await put(home, "a", CANARY, customer())
    wanted = {"x-amz-object-attributes": "ETag,ObjectSize,Checksum"}
    answer = await home.ask("GET", "/photos/a?attributes", headers=wanted)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    answer = await home.ask("GET", "/photos/a?attributes", headers={**wanted, **customer()})
    assert answer.texts("ETag") == [hashlib.md5(CANARY).hexdigest()]
    expected = b64encode(crc64nvme(CANARY).to_bytes(8, "big")).decode()
    assert answer.texts("ChecksumCRC64NVME") == [expected]


async def stored(house: House, key: str) -> bytes:
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    version = await house.names.current(bucket.id, key)
    assert version is not None
    return b"".join([bytes(p) async for p in house.objects.read(version.extents, 0, version.size)])


@pytest.mark.parametrize("headers", [customer(), SSE_S3], ids=["customer", "datacenter"])
async def test_equal_bodies_are_never_equal_on_the_disk(home: House, headers: dict[str, str]):
    body = bytes(1000)
    for key in ("a", "b"):
        await put(home, key, body, headers)
    again = {"x-amz-copy-source": "/photos/a", **headers}
    if "x-amz-server-side-encryption" not in headers:
        again |= source()
    await home.ask("PUT", "/photos/c", headers=again)
    sealed = [await stored(home, key) for key in ("a", "b", "c")]
    await put(home, "a", body, headers)
    sealed.append(await stored(home, "a"))
    assert len({text[:16] for text in sealed}) == 4


async def test_equal_parts_are_never_equal_on_the_disk(home: House):
    part = bytes(5 << 20)
    begin = {"ServerSideEncryption": "AES256"}
    await asyncio.to_thread(multipart, home.boto(), begin, {}, [part, part, part])
    sealed = await stored(home, "m")
    assert len({sealed[at : at + 64] for at in range(0, len(sealed), 5 << 20)}) == 3


async def test_a_failure_inside_tells_no_key(
    home: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    await put(home, "a", CANARY, customer())
    await put(home, "b", CANARY, SSE_S3)
    _, data_key = await home.keyring.current()

    def fail(*_: Any) -> bytes:
        raise RuntimeError("planted")

    monkeypatch.setattr(Decrypter, "update", fail)
    answers = [
        await home.ask("GET", "/photos/a", headers=customer()),
        await home.ask("GET", "/photos/b"),
    ]
    logged = "".join(capsys.readouterr())
    assert logged.count("planted") >= 2
    for answer in answers:
        assert answer.status == 500
        logged += answer.body.decode()
    for key in (KEY, data_key):
        for text in (key.hex(), b64encode(key).decode(), repr(key), repr(key)[2:-1]):
            assert text not in logged
    assert repr(Sealing(Encryption(kind="customer"), KEY)) == "Sealing('customer')"
    assert repr(Opening(Encryption(kind="customer"), [], KEY)) == "Opening('customer')"
    assert repr(CustomerKey(KEY, "")) == "CustomerKey()"
