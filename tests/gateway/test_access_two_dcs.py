"""Who may do what in two datacenters: what is set in one holds in the other."""

import json
from pathlib import Path

from access_kit import add_users, code, grants, owner, put, put_acl, put_policy, statement
from gateway_kit import USERS, House
from test_s3_replication_status import two
from test_s3_versions_two_dcs import apart, settled

ANN, BOB = USERS["ann"], USERS["bob"]


async def test_policies_lists_and_ownership_travel(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, at_paris, at_tokyo):
        await add_users(at_paris, paris.secrets)
        await put_policy(at_paris, statement("s3:PutObject"))
        await settled(paris, tokyo)
        assert (await put(at_tokyo, "bobs", "bob", x_amz_grant_read=f"id={ANN}")).status == 200
        assert (await put(at_tokyo, "own", "bob")).status == 200
        assert (await put(at_paris, "open", "ann", x_amz_acl="public-read")).status == 200
        await settled(paris, tokyo)
        for house in (at_paris, at_tokyo):
            assert await owner(house, "/photos/bobs", "bob") == BOB
            assert await grants(house, "/photos/bobs", "bob") == [(ANN, "READ")]
            assert await code(house, "GET", "/photos/bobs", "ann") == "200"
            assert await code(house, "GET", "/photos/own", "ann") == "AccessDenied"
            assert await code(house, "GET", "/photos/open", None) == "200"
        assert (await put_acl(at_tokyo, "/photos/open", "private")).status == 200
        assert (await put_policy(at_tokyo, statement("s3:GetObject", "Deny"))).status == 204
        await settled(paris, tokyo)
        for house in (at_paris, at_tokyo):
            assert await code(house, "GET", "/photos/open", None) == "AccessDenied"
            assert await code(house, "GET", "/photos/open", "ann") == "AccessDenied"
            assert (await put(house, "new", "bob")).code == "AccessDenied"


async def test_what_is_set_apart_is_joined(tmp_path: Path) -> None:
    """A list in one place and a policy in the other: both hold. Of two policies the later."""
    async with two(tmp_path) as (paris, tokyo, at_paris, at_tokyo):
        await put(at_paris, "kept", "ann")
        await settled(paris, tokyo)
        async with apart(paris, tokyo):
            await put_policy(at_paris, statement("s3:GetObject"))
            await put_policy(at_tokyo, statement("s3:ListBucket"))
            await put_acl(at_paris, "/photos/kept", "public-read")
            # Until they meet, each has what was set there.
            assert await code(at_paris, "GET", "/photos", "bob") == "AccessDenied"
            assert await code(at_tokyo, "GET", "/photos/kept", "bob") == "AccessDenied"
        for house in (at_paris, at_tokyo):
            assert await code(house, "GET", "/photos", "bob") == "200"
            assert await code(house, "GET", "/photos/kept", "bob") == "200"
            await house.ask("GET", "/photos?policy")
        shown = [json.loads((await one.ask("GET", "/photos?policy")).body) for one in (
            at_paris, at_tokyo)]  # fmt: skip
        assert shown[0] == shown[1]
        assert shown[0]["Statement"][0]["Action"] == "s3:ListBucket"


async def test_of_two_buckets_of_one_name_each_has_its_own_policy(tmp_path: Path) -> None:
    """Each names its resources by the name that its bucket was made with, also when another one is
    shown: it neither opens nor shuts the other bucket."""

    async def allow(house: House, user: str, action: str) -> None:
        resources = ["arn:aws:s3:::shared", "arn:aws:s3:::shared/*"]
        one = statement(action, Resource=resources)
        body = json.dumps({"Version": "2012-10-17", "Statement": [one]}).encode()
        assert (await house.ask("PUT", "/shared?policy", body, user=user)).status == 204

    async with two(tmp_path) as (paris, tokyo, at_paris, at_tokyo):
        async with apart(paris, tokyo):
            await at_paris.bucket("shared", "ann")
            await at_paris.ask("PUT", "/shared/of-ann", b"ann's")
            await allow(at_paris, "ann", "s3:GetObject")
            await at_tokyo.bucket("shared", "bob")
            await at_tokyo.ask("PUT", "/shared/of-bob", b"bob's", user="bob")
            await allow(at_tokyo, "bob", "s3:ListBucket")
        for house in (at_paris, at_tokyo):
            names = (await house.ask("GET", "/", user="bob")).texts("Name")
            (renamed,) = [name for name in names if name.startswith("shared--conflict-")]
            assert await code(house, "GET", "/shared/of-ann", None) == "200"
            assert await code(house, "GET", "/shared", None) == "AccessDenied"
            assert await code(house, "GET", f"/{renamed}", None) == "200"
            assert await code(house, "GET", f"/{renamed}/of-bob", None) == "AccessDenied"
            # The owner of one is nobody in the other.
            assert await code(house, "GET", f"/{renamed}/of-bob", "ann") == "AccessDenied"
            assert await code(house, "PUT", "/shared/new", "bob") == "AccessDenied"
