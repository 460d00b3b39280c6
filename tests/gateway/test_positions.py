"""Reading in one datacenter what was written in another: `x-farshore-position`."""

import asyncio
import contextlib
import json
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from gateway_kit import REGION, USERS, Answer, House
from msgspec.structs import replace
from paired_kit import house_of
from replica_kit import Dc, datacenters, eventually, pair

from dc.names.model import Version
from dc.placement import elsewhere
from dc.positions import position_of
from dc.stamps import version_id

HEADER, WAIT = "x-farshore-position", "x-farshore-wait"
NOBODY = "e" * 16


class Gate:
    """What holds back the changes that come to a datacenter."""

    def __init__(self, dc: Dc) -> None:
        self._apply = dc.names.apply
        self._open = asyncio.Event()
        self._open.set()
        dc.names.apply = self._held  # type: ignore[method-assign]

    async def _held(self, changes: Any, **more: Any) -> None:
        await self._open.wait()
        await self._apply(changes, **more)

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()


@contextlib.asynccontextmanager
async def two(root: Path) -> AsyncIterator[tuple[House, House, Gate, Dc]]:
    """Paris, and Tokyo with its gate; the bucket `photos` is in both."""
    async with datacenters(root, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await paris.names.create_bucket("photos", USERS["ann"], REGION)
        await eventually(lambda: tokyo.names.directory.bucket("photos") is not None)
        gate = Gate(tokyo)
        async with house_of(paris) as at_paris, house_of(tokyo) as at_tokyo:
            try:
                yield at_paris, at_tokyo, gate, tokyo
            finally:
                gate.open()


async def written(house: House, method: str, target: str, body: bytes = b"", **headers: str) -> str:
    """Write; the position."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await house.ask(method, target, body, named)
    assert answer.status in (200, 204), answer
    return answer.headers[HEADER]


async def asked(
    house: House, method: str, target: str, position: str, wait: str = "20"
) -> "asyncio.Task[Answer]":
    """A request that waits."""
    headers = {HEADER: position, WAIT: wait}
    task = asyncio.ensure_future(house.ask(method, target, headers=headers))
    await asyncio.sleep(0.1)
    return task


async def late(gate: Gate, house: House, method: str, target: str, position: str) -> Answer:
    """The answer to a request that must wait until the gate is open."""
    task = await asked(house, method, target, position)
    assert not task.done(), task.result()
    gate.open()
    return await task


async def test_get_head_and_list_wait_for_what_was_put_elsewhere(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, gate, _):
        for method, target in (
            ("GET", "/photos/k0"),
            ("HEAD", "/photos/k1"),
            ("GET", "/photos?list-type=2&prefix=k2"),
            ("GET", "/photos?versions&prefix=k3"),
            ("GET", "/photos/k4?tagging"),
        ):
            gate.shut()
            key = target[target.index("k", 2) :][:2]
            position = await written(paris, "PUT", f"/photos/{key}", b"hello")
            assert (await tokyo.ask("GET", f"/photos/{key}")).code == "NoSuchKey"
            answer = await late(gate, tokyo, method, target, position)
            assert answer.status == 200, (target, answer)
            if target.startswith("/photos?"):
                assert answer.texts("Key") == [key]
        # What is here does not wait; nor does what was made here.
        for house in (paris, tokyo):
            answer = await house.ask("GET", "/photos/k0", headers={HEADER: position, WAIT: "0"})
            assert answer.body == b"hello"


async def test_an_overwritten_object_is_not_answered_as_it_was(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, gate, _):
        before = await written(paris, "PUT", "/photos/k", b"old")
        assert (await tokyo.ask("GET", "/photos/k", headers={HEADER: before})).body == b"old"
        gate.shut()
        position = await written(paris, "PUT", "/photos/k", b"new")
        assert (await late(gate, tokyo, "GET", "/photos/k", position)).body == b"new"


async def test_what_was_overwritten_before_it_was_sent_is_not_waited_for(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, gate, _):
        gate.shut()
        # Of these some never come: the feed has the last change of each item only.
        positions = [
            await written(paris, "PUT", "/photos/k", b"%d" % number) for number in range(20)
        ]
        for position in positions[:-1]:
            listed = await asked(tokyo, "GET", "/photos", position)
            assert not listed.done()
            listed.cancel()
        task = await asked(tokyo, "GET", "/photos", ",".join(positions))
        gate.open()
        assert (await task).texts("Key") == ["k"]


async def test_deletions(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, gate, _):
        for key in ("a", "b", "c"):
            position = await written(paris, "PUT", f"/photos/{key}", b"hello")
            assert (await tokyo.ask("GET", f"/photos/{key}", headers={HEADER: position})).body
        gate.shut()
        position = await written(paris, "DELETE", "/photos/a")
        assert (await late(gate, tokyo, "GET", "/photos/a", position)).code == "NoSuchKey"
        gate.shut()
        position = (await deleted(paris, "b", "c", "no"))[HEADER]
        assert position.count(",") == 2
        assert (await late(gate, tokyo, "GET", "/photos", position)).texts("Key") == []


async def deleted(house: House, *keys: str, **etags: str) -> dict[str, str]:
    """Delete by one request, some only with that ETag; the headers of the answer."""
    rows = [f"<Object><Key>{key}</Key></Object>" for key in keys]
    rows += [f"<Object><Key>{k}</Key><ETag>{e}</ETag></Object>" for k, e in etags.items()]
    body = f"<Delete>{''.join(rows)}</Delete>".encode()
    checksum = {"x-amz-checksum-crc32": b64encode(crc32(body).to_bytes(4, "big")).decode()}
    answer = await house.ask("POST", "/photos?delete", body, checksum)
    assert answer.status == 200, answer
    return answer.headers


async def test_versions_and_their_markers(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, gate, _):
        gate.shut()
        status = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        position = await written(paris, "PUT", "/photos?versioning", status.encode())
        answer = await late(gate, tokyo, "GET", "/photos?versioning", position)
        assert answer.texts("Status") == ["Enabled"]
        put = await paris.ask("PUT", "/photos/k", b"one")
        vid = put.headers["x-amz-version-id"]
        gate.shut()
        version = f"/photos/k?versionId={vid}"
        await written(paris, "PUT", "/photos/k", b"two")
        position = await written(paris, "DELETE", "/photos/k")
        answer = await late(gate, tokyo, "GET", "/photos/k", position)
        assert answer.headers["x-amz-delete-marker"] == "true"
        assert (await tokyo.ask("GET", version)).body == b"one"
        gate.shut()
        position = await written(paris, "DELETE", version)
        assert (await late(gate, tokyo, "GET", version, position)).code == "NoSuchVersion"


async def test_copies_and_uploads(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, gate, _):
        await written(paris, "PUT", "/photos/k", b"hello")
        gate.shut()
        position = await written(paris, "PUT", "/photos/copy", x_amz_copy_source="/photos/k")
        assert (await late(gate, tokyo, "GET", "/photos/copy", position)).body == b"hello"
        begun = await paris.ask("POST", "/photos/large?uploads")
        (upload,) = begun.texts("UploadId")
        large = os.urandom(6 << 20)
        part = await paris.ask("PUT", f"/photos/large?partNumber=1&uploadId={upload}", large)
        etag = part.headers["etag"]
        assert HEADER not in part.headers
        body = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>"
        gate.shut()
        target = f"/photos/large?uploadId={upload}"
        position = await written(paris, "POST", target, body.encode())
        # Asked again, it is the same write.
        assert await written(paris, "POST", target, body.encode()) == position
        assert (await late(gate, tokyo, "GET", "/photos/large", position)).body == large


async def test_a_body_that_is_still_on_its_way_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(tmp_path) as (paris, tokyo, _, dc):
        go = asyncio.Event()
        writer = dc.objects.writer
        put = dc.objects.put

        async def held(*arguments: Any, **more: Any) -> Any:
            await go.wait()
            return await put(*arguments, **more)

        monkeypatch.setattr(dc.objects, "put", held)

        class Held:
            def __init__(self, inner: Any) -> None:
                self._inner = inner

            def __getattr__(self, name: str) -> Any:
                return getattr(self._inner, name)

            async def finish(self, *arguments: Any) -> Any:
                await go.wait()
                return await self._inner.finish(*arguments)

        monkeypatch.setattr(dc.objects, "writer", lambda *a, **m: Held(writer(*a, **m)))
        position = await written(paris, "PUT", "/photos/large", b"x" * 3_000_000)

        async def in_inbox() -> bool:
            return (await dc.names.inbox_state(dc.names.peers()[0].dc_id))[0] == 1

        await eventually(in_inbox)
        task = await asked(tokyo, "GET", "/photos/large", position)
        listed = await asked(tokyo, "GET", "/photos", position)
        await asyncio.sleep(0.2)
        assert not task.done() and not listed.done()
        go.set()
        assert (await task).body == b"x" * 3_000_000
        assert (await listed).texts("Key") == ["large"]


async def test_buckets_come_and_go(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, gate, _):
        gate.shut()
        position = await written(paris, "PUT", "/new-one")
        assert (await tokyo.ask("GET", "/new-one")).code == "NoSuchBucket"
        # A write may wait, too.
        task = asyncio.ensure_future(tokyo.ask("PUT", "/new-one/k", b"hello", {HEADER: position}))
        await asyncio.sleep(0.1)
        assert not task.done()
        gate.open()
        assert (await task).status == 200
        position = await written(tokyo, "DELETE", "/new-one/k")
        gone = await paris.ask("GET", "/new-one/k", headers={HEADER: position})
        assert gone.code == "NoSuchKey"
        gate.shut()
        position = await written(paris, "DELETE", "/new-one")
        assert (await tokyo.ask("HEAD", "/new-one")).status == 200
        assert (await late(gate, tokyo, "GET", "/new-one", position)).code == "NoSuchBucket"


async def test_what_does_not_come_is_a_504_that_says_so(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, gate, _):
        gate.shut()
        position = await written(paris, "PUT", "/photos/k", b"hello")
        headers = {HEADER: position, WAIT: "0.2"}
        for target in ("/photos/k", "/photos"):
            answer = await tokyo.ask("GET", target, headers=headers)
            assert (answer.status, answer.code) == (504, "PositionNotHere")
            assert answer.texts("Position") == [position]
            assert (
                "made in paris, has not come here within 0.2 seconds" in answer.texts("Message")[0]
            )
        assert (await tokyo.ask("HEAD", "/photos/k", headers=headers)).status == 504
        # Who is no peer is known as such.
        stranger = position_of(f"{position[2:18]}{NOBODY}", "b").text()
        answer = await tokyo.ask("GET", "/photos", headers={HEADER: stranger, WAIT: "0"})
        assert answer.status == 504 and f"not known here ({NOBODY})" in answer.texts("Message")[0]


async def test_the_bucket_and_who_is_let_in_may_be_what_has_not_come(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, gate, _):
        await written(paris, "PUT", "/photos/there", b"hello")
        await eventually_there(tokyo, "/photos/there")
        gate.shut()
        positions = [
            await written(paris, "PUT", "/new-one"),
            await written(paris, "PUT", "/new-one/k", b"hello"),
        ]
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::photos/*",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        positions.append(await written(paris, "PUT", "/photos?policy", policy.encode()))
        headers = {HEADER: ",".join(positions), WAIT: "0.2"}
        for method in ("GET", "HEAD"):
            for target in ("/new-one/k", "/photos/there"):
                answer = await tokyo.ask(method, target, headers=headers, user="bob")
                assert answer.status == 504, (method, target, answer)
        assert (await tokyo.ask("GET", "/photos/there", user="bob")).code == "AccessDenied"
        gate.open()
        headers[WAIT] = "20"
        answer = await tokyo.ask("GET", "/photos/there", headers=headers, user="bob")
        assert answer.body == b"hello"
        # What all of it is here for is refused as ever.
        answer = await tokyo.ask("GET", "/new-one/k", headers=headers, user="bob")
        assert answer.code == "AccessDenied"


async def eventually_there(house: House, target: str) -> None:
    async def is_there() -> bool:
        return (await house.ask("GET", target)).status == 200

    await eventually(is_there)


async def test_by_way_of_another_datacenter(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "a", "b", "c") as (a, b, c):
        await pair(a, b)
        await pair(b, c)
        await a.names.create_bucket("photos", USERS["ann"], REGION)
        await eventually(lambda: c.names.directory.bucket("photos") is not None)
        gate = Gate(b)
        async with house_of(a) as at_a, house_of(c) as at_c:
            gate.shut()
            position = await written(at_a, "PUT", "/photos/k", b"hello")
            assert (await late(gate, at_c, "GET", "/photos/k", position)).body == b"hello"
            gate.shut()
            position = await written(at_a, "DELETE", "/photos/k")
            assert (await late(gate, at_c, "GET", "/photos", position)).texts("Key") == []


async def test_amazons_library_can_carry_it(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, gate, _):
        here, there = paris.boto(), tokyo.boto()
        gate.shut()
        answer = await asyncio.to_thread(
            lambda: here.put_object(Bucket="photos", Key="cat.jpg", Body=b"meow")
        )
        position = answer["ResponseMetadata"]["HTTPHeaders"][HEADER]

        def carry(request: Any, **_: Any) -> None:
            request.headers[HEADER] = position

        there.meta.events.register("before-sign.s3.GetObject", carry)

        def get() -> bytes:
            return there.get_object(Bucket="photos", Key="cat.jpg")["Body"].read()

        task = asyncio.ensure_future(asyncio.to_thread(get))
        await asyncio.sleep(0.3)
        assert not task.done()
        gate.open()
        assert await task == b"meow"


# -- one gateway, here and on another machine -----------------------------------------------------


async def test_a_gateway_waits_for_a_change_from_elsewhere(house: House) -> None:
    await house.bucket()
    position = await written(house, "PUT", "/photos/k", b"hello")
    found = await house.ask("GET", "/photos/k", headers={HEADER: position, WAIT: "0"})
    assert found.body == b"hello"
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    stamp = f"{house.names.clock.now()[:16]}{NOBODY}"
    task = await asked(house, "GET", "/photos/k", position_of(stamp, bucket.id, "k").text())
    assert not task.done()
    await house.names.apply([replace(await here(house, "k"), stamp=stamp, etag="9" * 32)])
    assert (await task).headers["etag"] == f'"{"9" * 32}"'
    never = position_of(stamp, bucket.id, "other").text()
    answer = await house.ask("GET", "/photos", headers={HEADER: never, WAIT: "0.1"})
    assert (answer.status, answer.code) == (504, "PositionNotHere")


async def test_what_is_here_is_looked_up_when_its_arrival_was_forgotten(house: House) -> None:
    await house.bucket()
    await written(house, "PUT", "/photos/k", b"hello")
    like = await here(house, "k")
    stamp = f"{house.names.clock.now()[:16]}{NOBODY}"
    vid = version_id(stamp)
    news = [replace(like, stamp=stamp), replace(like, key="v", vid=vid, stamp=stamp)]
    await house.names.apply(news)
    null, other = (position_of(stamp, one.bucket, one.key, one.vid).text() for one in news)
    house.names.arrivals._is_asked = True  # As if it had come too long ago.
    for method, target, position in (
        ("GET", "/photos/k", null),
        ("HEAD", "/photos/k", null),
        ("GET", "/photos/k?tagging", null),
        ("GET", "/photos/v", other),
        ("GET", f"/photos/v?versionId={vid}", other),
    ):
        headers = {HEADER: position, WAIT: "0"}
        answer = await house.ask(method, target, headers=headers)
        assert answer.status == 200, (target, answer)
    later = position_of(f"{house.names.clock.now()[:16]}{NOBODY}", like.bucket, "k").text()
    for target, position in (
        ("/photos/k", f"{null},{later}"),
        ("/photos/k", other),
        ("/photos/none", null),
        ("/photos", null),
    ):
        answer = await house.ask("GET", target, headers={HEADER: position, WAIT: "0"})
        assert answer.code == "PositionNotHere", target


async def here(house: House, key: str) -> Version:
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    found = await house.names.current(bucket.id, key)
    assert found is not None
    return found


async def test_a_name_without_its_bytes_is_here_and_says_so(house: House) -> None:
    await house.bucket()
    await written(house, "PUT", "/photos/like", b"hello")
    like = await here(house, "like")
    stamp = f"{house.names.clock.now()[:16]}{NOBODY}"
    away = replace(like, key="away", stamp=stamp, extents=elsewhere(like.size))
    position = position_of(stamp, like.bucket, "away").text()
    task = await asked(house, "GET", "/photos/away", position)
    assert not task.done()
    await house.names.apply([away])
    waited, at_once = await task, await house.ask("GET", "/photos/away")
    assert (waited.status, waited.code) == (at_once.status, at_once.code) == (503, waited.code)
    headers = {HEADER: position, WAIT: "0"}
    assert (await house.ask("HEAD", "/photos/away", headers=headers)).status == 200


async def test_who_sends_no_signature_does_not_wait(house: House) -> None:
    await house.bucket()
    never = position_of(f"{house.names.clock.now()[:16]}{NOBODY}", "b").text()
    headers = {HEADER: never, WAIT: "60"}
    answer = await house.ask("GET", "/photos", headers=headers, user=None)
    assert (answer.status, answer.code) == (504, "PositionNotHere")


async def test_too_many_that_wait_are_sent_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dc.names.arrivals.WAITING_MAX", 1)
    await house.bucket()
    never = position_of(f"{house.names.clock.now()[:16]}{NOBODY}", "b").text()
    task = await asked(house, "GET", "/photos", never)
    answer = await house.ask("GET", "/photos", headers={HEADER: never})
    assert (answer.status, answer.code) == (503, "SlowDown")
    house.names.arrivals.close()
    assert (await task).code == "ServiceUnavailable"


@pytest.mark.parametrize(
    "headers",
    [
        {HEADER: ""},
        {HEADER: "1-2"},
        {HEADER: "{good},"},
        {HEADER: "{good};{good}"},
        {HEADER: ",".join(["{good}"] * 33)},
        {HEADER: "x" * 5000},
        {HEADER: "{good}", WAIT: ""},
        {HEADER: "{good}", WAIT: "-1"},
        {HEADER: "{good}", WAIT: "61"},
        {HEADER: "{good}", WAIT: "60.01"},
        {HEADER: "{good}", WAIT: "1e1"},
        {HEADER: "{good}", WAIT: "nan"},
        {HEADER: "{good}", WAIT: "."},
        {HEADER: "{good}", WAIT: "1.2.3"},
    ],
    ids=range(14),
)
async def test_bad_positions_and_times_are_refused(house: House, headers: dict[str, str]) -> None:
    await house.bucket()
    good = await written(house, "PUT", "/photos/k", b"hello")
    headers = {name: text.replace("{good}", good) for name, text in headers.items()}
    answer = await house.ask("GET", "/photos/k", headers=headers)
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert answer.texts("ArgumentName") == [WAIT if WAIT in headers else HEADER]


async def test_what_fails_has_no_position(house: House) -> None:
    await house.bucket()
    await written(house, "PUT", "/photos/k", b"hello")
    failed = await house.ask("PUT", "/photos/k", b"x", {"If-None-Match": "*"})
    assert failed.status == 412 and HEADER not in failed.headers
    for method, target, headers in (
        ("GET", "/photos/k", {}),
        ("GET", "/photos", {}),
        ("DELETE", "/photos/none", {"If-Match": "*"}),
    ):
        assert HEADER not in (await house.ask(method, target, headers=headers)).headers
    # Of many deletions those that were made; and of too many none.
    assert (await deleted(house, "a", k="nothing-like-it"))[HEADER].count(",") == 0
    assert HEADER not in await deleted(house, k="nothing-like-it")
    assert (await deleted(house, *map(str, range(32))))[HEADER].count(",") == 31
    assert HEADER not in await deleted(house, *map(str, range(33)))
