"""Settings of buckets: what is put is shown, what S3 refuses is refused, and nothing else."""

import asyncio
import hashlib
from base64 import b64encode
from typing import Any

import pytest
from botocore.exceptions import ClientError
from gateway_kit import USERS, Answer, House

CORS = {
    "CORSRules": [
        {
            "ID": "one",
            "AllowedMethods": ["GET", "PUT"],
            "AllowedOrigins": ["https://*.example.org", "*"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 60,
        }
    ]
}
WEBSITE = {
    "IndexDocument": {"Suffix": "index.html"},
    "ErrorDocument": {"Key": "wrong & \u00fc.html"},
    "RoutingRules": [
        {
            "Condition": {"KeyPrefixEquals": "a/", "HttpErrorCodeReturnedEquals": "404"},
            "Redirect": {"ReplaceKeyPrefixWith": "b/", "HttpRedirectCode": "302"},
        },
        {"Redirect": {"HostName": "example.org", "Protocol": "https"}},
    ],
}
ENCRYPTION = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
BLOCK = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": False,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": False,
}
OWNERSHIP = {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}

# What the methods of boto3 are called, the member they take, a document, the error without one.
SETTINGS: list[tuple[str, str, dict[str, Any], str]] = [
    ("bucket_cors", "CORSConfiguration", CORS, "NoSuchCORSConfiguration"),
    ("bucket_website", "WebsiteConfiguration", WEBSITE, "NoSuchWebsiteConfiguration"),
    (
        *("bucket_encryption", "ServerSideEncryptionConfiguration"),
        *(ENCRYPTION, "ServerSideEncryptionConfigurationNotFoundError"),
    ),
    (
        *("public_access_block", "PublicAccessBlockConfiguration"),
        *(BLOCK, "NoSuchPublicAccessBlockConfiguration"),
    ),
    (
        *("bucket_ownership_controls", "OwnershipControls"),
        *(OWNERSHIP, "OwnershipControlsNotFoundError"),
    ),
]


@pytest.mark.parametrize(
    ("name", "member", "document", "absent"), SETTINGS, ids=[row[0] for row in SETTINGS]
)
async def test_a_setting_is_shown_as_it_was_put_until_it_is_deleted(
    house: House, name: str, member: str, document: dict[str, Any], absent: str
) -> None:
    await house.bucket()
    client = house.boto()

    def run() -> None:
        show = getattr(client, f"get_{name}")
        delete = getattr(client, f"delete_{name}")
        for _ in range(2):
            with pytest.raises(ClientError) as nothing:
                show(Bucket="photos")
            assert nothing.value.response["Error"]["Code"] == absent
            getattr(client, f"put_{name}")(Bucket="photos", **{member: document})
            found = show(Bucket="photos")
            found.pop("ResponseMetadata")
            assert found.get(member, found) == document
            for _ in range(2):
                delete(Bucket="photos")

    await asyncio.to_thread(run)


async def test_what_a_public_access_block_does_not_say_is_false(house: House) -> None:
    await house.bucket()
    body = (
        b"<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy>"
        b"</PublicAccessBlockConfiguration>"
    )
    assert (await house.ask("PUT", "/photos?publicAccessBlock", body)).status == 200
    shown = await house.ask("GET", "/photos?publicAccessBlock")
    assert shown.texts("BlockPublicPolicy") == ["true"]
    for name in ("BlockPublicAcls", "IgnorePublicAcls", "RestrictPublicBuckets"):
        assert shown.texts(name) == ["false"]


async def test_versioning_is_what_was_put(house: House) -> None:
    await house.bucket()
    client = house.boto()

    def run() -> None:
        assert "Status" not in client.get_bucket_versioning(Bucket="photos")
        for status in ("Enabled", "Suspended", "Enabled"):
            client.put_bucket_versioning(
                Bucket="photos", VersioningConfiguration={"Status": status}
            )
            assert client.get_bucket_versioning(Bucket="photos")["Status"] == status

    await asyncio.to_thread(run)


async def test_a_lock_needs_versioning_and_keeps_it(house: House) -> None:
    client = house.boto()
    await house.bucket("plain")

    def refused(ask: Any, **asked: Any) -> str:
        with pytest.raises(ClientError) as error:
            ask(**asked)
        code: str = error.value.response["Error"]["Code"]
        return code

    def run() -> None:
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
        lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        suspended = {"Status": "Suspended"}
        client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
        assert client.get_bucket_versioning(Bucket="locked")["Status"] == "Enabled"
        shown = client.get_object_lock_configuration(Bucket="locked")
        assert shown["ObjectLockConfiguration"] == {"ObjectLockEnabled": "Enabled"}
        client.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=lock)
        shown = client.get_object_lock_configuration(Bucket="locked")
        assert shown["ObjectLockConfiguration"] == lock
        suspend, put = client.put_bucket_versioning, client.put_object_lock_configuration
        code = refused(suspend, Bucket="locked", VersioningConfiguration=suspended)
        assert code == "InvalidBucketState"
        for state in (None, suspended):
            if state is not None:
                suspend(Bucket="plain", VersioningConfiguration=state)
            code = refused(put, Bucket="plain", ObjectLockConfiguration=lock)
            assert code == "InvalidBucketState"
        suspend(Bucket="plain", VersioningConfiguration={"Status": "Enabled"})
        put(Bucket="plain", ObjectLockConfiguration=lock)

    await asyncio.to_thread(run)


def lock_document(inside: str) -> str:
    return (
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>"
        f"<DefaultRetention>{inside}</DefaultRetention></Rule></ObjectLockConfiguration>"
    )


def cors_document(inside: str) -> str:
    return f"<CORSConfiguration><CORSRule>{inside}</CORSRule></CORSConfiguration>"


def website_document(inside: str) -> str:
    index = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>"
    return f"<WebsiteConfiguration>{index}{inside}</WebsiteConfiguration>"


def rule_document(inside: str) -> str:
    return website_document(f"<RoutingRules><RoutingRule>{inside}</RoutingRule></RoutingRules>")


METHOD, ORIGIN = "<AllowedMethod>GET</AllowedMethod>", "<AllowedOrigin>*</AllowedOrigin>"
TO = "<Redirect><HostName>example.org</HostName></Redirect>"
BAD: list[tuple[str, str, str, str]] = [
    ("versioning", "nothing", "", "MissingRequestBodyError"),
    (
        *("versioning", "no status"),
        *("<VersioningConfiguration/>", "IllegalVersioningConfigurationException"),
    ),
    (
        *("versioning", "other status"),
        *("<VersioningConfiguration><Status>On</Status></VersioningConfiguration>", "MalformedXML"),
    ),
    (
        *("versioning", "unknown element"),
        *("<VersioningConfiguration><Colour/></VersioningConfiguration>", "MalformedXML"),
    ),
    (
        *("versioning", "other root"),
        *("<Versioning><Status>Enabled</Status></Versioning>", "MalformedXML"),
    ),
    (
        *("versioning", "twice"),
        "<VersioningConfiguration><Status>Enabled</Status><Status>Enabled</Status>"
        "</VersioningConfiguration>",
        "MalformedXML",
    ),
    (
        *("versioning", "MFA"),
        "<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>"
        "</VersioningConfiguration>",
        "NotImplemented",
    ),
    ("object-lock", "no mode", lock_document("<Days>1</Days>"), "MalformedXML"),
    ("object-lock", "no period", lock_document("<Mode>GOVERNANCE</Mode>"), "MalformedXML"),
    (
        *("object-lock", "two periods"),
        lock_document("<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>"),
        "MalformedXML",
    ),
    (
        *("object-lock", "no days"),
        *(lock_document("<Mode>GOVERNANCE</Mode><Days>0</Days>"), "InvalidRetentionPeriod"),
    ),
    (
        *("object-lock", "past years"),
        *(lock_document("<Mode>COMPLIANCE</Mode><Years>-1</Years>"), "InvalidRetentionPeriod"),
    ),
    (
        *("object-lock", "too many days"),
        *(lock_document("<Mode>COMPLIANCE</Mode><Days>36501</Days>"), "InvalidRetentionPeriod"),
    ),
    (
        *("object-lock", "no number"),
        *(lock_document("<Mode>COMPLIANCE</Mode><Days>many</Days>"), "MalformedXML"),
    ),
    (
        *("object-lock", "lower-case mode"),
        *(lock_document("<Mode>governance</Mode><Days>1</Days>"), "MalformedXML"),
    ),
    (
        *("object-lock", "not enabled"),
        "<ObjectLockConfiguration/>",
        "MalformedXML",
    ),
    ("cors", "no rules", "<CORSConfiguration/>", "MalformedXML"),
    ("cors", "no origin", cors_document(METHOD), "MalformedXML"),
    (
        *("cors", "unknown method"),
        cors_document(f"<AllowedMethod>PATCH</AllowedMethod>{ORIGIN}"),
        "InvalidRequest",
    ),
    (
        *("cors", "two wildcards"),
        cors_document(f"{METHOD}<AllowedOrigin>*.*</AllowedOrigin>"),
        "InvalidRequest",
    ),
    (
        *("cors", "exposed wildcard"),
        cors_document(f"{METHOD}{ORIGIN}<ExposeHeader>*</ExposeHeader>"),
        "InvalidRequest",
    ),
    (
        *("cors", "too many rules"),
        f"<CORSConfiguration>{f'<CORSRule>{METHOD}{ORIGIN}</CORSRule>' * 101}</CORSConfiguration>",
        "InvalidRequest",
    ),
    ("website", "no index", "<WebsiteConfiguration/>", "InvalidArgument"),
    (
        *("website", "index with a slash"),
        "<WebsiteConfiguration><IndexDocument><Suffix>a/b</Suffix></IndexDocument>"
        "</WebsiteConfiguration>",
        "InvalidArgument",
    ),
    (
        *("website", "redirect of all and more"),
        website_document(
            "<RedirectAllRequestsTo><HostName>example.org</HostName></RedirectAllRequestsTo>"
        ),
        "InvalidArgument",
    ),
    ("website", "empty condition", rule_document(f"<Condition/>{TO}"), "InvalidRequest"),
    ("website", "empty redirect", rule_document("<Redirect/>"), "MalformedXML"),
    (
        *("website", "error code that is none"),
        rule_document(
            "<Condition><HttpErrorCodeReturnedEquals>200</HttpErrorCodeReturnedEquals>"
            f"</Condition>{TO}"
        ),
        "InvalidRequest",
    ),
    (
        *("website", "redirect code that is none"),
        rule_document("<Redirect><HttpRedirectCode>300</HttpRedirectCode></Redirect>"),
        "InvalidRequest",
    ),
    (
        *("website", "two replacements"),
        rule_document(
            "<Redirect><ReplaceKeyWith>a</ReplaceKeyWith>"
            "<ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith></Redirect>"
        ),
        "InvalidRequest",
    ),
    (
        *("encryption", "a KMS"),
        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>"
        "<SSEAlgorithm>aws:kms</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>"
        "</ServerSideEncryptionConfiguration>",
        "NotImplemented",
    ),
    (
        *("encryption", "no rule"),
        *("<ServerSideEncryptionConfiguration/>", "MalformedXML"),
    ),
    (
        *("ownershipControls", "two rules"),
        "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>"
        "<Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>",
        "MalformedXML",
    ),
    (
        *("publicAccessBlock", "no boolean"),
        "<PublicAccessBlockConfiguration><BlockPublicAcls>yes</BlockPublicAcls>"
        "</PublicAccessBlockConfiguration>",
        "MalformedXML",
    ),
]


async def put(house: House, target: str, body: str) -> Answer:
    data = body.encode()
    summed = {"Content-MD5": b64encode(hashlib.md5(data).digest()).decode()}
    return await house.ask("PUT", target, data, summed)


@pytest.mark.parametrize(
    ("name", "what", "body", "code"), BAD, ids=[f"{row[0]}: {row[1]}" for row in BAD]
)
async def test_bad_settings_are_refused_and_change_nothing(
    house: House, name: str, what: str, body: str, code: str
) -> None:
    await house.bucket()
    before = await house.ask("GET", f"/photos?{name}")
    answer = await put(house, f"/photos?{name}", body)
    assert answer.code == code, what
    after = await house.ask("GET", f"/photos?{name}")
    assert (before.status, before.code) == (after.status, after.code)


async def test_a_lock_without_a_checksum_is_refused(house: House) -> None:
    await house.bucket()
    body = lock_document("<Mode>GOVERNANCE</Mode><Days>1</Days>").encode()
    assert (await house.ask("PUT", "/photos?object-lock", body)).code == "InvalidRequest"


async def test_a_bucket_is_made_with_its_settings_at_once(house: House) -> None:
    client = house.boto()

    def run() -> None:
        client.create_bucket(Bucket="photos", ObjectOwnership="ObjectWriter")
        shown = client.get_bucket_ownership_controls(Bucket="photos")
        assert shown["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "ObjectWriter"}]
        client.delete_bucket(Bucket="photos")
        client.create_bucket(Bucket="photos")
        with pytest.raises(ClientError) as nothing:
            client.get_bucket_ownership_controls(Bucket="photos")
        assert nothing.value.response["Error"]["Code"] == "OwnershipControlsNotFoundError"

    await asyncio.to_thread(run)
    answer = await house.ask("PUT", "/music", headers={"x-amz-object-ownership": "Mine"})
    assert answer.code == "InvalidArgument"
    assert house.names.directory.bucket("music") is None


async def test_a_bucket_is_made_again_only_as_it_is(house: House) -> None:
    await house.bucket()
    other = {"x-amz-object-ownership": "ObjectWriter"}
    assert (await house.ask("PUT", "/photos", region="us-east-1")).status == 200
    again = await house.ask("PUT", "/photos", headers=other, region="us-east-1")
    assert again.code == "BucketAlreadyExists"
    assert (await house.ask("PUT", "/photos", headers=other)).code == "BucketAlreadyOwnedByYou"
    assert (await house.ask("GET", "/photos?ownershipControls")).status == 404


async def test_buckets_are_listed_in_pages(house: House) -> None:
    names = [f"photos-{number}" for number in range(5)]
    for name in [*reversed(names), "music"]:
        await house.bucket(name)
    await house.bucket("photos-of-bob", "bob")
    client = house.boto()

    def run() -> None:
        assert [one["Name"] for one in client.list_buckets()["Buckets"]] == ["music", *names]
        found, token = [], {}
        while True:
            page = client.list_buckets(MaxBuckets=2, Prefix="photos", **token)
            assert page["Prefix"] == "photos"
            assert page["Owner"]["ID"] == USERS["ann"]
            found += [one["Name"] for one in page["Buckets"]]
            assert len(page["Buckets"]) <= 2
            if "ContinuationToken" not in page:
                break
            token = {"ContinuationToken": page["ContinuationToken"]}
        assert found == names
        assert client.list_buckets(BucketRegion="elsewhere")["Buckets"] == []

    await asyncio.to_thread(run)
    for query in ("max-buckets=0", "max-buckets=10001", "max-buckets=x", "continuation-token=x"):
        assert (await house.ask("GET", f"/?{query}")).code == "InvalidArgument"
