"""What two datacenters decided apart gives nobody access to anything: not a bucket name that two
owners made, not a key that was revoked at one of them, not the bytes that lost.

Two real datacenters, paired, of which only one runs at a time while the conflicts are made.
"""

import http.client
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError
from gateway_kit import House
from process_kit import Dc, eventually, pair, s3_client
from security_kit import port_of

from dc.accounts import Accounts, secret_context
from dc.names.model import AccessKey, User
from dc.system import SystemRandomness
from tokens.secret_store import SecretStore

PARIS, TOKYO = b"written at paris", b"written at tokyo"
Client = Any


class Apart(NamedTuple):
    """Two datacenters after they met again."""

    dcs: dict[str, Dc]
    users: dict[str, dict[str, str]]
    late_key: dict[str, str]
    """Of a user who was deleted at the other datacenter."""

    def client(self, dc: str, user: str) -> Client:
        return s3_client(self.dcs[dc].s3_port, self.users[user])


def refused(call: Any, code: str = "AccessDenied", **arguments: Any) -> None:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code


def body(client: Client, bucket: str, key: str) -> bytes:
    found: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    return found


def make_apart(paris: Dc, tokyo: Dc, users: dict[str, dict[str, str]]) -> dict[str, str]:
    """Each does its part while the other is down; the key made for a user deleted elsewhere."""
    tokyo.stop()
    ann = s3_client(paris.s3_port, users["ann"])
    ann.create_bucket(Bucket="photos")
    ann.put_object(Bucket="photos", Key="x", Body=b"of ann")
    ann.put_object(Bucket="ledger", Key="k", Body=PARIS)
    ann.put_object(Bucket="ledger", Key="dropped", Body=PARIS)
    paris.cli("user", "delete", "eve@example.com")
    paris.cli("user", "key", "revoke", "dan@example.com", users["dan"]["access_key"])
    paris.cli("user", "add", "twin@example.com")
    paris.stop()
    tokyo.start()
    bob = s3_client(tokyo.s3_port, users["bob"])
    bob.create_bucket(Bucket="photos")
    bob.put_object(Bucket="photos", Key="x", Body=b"of bob")
    ann = s3_client(tokyo.s3_port, users["ann"])
    ann.put_object(Bucket="ledger", Key="k", Body=TOKYO)
    ann.put_object(Bucket="ledger", Key="dropped", Body=TOKYO)
    s3_client(tokyo.s3_port, users["eve"]).list_buckets()
    late: dict[str, str] = tokyo.facts("user", "key", "add", "eve@example.com")
    s3_client(tokyo.s3_port, late).list_buckets()
    tokyo.cli("user", "add", "twin@example.com")
    paris.start()
    return late


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    folder = tmp_path_factory.mktemp("apart")
    paris, tokyo = Dc(folder / "paris", "paris"), Dc(folder / "tokyo", "tokyo")
    both = (paris, tokyo)
    try:
        paris.start()
        tokyo.start()
        pair(paris, tokyo)
        users = {
            name: paris.facts("user", "add", f"{name}@example.com")
            for name in ("ann", "bob", "eve", "dan")
        }
        s3_client(paris.s3_port, users["ann"]).create_bucket(Bucket="ledger")
        eventually("the users are at tokyo", lambda: len(tokyo.facts("user", "list")) == 4)
        eventually("the bucket is", lambda: has_bucket(tokyo, users["ann"], "ledger"))
        late = make_apart(paris, tokyo, users)
        for dc in both:
            eventually("conflicts are listed", lambda dc=dc: len(listed(dc)) == 5)
            eventually("eve is gone", lambda dc=dc: "eve@" not in dc.cli("user", "list").stdout)
        yield Apart({"paris": paris, "tokyo": tokyo}, users, late)
    finally:
        paris.end()
        tokyo.end()


def has_bucket(dc: Dc, keys: dict[str, str], name: str) -> bool:
    found = s3_client(dc.s3_port, keys).list_buckets()["Buckets"]
    return name in [one["Name"] for one in found]


def listed(dc: Dc) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dc.facts("conflicts", "list")
    return found


pytestmark = pytest.mark.process
AT = pytest.mark.parametrize("at", ["paris", "tokyo"])


@AT
def test_a_name_leads_to_the_older_bucket_and_to_nothing_else(apart: Apart, at: str) -> None:
    ann, bob = apart.client(at, "ann"), apart.client(at, "bob")
    renamed = "photos--conflict-tokyo"
    assert body(ann, "photos", "x") == b"of ann"
    assert body(bob, renamed, "x") == b"of bob"
    for other, bucket in ((bob, "photos"), (ann, renamed)):
        refused(other.get_object, Bucket=bucket, Key="x")
        refused(other.put_object, Bucket=bucket, Key="x", Body=b"stolen")
        refused(other.delete_object, Bucket=bucket, Key="x")
        refused(other.list_objects_v2, Bucket=bucket)
        refused(other.delete_bucket, Bucket=bucket)
        refused(other.get_bucket_acl, Bucket=bucket)
        refused(other.create_bucket, Bucket=bucket, code="BucketAlreadyExists")
        source = {"Bucket": bucket, "Key": "x"}
        mine = renamed if other is bob else "photos"
        refused(other.copy_object, Bucket=mine, Key="y", CopySource=source)
    assert [one["Name"] for one in bob.list_buckets()["Buckets"]] == [renamed]
    assert [one["Name"] for one in ann.list_buckets()["Buckets"]] == ["ledger", "photos"]
    owner = bob.get_bucket_acl(Bucket=renamed)["Owner"]["ID"]
    assert owner == apart.users["bob"]["canonical_id"]
    bob.put_object(Bucket=renamed, Key=f"more {at}", Body=b"of bob")
    assert body(bob, renamed, f"more {at}") == b"of bob"


@AT
def test_the_conflicts_are_told_to_the_operator(apart: Apart, at: str) -> None:
    found = listed(apart.dcs[at])
    kinds = [one["kind"] for one in found]
    assert kinds == ["bucket-name", "user-email", "user-email", "object", "object"]
    assert (found[0]["bucket"], found[0]["name"]) == ("photos--conflict-tokyo", "photos")
    assert (found[0]["site"], found[0]["lost_to"]["site"]) == ("tokyo", "paris")
    assert found[0]["owner_email"] == "bob@example.com"
    lost = found[4]
    assert (lost["bucket"], lost["key"], lost["size"]) == ("ledger", "k", len(PARIS))
    assert (lost["site"], lost["lost_to"]["site"]) == ("paris", "tokyo")
    dc = apart.dcs[at]
    text = dc.cli("conflicts", "list").stdout
    assert lost["id"] in text and "photos--conflict-tokyo" in text and "twin@example.com" in text
    shown = dc.facts("conflicts", "show", lost["id"])
    assert shown["state"] == "kept" and shown["current"]["site"] == "tokyo"
    assert "current site" in dc.cli("conflicts", "show", lost["id"]).stdout
    only = dc.facts("conflicts", "list", "--bucket", "ledger", "--limit", "1")
    assert [one["key"] for one in only] == ["dropped"]


@AT
def test_keys_that_died_at_one_of_them_are_dead_at_both(apart: Apart, at: str) -> None:
    port = apart.dcs[at].s3_port
    for keys in (apart.users["eve"], apart.users["dan"], apart.late_key):
        refused(s3_client(port, keys).list_buckets, "InvalidAccessKeyId")
    assert "no user" in apart.dcs[at].cli("user", "keys", "eve@example.com", check=False).stderr


@AT
def test_two_users_of_one_email_are_told_apart(apart: Apart, at: str) -> None:
    dc = apart.dcs[at]
    twins = [one for one in dc.facts("user", "list") if one["email"] == "twin@example.com"]
    assert len({one["canonical_id"] for one in twins}) == 2
    assert all(one["shared_email"] and len(one["access_keys"]) == 1 for one in twins)
    done = dc.cli("user", "delete", "twin@example.com", check=False)
    assert done.returncode == 1
    for one in twins:
        assert one["canonical_id"] in done.stderr
        found = dc.facts("user", "keys", one["canonical_id"])
        assert [key["access_key"] for key in found] == one["access_keys"]


@AT
def test_the_bytes_that_lost_are_nobodys_to_read(apart: Apart, at: str) -> None:
    lost = next(one for one in listed(apart.dcs[at]) if one.get("key") == "k")
    bucket_id, _, stamp = lost["id"].partition("-")
    complement = "".join(f"{15 - int(digit, 16):x}" for digit in stamp)
    for user in ("ann", "bob"):
        client = apart.client(at, user)
        for bucket in ("ledger", bucket_id):
            for version in (stamp, complement, lost["id"]):
                with pytest.raises(ClientError):
                    client.get_object(Bucket=bucket, Key="k", VersionId=version)
    with pytest.raises(ClientError):
        apart.client(at, "bob").list_object_versions(Bucket="ledger")
    ann = apart.client(at, "ann")
    shown = ann.list_object_versions(Bucket="ledger")["Versions"]
    assert [one["VersionId"] for one in shown] == ["null", "null"], "what lost is no version"
    assert body(ann, "ledger", "k") == TOKYO
    assert len(ann.list_objects_v2(Bucket="ledger")["Contents"]) == 2


@AT
def test_only_the_admin_token_settles_conflicts(apart: Apart, at: str) -> None:
    dc = apart.dcs[at]
    lost = next(one for one in listed(dc) if one.get("key") == "k")
    token = (dc.folder / "admin.token").read_text().strip()
    ids = json.dumps({"ids": [lost["id"]]})
    for given in (None, "Bearer", f"Bearer {token[:-1]}", f"Bearer {'0' * len(token)}"):
        for method, path in (
            ("GET", "/conflicts"),
            ("GET", f"/conflicts/{lost['id']}"),
            ("POST", "/conflicts/restore"),
            ("POST", "/conflicts/drop"),
        ):
            for listener in ("admin", "s3"):
                connection = http.client.HTTPConnection("127.0.0.1", port_of(dc, listener))
                headers = {"Authorization": given} if given else {}
                connection.request(method, path, ids, headers)
                answer = connection.getresponse()
                text = answer.read()
                connection.close()
                assert answer.status >= 400 and PARIS not in text
                assert listener == "s3" or answer.status == 401
    assert lost in listed(dc)


def test_what_is_restored_is_its_owners(apart: Apart) -> None:
    """The last of this file: it ends the conflicts."""
    paris, tokyo = apart.dcs["paris"], apart.dcs["tokyo"]
    ids = {one["key"]: one["id"] for one in listed(tokyo) if one["kind"] == "object"}
    said = tokyo.cli("conflicts", "restore", ids["k"]).stdout
    assert "restored  k in ledger, instead of what was written at tokyo, 2" in said
    assert "dropped" in paris.cli("conflicts", "drop", ids["dropped"]).stdout
    for dc in (paris, tokyo):
        name = dc.name
        eventually(
            "it is there again",
            lambda at=name: body(apart.client(at, "ann"), "ledger", "k") == PARIS,
        )
        eventually("nothing is left", lambda dc=dc: len(listed(dc)) == 3)
        refused(apart.client(name, "bob").get_object, Bucket="ledger", Key="k")
        assert body(apart.client(name, "ann"), "ledger", "dropped") == TOKYO
        for action in ("restore", "drop"):
            done = dc.cli("conflicts", action, ids["k"], ids["dropped"], check=False)
            assert done.returncode == 1 and "2 of 2 were not" in done.stderr


async def test_late_records_bring_no_access_back(house: House) -> None:
    """Records that travelled long, or that say that they are newer than the deletion."""
    names, randomness = house.names, SystemRandomness()
    secrets = SecretStore(bytes(32), randomness.token)
    accounts = Accounts(names, secrets, randomness)
    made = await accounts.add_user("eve@example.com")
    old_user = names.directory.user(made.user.id)
    old_key = names.directory.key(made.key_id)
    assert old_user is not None and old_key is not None
    assert accounts.lookup(made.key_id) is not None
    await accounts.delete_user("eve@example.com")

    def key(key_id: str) -> AccessKey:
        secret = secrets.encrypt(b"late", secret_context(made.user.id, key_id))
        return AccessKey(id=key_id, user=made.user.id, secret=secret, stamp=names.clock.now())

    again = User(id=made.user.id, email="eve@example.com", stamp=names.clock.now())
    for late in (old_key, old_user, key(made.key_id), key("FSLATE"), again, key("FSLATER")):
        await names.apply([late])
        for key_id in (made.key_id, "FSLATE", "FSLATER"):
            assert accounts.lookup(key_id) is None
        assert names.directory.user(made.user.id) is None
    assert accounts.users() == []
