"""Read-through: what is not here is served from a datacenter that has it."""

import asyncio
import hashlib
import json
import os
from base64 import b64encode
from pathlib import Path

import pytest
from access_kit import add_users
from gateway_kit import USERS, House
from msgspec.structs import replace
from replica_kit import eventually
from test_website import INDEX, open_site, visit
from through_kit import NOWHERE, THROUGH, UNASKED, World, put, world

from dc.names.model import Bucket, Extent, Interval
from dc.objects.api import CorruptData
from dc.placement import is_elsewhere
from dc.positions import position_of
from dc.stamps import version_id
from gateway.positions import POSITION
from replicator import reading
from replicator.errors import BodyUnavailable
from replicator.messages import BodyAsk

LARGE = 3_000_000
KEY = bytes(range(32))
CUSTOMER = {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": b64encode(KEY).decode(),
    "x-amz-server-side-encryption-customer-key-MD5": b64encode(hashlib.md5(KEY).digest()).decode(),
}


async def known(world: World, name: str, key: str) -> None:
    """Return when a datacenter knows a key."""

    async def there() -> bool:
        return await world.dcs[name].names.current(world.bucket.id, key) is not None

    await eventually(there)


# -- bytes that are not here ------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 5, LARGE])
async def test_bytes_that_rules_keep_elsewhere_are_passed_and_not_stored(
    tmp_path: Path, size: int
) -> None:
    body = os.urandom(size)
    async with world(tmp_path, on=False, replication=NOWHERE) as one:
        paris, tokyo = one.houses["paris"], one.houses["tokyo"]
        await put(paris, "k", body)
        await known(one, "tokyo", "k")
        if size:
            assert (await tokyo.ask("GET", "/photos/k")).code == "InvalidObjectState"
        await one.set(read_through="on")
        answer = await tokyo.ask("GET", "/photos/k")
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers.get(THROUGH) == ("paris" if size else None)
        for header, start, stop in (("bytes=1-3", 1, 4), ("bytes=-2", size - 2, size)):
            if size:
                part = await tokyo.ask("GET", "/photos/k", headers={"Range": header})
                assert (part.status, part.body) == (206, body[start:stop])
        etag = answer.headers["etag"]
        same = await tokyo.ask("GET", "/photos/k", headers={"If-None-Match": etag})
        assert same.status == 304
        version = await one.dcs["tokyo"].names.current(one.bucket.id, "k")
        assert version is not None and is_elsewhere(version.extents) == bool(size)
        if size:
            copied = {"x-amz-copy-source": "/photos/k"}
            assert (await tokyo.ask("PUT", "/photos/copy", headers=copied)).status == 200
            assert (await tokyo.ask("GET", "/photos/copy")).body == body
            await one.set(read_through="")
            assert (await tokyo.ask("GET", "/photos/k")).code == "InvalidObjectState"


async def test_the_giver_goes_by_its_own_setting(tmp_path: Path) -> None:
    """Who has not heard that it is on gives nothing that rules keep back."""
    async with world(tmp_path, replication=NOWHERE) as one:
        await put(one.houses["paris"], "k", b"body")
        await known(one, "tokyo", "k")
        paris = one.dcs["paris"].names.directory
        there = paris.bucket_by_id
        assert (await one.houses["tokyo"].ask("GET", "/photos/k")).body == b"body"
        paris.bucket_by_id = lambda name: (  # type: ignore[method-assign]
            None if (found := there(name)) is None else _without_setting(found)
        )
        answer = await one.houses["tokyo"].ask("GET", "/photos/k")
        assert (answer.status, answer.code) == (503, "ServiceUnavailable")


async def test_what_is_to_be_stored_goes_by_the_rules_alone(tmp_path: Path) -> None:
    async with world(tmp_path, replication=NOWHERE) as one:
        await put(one.houses["paris"], "k", b"body")
        await known(one, "tokyo", "k")
        version = await one.dcs["paris"].names.current(one.bucket.id, "k")
        link = one.dcs["tokyo"].replicator._peers.link(one.dcs["paris"].dc_id)
        assert version is not None and link is not None
        ask = BodyAsk(version.bucket, "k", version.vid, version.stamp, 0, 4)
        with pytest.raises(BodyUnavailable):
            async with link.client.body(ask):
                pass
        async with link.client.read(ask) as content:
            assert (await content.read())[:4] == b"body"


def _without_setting(bucket: Bucket) -> Bucket:
    kept = {name: one for name, one in bucket.registers.items() if name != "read-through"}
    return replace(bucket, registers=kept)


async def test_who_cannot_give_is_passed_by(tmp_path: Path) -> None:
    async with world(tmp_path, "paris", "tokyo", "oslo", on=True) as one:
        body = os.urandom(LARGE)
        await put(one.houses["paris"], "k", body)
        await one.settled()
        await one.set(replication=NOWHERE)
        await put(one.houses["paris"], "only", body)
        await known(one, "tokyo", "only")
        tokyo = one.houses["tokyo"]
        # Tokyo loses its bytes; the origin cannot read its own.
        await damage(one, "tokyo", "k")
        await damage(one, "paris", "k")
        answer = await tokyo.ask("GET", "/photos/k")
        assert (answer.status, answer.body == body, answer.headers[THROUGH]) == (200, True, "oslo")
        await damage(one, "paris", "only")
        answer = await tokyo.ask("GET", "/photos/only")
        assert (answer.status, answer.code) == (503, "ServiceUnavailable")


async def damage(one: World, name: str, key: str) -> None:
    """Have what a datacenter reads of an object fail."""
    dc = one.dcs[name]
    version = await dc.names.current(one.bucket.id, key)
    assert version is not None
    read, cached = dc.objects.read, dc.objects.read_cached

    async def broken(extents: list[Extent], start: int, stop: int):
        if list(extents) == version.extents:
            raise CorruptData("damaged")
        async for piece in read(extents, start, stop):
            yield piece

    def not_cached(extents: list[Extent]):
        if list(extents) == version.extents:
            raise CorruptData("damaged")
        return cached(extents)

    dc.objects.read, dc.objects.read_cached = broken, not_cached  # type: ignore[method-assign]


async def test_what_is_damaged_here_goes_on_from_elsewhere(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        body = os.urandom(LARGE)
        await put(one.houses["paris"], "small", b"small")
        await put(one.houses["paris"], "large", body)
        await one.settled()
        tokyo = one.houses["tokyo"]
        await damage(one, "tokyo", "small")
        answer = await tokyo.ask("GET", "/photos/small")
        assert (answer.status, answer.body, answer.headers[THROUGH]) == (200, b"small", "paris")
        # In the middle: what was sent is whole, and the rest comes from Paris.
        objects = one.dcs["tokyo"].objects
        read = objects.read

        async def half(extents: list[Extent], start: int, stop: int):
            async for piece in read(extents, start, stop):
                yield piece
                raise CorruptData("damaged")

        objects.read = half  # type: ignore[method-assign]
        assert (await tokyo.ask("GET", "/photos/large")).body == body
        await one.set(read_through="")
        assert (await tokyo.ask("GET", "/photos/small")).status == 500


# -- keys that are not known here -------------------------------------------------------------


async def test_a_key_that_is_not_known_here_is_found(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        paris, tokyo = one.houses["paris"], one.houses["tokyo"]
        one.gates["tokyo"].shut()
        body = os.urandom(LARGE)
        made = await put(paris, "a%20b", body, x_amz_meta_who="ann", content_type="image/png")
        answer = await tokyo.ask("GET", "/photos/a%20b")
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers[THROUGH] == "paris"
        assert answer.headers["etag"] == made["etag"]
        assert answer.headers["x-amz-meta-who"] == "ann"
        assert answer.headers["content-type"] == "image/png"
        assert "x-amz-replication-status" not in answer.headers
        head = await tokyo.ask("HEAD", "/photos/a%20b")
        assert (head.status, head.headers["content-length"]) == (200, str(LARGE))
        assert head.headers[THROUGH] == "paris"
        part = await tokyo.ask("GET", "/photos/a%20b", headers={"Range": "bytes=5-7"})
        assert (part.status, part.body) == (206, body[5:8])
        for headers, status in (
            ({"If-None-Match": made["etag"]}, 304),
            ({"If-Match": '"x"'}, 412),
            ({"Range": f"bytes={LARGE}-"}, 416),
        ):
            assert (await tokyo.ask("GET", "/photos/a%20b", headers=headers)).status == status
        copied = {"x-amz-copy-source": "/photos/a%20b"}
        assert (await tokyo.ask("PUT", "/photos/copy", headers=copied)).status == 200
        assert (await tokyo.ask("GET", "/photos/copy")).body == body
        begun = await tokyo.ask("POST", "/photos/up?uploads")
        part = f"/photos/up?partNumber=1&uploadId={begun.texts('UploadId')[0]}"
        assert (await tokyo.ask("PUT", part, headers=copied)).status == 200
        got = await asyncio.to_thread(_boto_get, tokyo, "a b")
        assert got == body
        # It is not stored by that, and off means off.
        assert await one.dcs["tokyo"].names.current(one.bucket.id, "a b") is None
        assert (await tokyo.ask("GET", "/photos/none")).code == "NoSuchKey"
        await one.set(read_through="")
        assert (await tokyo.ask("GET", "/photos/a%20b")).code == "NoSuchKey"


def _boto_get(house: House, key: str) -> bytes:
    return house.boto().get_object(Bucket="photos", Key=key)["Body"].read()


async def test_parts_and_keys_of_clients(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        paris, tokyo = one.houses["paris"], one.houses["tokyo"]
        one.gates["tokyo"].shut()

        def upload() -> None:
            client = paris.boto()
            names = {"Bucket": "photos", "Key": "m"}
            upload = client.create_multipart_upload(**names)["UploadId"]
            parts = [
                client.upload_part(**names, UploadId=upload, PartNumber=n, Body=part)
                for n, part in ((1, b"a" * (5 << 20)), (2, b"tail"))
            ]
            done = [{"PartNumber": n, "ETag": part["ETag"]} for n, part in enumerate(parts, 1)]
            client.complete_multipart_upload(
                **names, UploadId=upload, MultipartUpload={"Parts": done}
            )

        await asyncio.to_thread(upload)
        part = await tokyo.ask("GET", "/photos/m?partNumber=2")
        assert (part.status, part.body, part.headers["x-amz-mp-parts-count"]) == (206, b"tail", "2")
        secret = os.urandom(LARGE)
        await put(paris, "secret", secret, **{n.replace("-", "_"): v for n, v in CUSTOMER.items()})
        assert (await tokyo.ask("GET", "/photos/secret", headers=CUSTOMER)).body == secret
        ranged = {**CUSTOMER, "Range": "bytes=1048575-1048580"}
        part = await tokyo.ask("GET", "/photos/secret", headers=ranged)
        assert part.body == secret[1048575:1048581]
        assert (await tokyo.ask("GET", "/photos/secret")).status == 400
        # A data key that has not come here.
        await put(paris, "sse", b"sse", x_amz_server_side_encryption="AES256")
        answer = await tokyo.ask("GET", "/photos/sse")
        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        one.gates["tokyo"].open()
        await one.settled()
        one.gates["tokyo"].shut()
        await put(paris, "sse2", b"sse", x_amz_server_side_encryption="AES256")
        assert (await tokyo.ask("GET", "/photos/sse2")).body == b"sse"


async def test_versions_and_markers(tmp_path: Path) -> None:
    async with world(tmp_path, "paris", "tokyo", "oslo", versioning="Enabled") as one:
        paris, tokyo, oslo = (one.houses[name] for name in ("paris", "tokyo", "oslo"))
        for gate in one.gates.values():
            gate.shut()
        first = (await put(paris, "k", b"first"))["x-amz-version-id"]
        await put(oslo, "k", b"second")
        answer = await tokyo.ask("GET", "/photos/k")
        assert (answer.body, answer.headers[THROUGH]) == (b"second", "oslo")
        named = await tokyo.ask("GET", f"/photos/k?versionId={first}")
        assert (named.body, named.headers["x-amz-version-id"]) == (b"first", first)
        assert named.headers[THROUGH] == "paris"
        marker = await paris.ask("DELETE", "/photos/k")
        gone = await tokyo.ask("GET", "/photos/k")
        assert (gone.status, gone.code) == (404, "NoSuchKey")
        assert gone.headers["x-amz-delete-marker"] == "true"
        # Of a version that one peer has and another one has deleted for good.
        await paris.ask("DELETE", f"/photos/k?versionId={marker.headers['x-amz-version-id']}")
        assert (await tokyo.ask("GET", "/photos/k")).body == b"second"
        await paris.ask("DELETE", f"/photos/k?versionId={first}")
        assert (await tokyo.ask("GET", f"/photos/k?versionId={first}")).code == "NoSuchVersion"
        assert (await tokyo.ask("GET", f"/photos/k?versionId={'0' * 32}")).code == "NoSuchVersion"
        assert (await tokyo.ask("GET", "/photos/k?versionId=x")).code == "InvalidArgument"


@pytest.mark.parametrize("versioning", ["", "Enabled"])
async def test_what_was_deleted_here_does_not_come_back(tmp_path: Path, versioning: str) -> None:
    async with world(tmp_path, versioning=versioning) as one:
        paris, tokyo = one.houses["paris"], one.houses["tokyo"]
        await put(paris, "k", b"old")
        await one.settled()
        one.gates["paris"].shut()
        assert (await tokyo.ask("DELETE", "/photos/k")).status == 204
        answer = await tokyo.ask("GET", "/photos/k")
        assert (answer.code, answer.headers.get(THROUGH)) == ("NoSuchKey", None)
        one.gates["paris"].open()
        await one.settled()
        # Written there and deleted here without having seen that: the later of the two counts.
        one.gates["paris"].shut()
        one.gates["tokyo"].shut()
        await put(paris, "c", b"concurrent")
        assert (await tokyo.ask("GET", "/photos/c")).body == b"concurrent"
        await tokyo.ask("DELETE", "/photos/c")
        if versioning:
            assert (await tokyo.ask("GET", "/photos/c")).code == "NoSuchKey"
        # Where there were no versions a deletion of nothing leaves nothing, as ever.
        await put(tokyo, "d", b"here")
        await tokyo.ask("DELETE", "/photos/d")
        await put(paris, "d", b"later")
        wanted = "NoSuchKey" if versioning else ""
        assert (await tokyo.ask("GET", "/photos/d")).code == wanted


async def test_a_later_deletion_here_hides_what_it_had_not_seen(tmp_path: Path) -> None:
    """`known` says NEW of it, since it is kept as a conflict."""
    async with world(tmp_path) as one:
        paris, tokyo = one.houses["paris"], one.houses["tokyo"]
        await put(tokyo, "k", b"here")
        one.gates["tokyo"].shut()
        await put(paris, "k", b"there")
        await tokyo.ask("DELETE", "/photos/k")
        there = await one.dcs["paris"].names.current(one.bucket.id, "k")
        assert there is not None
        (known_as,) = await one.dcs["tokyo"].names.known([there])
        assert known_as.name == "NEW"
        assert (await tokyo.ask("GET", "/photos/k")).code == "NoSuchKey"


async def test_what_was_taken_in_and_is_gone_does_not_come_back(tmp_path: Path) -> None:
    """Its tombstone may have been collected: that it is covered is all that is known of it."""
    async with world(tmp_path) as one:
        one.gates["tokyo"].shut()
        await put(one.houses["paris"], "k")
        there = await one.dcs["paris"].names.current(one.bucket.id, "k")
        assert there is not None
        assert (await one.houses["tokyo"].ask("GET", "/photos/k")).status == 200
        one.dcs["tokyo"].names.cover([Interval(one.dcs["paris"].dc_id, "", there.stamp)])
        assert (await one.houses["tokyo"].ask("GET", "/photos/k")).code == "NoSuchKey"
        assert (await one.houses["tokyo"].ask("GET", "/photos")).texts("Key") == []


async def test_what_one_peer_has_deleted_another_does_not_bring(tmp_path: Path) -> None:
    async with world(tmp_path, "paris", "tokyo", "oslo") as one:
        one.gates["tokyo"].shut()
        await put(one.houses["paris"], "k")
        await known(one, "oslo", "k")
        one.gates["oslo"].shut()
        assert (await one.houses["tokyo"].ask("GET", "/photos/k")).status == 200
        await one.houses["paris"].ask("DELETE", "/photos/k")
        assert (await one.houses["oslo"].ask("GET", "/photos/k")).status == 200
        assert (await one.houses["tokyo"].ask("GET", "/photos/k")).code == "NoSuchKey"


async def test_an_older_version_here_is_served(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await put(one.houses["paris"], "k", b"old")
        await one.settled()
        one.gates["tokyo"].shut()
        await put(one.houses["paris"], "k", b"new")
        answer = await one.houses["tokyo"].ask("GET", "/photos/k")
        assert (answer.body, answer.headers.get(THROUGH)) == (b"old", None)


async def test_what_a_position_names_is_read_through(tmp_path: Path) -> None:
    """What a client wrote elsewhere, though an older version is here."""
    async with world(tmp_path, versioning="Enabled") as one:
        paris, tokyo = one.houses["paris"], one.houses["tokyo"]
        await put(paris, "k", b"old")
        await one.settled()
        one.gates["tokyo"].shut()
        made = {key: await put(paris, key, body) for key, body in (("k", b"new"), ("n", b"n"))}
        at = {key: {POSITION: headers[POSITION]} for key, headers in made.items()}
        at_once = {"x-farshore-wait": "0"}
        for key, body in (("k", b"new"), ("n", b"n")):
            answer = await tokyo.ask("GET", f"/photos/{key}", headers=at[key] | at_once)
            assert (answer.status, answer.body, answer.headers[THROUGH]) == (200, body, "paris")
            head = await tokyo.ask("HEAD", f"/photos/{key}", headers=at[key] | at_once)
            assert head.headers["x-amz-version-id"] == made[key]["x-amz-version-id"]
        assert (await tokyo.ask("GET", "/photos/k")).body == b"old"
        # It is no answer to what was written to another key, nor to what is no GET.
        stamp = one.dcs["paris"].names.clock.now()
        nowhere = position_of(stamp, one.bucket.id, "k", version_id(stamp)).text()
        both = {POSITION: f"{at['k'][POSITION]},{at['n'][POSITION]}", **at_once}
        for path, headers in (
            ("/photos/k", at["n"] | at_once),
            ("/photos/n", at["k"] | at_once),
            ("/photos/k", both),
            ("/photos/k", {POSITION: nowhere, **at_once}),
            ("/photos/k?tagging", at["k"] | at_once),
            ("/photos", at["k"] | at_once),
        ):
            answer = await tokyo.ask("GET", path, headers=headers)
            assert (answer.status, answer.code) == (504, "PositionNotHere"), path
        answer = await tokyo.ask("GET", "/photos/k", headers=at["k"] | at_once, user="bob")
        assert answer.status in (403, 504) and THROUGH not in answer.headers
        # What is here and later is the answer; a deletion counts, too.
        await put(tokyo, "k", b"newest")
        assert (await tokyo.ask("GET", "/photos/k", headers=at["k"] | at_once)).body == b"newest"
        marker = {POSITION: (await paris.ask("DELETE", "/photos/n")).headers[POSITION], **at_once}
        gone = await tokyo.ask("GET", "/photos/n", headers=marker)
        assert (gone.code, gone.headers["x-amz-delete-marker"]) == ("NoSuchKey", "true")
        names = one.dcs["tokyo"].names
        await names.set_bucket_registers(one.bucket.id, {"read-through": ""})
        answer = await tokyo.ask("GET", "/photos/n", headers=at["n"] | at_once)
        assert answer.code == "PositionNotHere"


async def test_what_comes_here_while_others_are_asked_is_the_answer(tmp_path: Path) -> None:
    """It is no news any more when they have answered."""
    async with world(tmp_path, versioning="Enabled") as one:
        paris, tokyo, gate = one.houses["paris"], one.houses["tokyo"], one.gates["tokyo"]
        original = one.handler("paris", "current")

        async def slow(request, peer):
            answer = await original(request, peer)
            gate.open()
            await one.settled()
            now = one.dcs["paris"].names.clock.now()
            one.dcs["tokyo"].names.cover([Interval(one.dcs["paris"].dc_id, "", now)])
            return answer

        one.dcs["paris"].replicator._server._routes["POST", "current"] = slow
        gate.shut()
        for method in ("GET", "HEAD"):
            for named in (False, True):
                for late in (False, True):
                    key = f"{method}-{named}-{late}"
                    gate.shut()
                    made = await put(paris, key, b"body")
                    path = f"/photos/{key}"
                    path += f"?versionId={made['x-amz-version-id']}" if named else ""
                    headers = {POSITION: made[POSITION], "x-farshore-wait": "0"} if late else {}
                    answer = await tokyo.ask(method, path, headers=headers)
                    assert (answer.status, answer.headers.get(THROUGH)) == (200, None), key
        gate.shut()
        await put(paris, "source", b"body")
        copied = {"x-amz-copy-source": "/photos/source"}
        assert (await tokyo.ask("PUT", "/photos/x", headers=copied)).status == 200


# -- who is asked -----------------------------------------------------------------------------


async def test_peers_that_are_away_or_slow_cost_a_bounded_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "READ_NAMES_SECONDS", 0.3)
    async with world(tmp_path, "paris", "tokyo", "oslo") as one:
        tokyo = one.houses["tokyo"]
        for gate in one.gates.values():
            gate.shut()
        await put(one.houses["paris"], "k", b"body")

        async def never(_):
            await asyncio.sleep(60)

        one.answer("oslo", "current", never)
        began = asyncio.get_running_loop().time()
        answer = await tokyo.ask("GET", "/photos/k")
        assert (answer.body, answer.headers[UNASKED]) == (b"body", "oslo")
        answer = await tokyo.ask("GET", "/photos/none")
        assert (answer.code, answer.headers[UNASKED]) == ("NoSuchKey", "oslo")
        assert asyncio.get_running_loop().time() - began < 5
        for gate in one.gates.values():
            gate.open()
        await one.stop("oslo")
        link = one.dcs["tokyo"].replicator._peers.link(one.dcs["oslo"].dc_id)
        assert link is not None
        await eventually(lambda: not link.inbound.connected)
        answer = await tokyo.ask("GET", "/photos/none")
        assert (answer.code, answer.headers[UNASKED]) == ("NoSuchKey", "oslo")
        await one.dcs["oslo"].start()


async def test_a_peer_that_is_just_being_removed_is_unasked(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        tokyo = one.houses["tokyo"]
        link = one.dcs["tokyo"].replicator._peers.link(one.dcs["paris"].dc_id)
        assert link is not None
        await link.client.close()
        link.inbound.connected = True
        answer = await tokyo.ask("GET", "/photos/none")
        assert (answer.code, answer.headers[UNASKED]) == ("NoSuchKey", "paris")


async def test_too_much_at_once_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path, replication=NOWHERE) as one:
        await put(one.houses["paris"], "k", b"body")
        await known(one, "tokyo", "k")
        others, tokyo = one.dcs["tokyo"].replicator.others, one.houses["tokyo"]
        others._asked._most = others._bodies._most = 0
        for path in ("/photos/none", "/photos/k"):
            answer = await tokyo.ask("GET", path)
            assert (answer.status, answer.code) == (503, "SlowDown")
        others._asked._most = others._bodies._most = 1
        assert (await tokyo.ask("GET", "/photos/k")).body == b"body"
        assert (others._asked.count, others._bodies.count) == (0, 0)


POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::photos/public/*",
        },
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::photos/public/no/*",
        },
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::photos/public/*",
            "Condition": {"StringEquals": {"s3:ExistingObjectTag/secret": "yes"}},
        },
    ],
}


async def test_nobody_reads_or_has_asked_what_he_may_not(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        paris, tokyo = one.houses["paris"], one.houses["tokyo"]
        await one.set(policy=json.dumps(POLICY))
        one.gates["tokyo"].shut()
        await put(paris, "private")
        await put(paris, "public/yes")
        await put(paris, "public/no/x")
        await put(paris, "public/tagged", x_amz_tagging="secret=yes")
        asked = []
        original = one.handler("paris", "current")

        async def counting(request, peer):
            asked.append(request.path)
            return await original(request, peer)

        one.dcs["paris"].replicator._server._routes["POST", "current"] = counting
        for user in (None, "bob"):
            for path, status, asks in (
                ("public/yes", 200, 1),
                ("public/none", 403, 1),
                ("public/tagged", 403, 1),
                ("private", 403, 0),
                ("none", 403, 0),
                ("public/no/x", 403, 0),
                ("public/yes?acl", 403, 0),
            ):
                asked.clear()
                answer = await tokyo.ask("GET", f"/photos/{path}", user=user)
                assert (answer.status, len(asked)) == (status, asks), (user, path)
                assert (THROUGH in answer.headers) == (status == 200), (user, path)
        asked.clear()
        assert (await tokyo.ask("GET", "/photos/public/no/x")).status == 403
        copied = {"x-amz-copy-source": "/photos/private"}
        await tokyo.bucket("bobs", "bob")
        answer = await tokyo.ask("PUT", "/bobs/x", headers=copied, user="bob")
        assert (answer.status, asked) == (403, [])


async def test_a_page_of_a_website_is_found(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        paris, tokyo = one.houses["paris"], one.houses["tokyo"]
        await open_site(paris, INDEX)
        await one.settled()
        one.gates["tokyo"].shut()
        await put(paris, "page.html", b"page")
        answer = await visit(tokyo, "/page.html")
        assert (answer.status, answer.body, answer.headers[THROUGH]) == (200, b"page", "paris")
        assert (await visit(tokyo, "/none.html")).status in (403, 404)


async def test_the_list_and_the_owner_of_the_object_count(tmp_path: Path) -> None:
    """Bob may list the bucket, so he may ask; what he may read is in the object's own list."""
    async with world(tmp_path, ownership=OBJECT_WRITER) as one:
        paris, tokyo = one.houses["paris"], one.houses["tokyo"]
        grants = {"x-amz-grant-read": f'id="{USERS["bob"]}"'}
        grants["x-amz-grant-write"] = grants["x-amz-grant-read"]
        dc = one.dcs["paris"]
        await add_users(paris, dc.secrets)
        answer = await paris.ask("PUT", "/photos?acl", headers=grants)
        assert answer.status == 200, answer.body
        await one.settled()
        one.gates["tokyo"].shut()
        await put(paris, "of-ann")
        await put(paris, "granted", x_amz_grant_read=f'id="{USERS["bob"]}"')
        assert (await paris.ask("PUT", "/photos/of-bob", b"bob's", user="bob")).status == 200
        for key, user, status in (
            ("of-ann", "ann", 200),
            ("of-ann", "bob", 403),
            ("granted", "bob", 200),
            ("of-bob", "bob", 200),
            ("of-bob", "ann", 403),
            ("none", "bob", 404),
            ("of-ann", None, 403),
        ):
            answer = await tokyo.ask("GET", f"/photos/{key}", user=user)
            assert answer.status == status, (key, user, answer.body)


OBJECT_WRITER = json.dumps({"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
