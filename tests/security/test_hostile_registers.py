"""What a hostile peer, or one of another release, writes into settings and attributes: it opens
nothing, and answers to requests are refusals, not failures.

For retention, published as MinIO CVE-2023-25812: a lock that cannot be read is a lock.
"""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "gateway"))

from access_kit import OWNER_ENFORCED, add_users, code, put, put_acl, put_policy, statement
from gateway_kit import House, open_house

from dc.system import SystemClock
from gateway.lifecycle.worker import Lifecycle
from gateway.settings import SHAPES

DENIED = "AccessDenied"
DEEP = '{"x":' + "[" * 20_000 + "]" * 20_000 + "}"
TEXTS = {
    "no JSON": "x",
    "a list": "[]",
    "nothing": "null",
    "empty": "{}",
    "deep": DEEP,
    "a number": '{"Rules":1,"TagSet":1,"CORSRules":1,"Rule":1,"LoggingEnabled":1}',
    "no rules": '{"Rules":[],"CORSRules":[],"TopicConfigurations":[],"Rule":{}}',
    "empty rules": json.dumps(
        {
            "Rules": [{}],
            "CORSRules": [{}],
            "TopicConfigurations": [{}],
            "Rule": {"DefaultRetention": {}},
            "LoggingEnabled": {},
            "IndexDocument": {},
            "TagSet": [{}],
        }
    ),
    "null in lists": '{"Rules":[null],"CORSRules":[null],"TopicConfigurations":[null]}',
    "unknown values": json.dumps(
        {
            "Rules": [{"Status": "Perhaps", "ObjectOwnership": "Nobody"}],
            "Rule": {"DefaultRetention": {"Mode": "x", "Days": 1 << 60}},
            "TopicConfigurations": [{"TopicArn": "x", "Events": ["s3:Nothing"]}],
            "IndexDocument": {"Suffix": "/"},
            "RoutingRules": [{"Redirect": {"HttpRedirectCode": "x"}}],
            "LoggingEnabled": {"TargetBucket": "photos", "TargetPrefix": ""},
        }
    ),
}
READS = ("", "?acl", "?tagging", "?retention", "?legal-hold", "?versionId=null")
SETTINGS = {
    "accelerate": "accelerate", "cors": "cors", "encryption": "encryption",
    "lifecycle": "lifecycle", "logging": "logging", "notification": "notification",
    "object-lock": "object-lock", "ownership": "ownershipControls",
    "public-access-block": "publicAccessBlock", "replication": "replication",
    "request-payment": "requestPayment", "tags": "tagging", "website": "website",
    "acl": "acl", "policy": "policyStatus", "versioning": "versioning",
}  # fmt: skip


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, website_domains=("web.localhost",)) as opened:
        await add_users(opened)
        await opened.bucket("photos", "ann")
        await put(opened, "kept", "ann")
        await put(opened, "open", "ann", x_amz_acl="public-read")
        yield opened


async def set_setting(house: House, name: str, text: str) -> None:
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    await house.names.set_bucket_registers(bucket.id, {name: text})


async def set_attribute(house: House, name: str, text: str, key: str = "kept") -> None:
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    await house.names.set_registers(bucket.id, key, "", {name: text})


def test_each_setting_is_here() -> None:
    assert SETTINGS.keys() > SHAPES.keys()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", SETTINGS)
async def test_settings(house: House, name: str, text: str) -> None:
    await set_setting(house, name, text)
    origin = {"Origin": "http://example.org"}
    for user in ("ann", "bob", None):
        for method, target in (
            ("GET", "/photos/kept"),
            ("HEAD", "/photos/open"),
            ("GET", "/photos"),
            ("GET", f"/photos?{SETTINGS[name]}"),
            ("PUT", "/photos/new"),
            ("POST", "/photos/new?uploads"),
            ("DELETE", "/photos/none"),
        ):
            answer = await house.ask(method, target, headers=origin, user=user)
            assert answer.status < 500, (user, method, target, answer)
            is_open = answer.status < 300 and not target.endswith("/open")
            assert user == "ann" or not is_open, (user, method, target)
    assert (await house.ask("GET", "/photos/kept")).status == 200
    page = {"Host": "photos.web.localhost"}
    assert (await house.ask("GET", "/kept", headers=page, user=None)).status < 500
    asked = {**origin, "Access-Control-Request-Method": "GET"}
    assert (await house.ask("OPTIONS", "/photos/kept", headers=asked, user=None)).status == 403


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", ["acl", "tags", "retention", "hold"])
async def test_attributes(house: House, name: str, text: str) -> None:
    await house.ask("PUT", "/photos?object-lock")
    await set_setting(house, "object-lock", '{"ObjectLockEnabled":"Enabled"}')
    await set_attribute(house, name, text)
    for target in READS:
        for user in ("ann", "bob", None):
            answer = await house.ask("GET", f"/photos/kept{target}", user=user)
            assert answer.status < 500, (user, target, answer)
            assert user == "ann" or answer.code == DENIED, (user, target)
    assert (await house.ask("GET", "/photos/kept")).status == 200
    assert (await house.ask("HEAD", "/photos/kept")).status == 200


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_what_would_open_less_is_taken_to_open_nothing(house: House, text: str) -> None:
    assert await code(house, "GET", "/photos/open", None) == "200"
    await put_acl(house, "/photos", "public-read")
    await set_setting(house, "ownership", text)
    assert await code(house, "GET", "/photos/open", None) == DENIED
    assert await code(house, "GET", "/photos", None) == DENIED
    await set_setting(house, "ownership", "")
    await set_setting(house, "public-access-block", text)
    if text not in (TEXTS["empty"], *(one for one in TEXTS.values() if one.startswith('{"Rule'))):
        assert await code(house, "GET", "/photos/open", None) == DENIED
        assert await code(house, "GET", "/photos", None) == DENIED
        assert (await put(house, "new", "ann", x_amz_acl="public-read")).code == DENIED
        assert (await put_policy(house, statement("s3:GetObject"))).code == DENIED
    await set_setting(house, "public-access-block", "")
    assert await code(house, "GET", "/photos/open", None) == "200"


async def test_what_must_be_encrypted_or_locked_is_not_written_otherwise(house: House) -> None:
    for name in ("encryption", "object-lock"):
        for text in ("x", '{"Rules":[]}' if name == "encryption" else '{"Rule":{}}'):
            await set_setting(house, name, text)
            assert (await put(house, "new", "ann")).code == "InvalidBucketState"
            copied = {"x-amz-copy-source": "/photos/kept"}
            answer = await house.ask("PUT", "/photos/copy", headers=copied)
            assert answer.code == "InvalidBucketState"
            await set_setting(house, name, "")
    assert await house.keys() == ["kept", "open"]


async def test_tags_that_cannot_be_read_are_not_taken_for_none(house: House) -> None:
    secret = {"StringEquals": {"s3:ExistingObjectTag/secret": "yes"}}
    await put_policy(
        house, statement("s3:GetObject"), statement("s3:GetObject", "Deny", Condition=secret)
    )
    assert await code(house, "GET", "/photos/kept", "bob") == "200"
    for text in ("x", '{"secret": ["yes"]}'):
        await set_attribute(house, "tags", text)
        assert await code(house, "GET", "/photos/kept", "bob") == DENIED
    await put_policy(house, statement("s3:GetObject"))
    assert await code(house, "GET", "/photos/kept", "bob") == "200"


async def test_a_mended_setting_is_followed(house: House) -> None:
    for name, path in (("ownership", "ownershipControls"), ("cors", "cors"), ("tags", "tagging")):
        await set_setting(house, name, "x")
        assert await code(house, "GET", f"/photos?{path}", "ann") == "InvalidBucketState"
        assert await code(house, "DELETE", f"/photos?{path}", "ann") == "204"
        assert (await house.ask("GET", f"/photos?{path}")).status == 404
    rule = json.dumps({"Rules": [{"ObjectOwnership": OWNER_ENFORCED}]})
    await set_setting(house, "ownership", rule)
    assert (await house.ask("GET", "/photos?ownershipControls")).texts("ObjectOwnership") == [
        OWNER_ENFORCED
    ]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_lifecycle_goes_on_with_other_buckets(house: House, text: str) -> None:
    await house.bucket("others", "ann")
    await house.ask("PUT", "/others/old", b"")
    await house.ask("PUT", "/photos/old", b"")
    rule = {"Status": "Enabled", "Filter": {"Prefix": "o"}, "Expiration": {"Days": 1}, "ID": "a"}
    other = house.names.directory.bucket("others")
    assert other is not None
    for name in ("lifecycle", "notification"):
        await set_setting(house, name, text)
    await set_attribute(house, "tags", text)
    await house.names.set_bucket_registers(other.id, {"lifecycle": json.dumps({"Rules": [rule]})})
    worker = Lifecycle(house.names, SystemClock(), day_ms=1, notifications=True, host_id="dc")
    for _ in range(20):
        await worker.step()
        if worker.passes:
            break
    assert (worker.passes, await house.keys("others")) == (1, [])
    assert await house.keys() == ["kept", "old", "open"]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_logs_of_other_buckets_are_written(house: House, text: str) -> None:
    await house.bucket("others", "ann")
    await house.bucket("logs", "ann")
    other = house.names.directory.bucket("others")
    assert other is not None
    wanted = {
        "TargetBucket": "logs",
        "TargetPrefix": "",
        "TargetObjectKeyFormat": {"SimplePrefix": {}},
    }
    await set_setting(house, "logging", text)
    await house.names.set_bucket_registers(
        other.id, {"logging": json.dumps({"LoggingEnabled": wanted})}
    )
    for name in ("photos", "others"):
        await house.ask("GET", f"/{name}")
    await house.logs.flush()
    assert len(await house.keys("logs")) == 1
