"""Whatever way an object is written: its entry has the SHA-256 of what clients read."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from form_kit import form, policy, post, signed_v4
from gateway_kit import REGION, amz_date, read_answer, request_bytes, sign, signing_key
from proving_kit import MARK, Proven, facts, of, open_proven, reader, set_quick
from replica_kit import eventually
from test_s3_bad_input import chunked, presigned
from test_s3_encryption import ARGS, SSE_S3, customer, multipart, source

from dc.names.model import CUSTOMER, Encryption, Version
from dc.objects.api import CorruptData
from dc.read_through import ON, READ_THROUGH, Passing
from gateway import checksums, copy

EMPTY = hashlib.sha256().hexdigest()
LARGE = 3 << 20
PARTS = [b"q" * (5 << 20), b"r" * 1000]
VERSIONING = "<VersioningConfiguration><Status>{}</Status></VersioningConfiguration>"


@pytest.fixture(params=["here", "elsewhere"])
async def proven(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Proven]:
    set_quick(monkeypatch)
    async with open_proven(tmp_path, elsewhere=request.param == "elsewhere") as opened:
        yield opened


def signed_chunks(host: str, target: str, body: bytes, size: int) -> bytes:
    """A request whose body is signed chunk by chunk."""
    stamp = amz_date()
    scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
    headers = {
        "Host": host,
        "x-amz-decoded-content-length": str(len(body)),
        "Content-Encoding": "aws-chunked",
    }
    headers = sign("PUT", target, headers, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", stamp=stamp)
    key = signing_key("secret of ann", stamp[:8])
    previous, sent = headers["Authorization"].rpartition("=")[2], b""
    for chunk in [*(body[at : at + size] for at in range(0, len(body), size)), b""]:
        lines = ["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, previous, EMPTY]
        text = "\n".join([*lines, hashlib.sha256(chunk).hexdigest()])
        previous = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        sent += b"%x;chunk-signature=%s\r\n%s\r\n" % (len(chunk), previous.encode(), chunk)
    headers["Content-Length"] = str(len(sent))
    return request_bytes("PUT", target, headers, sent)


async def test_bodies_however_they_are_sent(proven: Proven) -> None:
    """Small ones, which come whole, and those that are streamed."""
    house, bodies = proven.house, {}
    trailing = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    for size in (0, 5, LARGE):
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        answers = {
            "signed": await house.ask("PUT", f"/photos/signed-{size}", body),
            "unsigned": await house.ask(
                "PUT", f"/photos/unsigned-{size}", body, payload="UNSIGNED-PAYLOAD"
            ),
            "sse-s3": await house.ask("PUT", f"/photos/sse-s3-{size}", body, SSE_S3),
            "sse-c": await house.ask("PUT", f"/photos/sse-c-{size}", body, customer()),
            "presigned": await house.ask(
                "PUT", presigned("PUT", house, f"/photos/presigned-{size}"), body, user=None
            ),
            "trailing": await house.ask(
                "PUT",
                f"/photos/trailing-{size}",
                chunked(body) if size else b"0\r\n\r\n",
                {"x-amz-decoded-content-length": str(size), "Content-Encoding": "aws-chunked"},
                payload=trailing,
            ),
            "chunks": await house.raw(
                signed_chunks(house.host, f"/photos/chunks-{size}", body, 1 << 16)
            ),
            "form": await post(house, form(signed_v4({"key": f"form-{size}"}, policy()), body)),
        }
        assert {name: one.status for name, one in answers.items()} == {
            name: 204 if name == "form" else 200 for name in answers
        }
        bodies |= {f"{name}-{size}": body for name in answers}
    await proven.prove()
    for key, body in bodies.items():
        entry = await proven.entry(f"/photos/{key}")
        assert (facts(entry), entry["key"]) == (of(body), key)


async def test_a_long_stream(proven: Proven) -> None:
    """64 MiB, whose SHA-256 is taken as they pass: nothing is read again for it."""
    piece, count = bytes(range(256)) * 4096, 64
    size = len(piece) * count
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(piece)
    headers = sign("PUT", "/photos/k", {"Host": proven.house.host}, "UNSIGNED-PAYLOAD")
    headers["Content-Length"] = str(size)
    reader, writer = await proven.house.connect()
    writer.write(request_bytes("PUT", "/photos/k", headers))
    for _ in range(count):
        writer.write(piece)
        await writer.drain()
    assert (await asyncio.wait_for(read_answer(reader), 60)).status == 200
    writer.close()

    async def read(_: Any) -> Any:
        raise AssertionError("it is known")

    proven.notary.log.digest = read
    await proven.prove()
    assert facts(await proven.entry("/photos/k")) == (digest.hexdigest(), size, "object")


@pytest.mark.parametrize("kind", ["plain", "datacenter", "customer"])
async def test_objects_in_parts(proven: Proven, kind: str) -> None:
    """They are read again; but those of SSE-C cannot be, and their entries say so."""
    begin: dict[str, Any]
    begin, args = {
        "plain": ({}, {}),
        "datacenter": ({"ServerSideEncryption": "AES256"}, {}),
        "customer": (ARGS, ARGS),
    }[kind]
    await asyncio.to_thread(multipart, proven.house.boto(), begin, args, PARTS)
    headers = customer() if kind == "customer" else {}
    assert await proven.mark("/photos/m", headers=headers) == "pending"
    await proven.prove()
    entry = await proven.entry("/photos/m")
    if kind != "customer":
        assert facts(entry) == of(b"".join(PARTS))
        return
    assert entry["of"] == "stored" and entry["size"] == sum(map(len, PARTS))
    version = await proven.names.current(entry["bucket_id"], "m")
    assert version is not None
    stored = b"".join(
        [
            bytes(piece)
            async for piece in proven.house.objects.read(version.extents, 0, entry["size"])
        ]
    )
    assert hashlib.sha256(stored).hexdigest() == entry["sha256"]


async def test_copies(proven: Proven) -> None:
    """Of what is notarized and what is not, there and here, and encrypted anew."""
    house = proven.house
    await house.bucket("plain")
    for bucket in ("plain", "photos"):
        await proven.put(f"/{bucket}/small", b"small")
        await proven.put(f"/{bucket}/large", bytes(LARGE))
        await house.ask("PUT", f"/{bucket}/secret", b"secret", customer())
    copied: dict[str, bytes] = {}
    for bucket in ("plain", "photos"):
        for key, body in (("small", b"small"), ("large", bytes(LARGE))):
            for name, more in (("", {}), ("-c", customer()), ("-s", SSE_S3)):
                at = f"{bucket}-{key}{name}"
                said = {"x-amz-copy-source": f"{bucket}/{key}", **more}
                assert (await house.ask("PUT", f"/photos/{at}", b"", said)).status == 200
                copied[at] = body
        said = {"x-amz-copy-source": f"{bucket}/secret", **source()}
        assert (await house.ask("PUT", f"/photos/{bucket}-open", b"", said)).status == 200
        copied[f"{bucket}-open"] = b"secret"
    away = {"x-amz-copy-source": "photos/small"}
    assert (await house.ask("PUT", "/plain/away", b"", away)).status == 200
    again = {"x-amz-copy-source": "photos/small", "x-amz-metadata-directive": "REPLACE"}
    assert (await house.ask("PUT", "/photos/small", b"", again)).status == 200
    entries = await proven.prove()
    for key, body in copied.items():
        assert facts(await proven.entry(f"/photos/{key}")) == of(body), key
    assert await proven.mark("/plain/away") is None
    assert all(one["bucket"] == "photos" for one in entries)
    ends = [one["type"] for one in entries if one.get("key") == "small"]
    assert ends == ["version", "version", "removed"] or ends == ["version", "removed", "version"]


async def test_parts_that_are_copied(proven: Proven) -> None:
    client = proven.house.boto()
    names = {"Bucket": "photos", "Key": "joined"}
    await proven.put("/photos/part", PARTS[0])

    def run() -> None:
        made = client.create_multipart_upload(**names)["UploadId"]
        done = []
        for number, more in ((1, {}), (2, {"CopySourceRange": "bytes=0-99"})):
            answer = client.upload_part_copy(
                **names, UploadId=made, PartNumber=number, CopySource="photos/part", **more
            )
            done.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
        client.complete_multipart_upload(**names, UploadId=made, MultipartUpload={"Parts": done})

    await asyncio.to_thread(run)
    await proven.prove()
    assert facts(await proven.entry("/photos/joined")) == of(PARTS[0] + PARTS[0][:100])


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("size", [4000, LARGE])
async def test_the_switch_is_made_while_a_body_is_on_its_way(
    proven: Proven, on: bool, size: int
) -> None:
    """What counts is the moment at which the version is made."""
    house, body = proven.house, b"b" * size
    await house.bucket("other")
    await proven.switch("other", not on)
    headers = sign("PUT", "/other/k", {"Host": house.host}, "UNSIGNED-PAYLOAD")
    headers["Content-Length"] = str(size)
    reader, writer = await house.connect()
    begun = house.counts.begun
    writer.write(request_bytes("PUT", "/other/k", headers, body[: size // 2]))
    await eventually(lambda: house.counts.begun > begun)
    await asyncio.sleep(0.05)
    await proven.switch("other", on)
    writer.write(body[size // 2 :])
    assert (await asyncio.wait_for(read_answer(reader), 20)).status == 200
    writer.close()
    await proven.prove()
    if on:
        assert facts(await proven.entry("/other/k")) == of(body)
    else:
        assert await proven.mark("/other/k") is None


async def test_what_is_removed(proven: Proven) -> None:
    """A deletion for good and an overwritten null version have entries, a marker has none."""
    house = proven.house

    async def delete(target: str) -> None:
        assert (await house.ask("DELETE", target)).status == 204

    async def versioning(status: str) -> None:
        body = VERSIONING.format(status).encode()
        assert (await house.ask("PUT", "/photos?versioning", body)).status == 200

    await proven.put("/photos/null", b"1")
    await proven.put("/photos/null", b"2")
    await proven.put("/photos/deleted", b"3")
    await delete("/photos/deleted")
    await delete("/photos/deleted")
    await versioning("Enabled")
    one = await proven.put("/photos/k", b"4")
    two = await proven.put("/photos/k", b"5")
    await delete("/photos/k")
    await delete(f"/photos/k?versionId={one}")
    await versioning("Suspended")
    await proven.put("/photos/k", b"6")
    await proven.put("/photos/k", b"7")
    await delete("/photos/k")
    entries = (await proven.prove())[1:]
    said = [
        (one["type"], one["key"], one["version_id"], one.get("sha256", "")[:8]) for one in entries
    ]

    def sha(body: bytes) -> str:
        return hashlib.sha256(body).hexdigest()[:8]

    assert sorted(said) == sorted(
        [
            ("version", "null", "null", sha(b"1")),
            ("removed", "null", "null", ""),
            ("version", "null", "null", sha(b"2")),
            ("version", "deleted", "null", sha(b"3")),
            ("removed", "deleted", "null", ""),
            ("version", "k", one, sha(b"4")),
            ("version", "k", two, sha(b"5")),
            ("removed", "k", one, ""),
            ("version", "k", "null", sha(b"6")),
            ("removed", "k", "null", ""),
            ("version", "k", "null", sha(b"7")),
            ("removed", "k", "null", ""),
        ]
    )
    for key in ("null", "deleted", "k"):
        stamps = [one["stamp"] for one in entries if one["key"] == key and one["type"] == "version"]
        assert stamps == sorted(stamps), "in the order in which they were written"
    for one_removed in (one for one in entries if one["type"] == "removed"):
        written = next(
            one for one in entries
            if one["type"] == "version" and one["stamp"] == one_removed["stamp"]
        )  # fmt: skip
        assert entries.index(written) < entries.index(one_removed)
        assert one_removed["time"] >= written["time"]


async def test_many_deletions_in_one_request(proven: Proven) -> None:
    for key in ("a", "b", "c"):
        await proven.put(f"/photos/{key}")
    client = proven.house.boto()
    objects = [{"Key": "a"}, {"Key": "b"}, {"Key": "none"}]
    await asyncio.to_thread(client.delete_objects, Bucket="photos", Delete={"Objects": objects})
    entries = await proven.prove()
    assert sorted(one["key"] for one in entries if one["type"] == "removed") == ["a", "b"]


async def test_a_bucket_that_is_made_anew_begins_without(proven: Proven) -> None:
    house = proven.house
    await proven.put("/photos/k", b"old")
    await house.ask("DELETE", "/photos/k")
    assert (await house.ask("DELETE", "/photos")).status == 204
    assert (await house.ask("PUT", "/photos")).status == 200
    await proven.put("/photos/k", b"between")
    assert await proven.mark("/photos/k") is None
    await proven.switch("photos")
    await proven.put("/photos/k", b"new")
    entries = await proven.prove()
    assert [one["type"] for one in entries] == [
        "enabled", "version", "removed", "disabled", "enabled", "version",
    ]  # fmt: skip
    assert facts(await proven.entry("/photos/k")) == of(b"new")


async def test_access_logs_are_objects_as_others(proven: Proven) -> None:
    house = proven.house
    await house.bucket("plain")
    target = "<TargetBucket>photos</TargetBucket><TargetPrefix>log/</TargetPrefix>"
    wish = f"<BucketLoggingStatus><LoggingEnabled>{target}</LoggingEnabled></BucketLoggingStatus>"
    assert (await house.ask("PUT", "/plain?logging", wish.encode())).status == 200
    await proven.put("/plain/k")
    await house.logs.flush()
    (key,) = await house.keys("photos")
    body = (await house.ask("GET", f"/photos/{key}")).body
    await proven.prove()
    assert facts(await proven.entry(f"/photos/{key}")) == of(body)


class Broken:
    """Objects of which nothing can be read."""

    async def read(self, extents: Any, start: int, stop: int) -> AsyncIterator[bytes]:
        raise CorruptData("a disk is away")
        yield b""


class Giving:
    """Other datacenters that give the bytes of anything."""

    async def open(self, version: Version, start: int, stop: int) -> Passing:
        return Passing("tokyo", self._pieces(stop - start))

    async def _pieces(self, size: int) -> AsyncIterator[bytes]:
        yield bytes(size)


async def test_bytes_that_another_datacenter_gives_are_not_what_is_signed(proven: Proven) -> None:
    await proven.put("/photos/k", b"bytes")
    bucket = proven.names.directory.bucket("photos")
    assert bucket is not None
    await proven.names.set_bucket_registers(bucket.id, {READ_THROUGH: ON})
    version = await proven.names.current(bucket.id, "k")
    assert version is not None
    objects, others = cast(Any, Broken()), cast(Any, Giving())
    secret = msgspec.structs.replace(version.meta, sse=Encryption(kind=CUSTOMER))
    for one in (version, msgspec.structs.replace(version, meta=secret)):
        with pytest.raises(CorruptData):
            await reader(proven.names, objects, others).sha256(one)


async def test_a_write_that_is_refused_has_no_entry(proven: Proven) -> None:
    await proven.put("/photos/k", b"kept")
    refused = await proven.house.ask("PUT", "/photos/k", b"no", {"If-None-Match": "*"})
    assert refused.status == 412
    wrong = await proven.house.ask("PUT", "/photos/k", b"no", payload="0" * 64)
    assert wrong.status == 400
    entries = await proven.prove()
    assert [facts(one) for one in entries[1:]] == [of(b"kept")]


async def test_without_the_notary_nothing_is_paid(
    proven: Proven, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No SHA-256 is computed that no client asks for, and no entry is made."""
    house, made = proven.house, []

    def noting(real: Any) -> Any:
        def hasher(algorithm: str) -> Any:
            made.append(algorithm.upper())
            return real(algorithm)

        return hasher

    monkeypatch.setattr(checksums, "hasher", noting(checksums.hasher))
    monkeypatch.setattr(copy, "Sha", noting(copy.Sha))
    await house.bucket("plain")
    await proven.notary.open()
    for bucket in ("plain", "photos"):
        for size in (4, LARGE):
            await house.ask("PUT", f"/{bucket}/{size}", bytes(size), payload="UNSIGNED-PAYLOAD")
            said = {"x-amz-copy-source": f"{bucket}/{size}"}
            await house.ask("PUT", f"/{bucket}/copy-{size}", b"", said, payload="UNSIGNED-PAYLOAD")
        if bucket == "plain":
            assert made == ["MD5", "MD5"]  # Of the copies.
            assert await proven.names.notary_outbox.waiting() == 1  # The switch of the other.
    assert made.count("SHA256") == 4
    assert MARK not in (await house.ask("GET", "/plain/4")).headers
