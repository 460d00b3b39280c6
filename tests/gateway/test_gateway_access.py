"""Who may do what: policies, lists, ownership and public access blocks together.

Ann has the bucket `photos`; Bob is another user; nobody signs for None.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from access_kit import (
    ALL_USERS,
    ANN,
    BOB,
    OWNER_ENFORCED,
    OWNER_PREFERRED,
    add_users,
    block,
    code,
    grants,
    owner,
    put,
    put_acl,
    put_ownership,
    put_policy,
    statement,
)
from form_kit import form, policy, post, signed_v4
from gateway_kit import House, open_house

from dc.names.model import Version
from gateway.owners import ANONYMOUS_ID

DENIED = "AccessDenied"
TAG = "<Tagging><TagSet><Tag><Key>a</Key><Value>{}</Value></Tag></TagSet></Tagging>"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        await add_users(opened)
        await opened.bucket("photos", "ann")
        await put(opened, "kept", "ann")
        yield opened


async def version_of(house: House, key: str) -> Version | None:
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    return await house.names.current(bucket.id, key)


# -- policies -------------------------------------------------------------------------------------


async def test_a_policy_is_kept_as_it_is_written_and_goes(house: House) -> None:
    assert await code(house, "GET", "/photos?policy", "ann") == "NoSuchBucketPolicy"
    assert await code(house, "GET", "/photos?policyStatus", "ann") == "NoSuchBucketPolicy"
    assert await code(house, "DELETE", "/photos?policy", "ann") == "204"
    assert (await put_policy(house, statement("s3:GetObject"))).status == 204
    shown = await house.ask("GET", "/photos?policy")
    assert shown.headers["content-type"] == "application/json"
    assert b'"Action": "s3:GetObject"' in shown.body
    assert (await house.ask("GET", "/photos?policyStatus")).texts("IsPublic") == ["true"]
    assert await code(house, "GET", "/photos/kept", None) == "200"
    assert await code(house, "DELETE", "/photos?policy", "ann") == "204"
    assert await code(house, "GET", "/photos/kept", None) == DENIED


async def test_what_is_allowed_is_allowed_and_nothing_else(house: House) -> None:
    await put_policy(house, statement("s3:GetObject", Principal={"AWS": BOB}))
    assert await code(house, "GET", "/photos/kept", "bob") == "200"
    assert await code(house, "HEAD", "/photos/kept", "bob") == "200"
    assert await code(house, "GET", "/photos/kept", None) == DENIED
    for method, target in (
        ("GET", "/photos"),
        ("HEAD", "/photos"),
        ("GET", "/photos?versions"),
        ("GET", "/photos/kept?acl"),
        ("GET", "/photos/kept?tagging"),
        ("GET", "/photos/kept?versionId=null"),
        ("PUT", "/photos/new"),
        ("DELETE", "/photos/kept"),
        ("PUT", "/photos?policy"),
        ("GET", "/photos?policy"),
        ("POST", "/photos/new?uploads"),
    ):
        found = await code(house, method, target, "bob")
        assert found == ("403" if method == "HEAD" else DENIED), (method, target)


async def test_a_denial_binds_the_owner_but_for_the_policy_itself(house: House) -> None:
    await put_policy(house, statement("s3:*", "Deny"), statement("s3:*"))
    for method, target in (
        ("GET", "/photos/kept"),
        ("PUT", "/photos/kept"),
        ("DELETE", "/photos/kept"),
        ("GET", "/photos"),
        ("GET", "/photos?acl"),
        ("POST", "/photos/kept?uploads"),
        ("GET", "/photos?policyStatus"),
    ):
        assert await code(house, method, target, "ann") == DENIED, (method, target)
    assert await code(house, "GET", "/photos?policy", "ann") == "200"
    assert (await put_policy(house, statement("s3:Put*", "Deny"))).status == 204
    assert await code(house, "DELETE", "/photos?policy", "ann") == "204"
    assert await code(house, "GET", "/photos/kept", "ann") == "200"


async def test_nobody_else_changes_the_policy(house: House) -> None:
    await put_policy(house, statement("s3:*"))
    for method in ("GET", "PUT", "DELETE"):
        assert await code(house, method, "/photos?policy", "bob") == "MethodNotAllowed"
    assert await code(house, "GET", "/photos?policyStatus", "bob") == "200"


async def test_what_is_not_there_is_told_to_who_may_list(house: House) -> None:
    await put_policy(house, statement("s3:GetObject"))
    assert await code(house, "GET", "/photos/none", "bob") == DENIED
    listing = statement("s3:ListBucket", Condition={"StringLike": {"s3:prefix": "no*"}})
    await put_policy(house, statement("s3:GetObject"), listing)
    assert await code(house, "GET", "/photos/none", "bob") == "NoSuchKey"
    assert await code(house, "GET", "/photos/some", "bob") == DENIED
    assert await code(house, "GET", "/photos?prefix=no", "bob") == "200"
    assert await code(house, "GET", "/photos?prefix=so", "bob") == DENIED
    await put_policy(house, statement("s3:GetObject", "Deny"), statement("s3:ListBucket"))
    assert await code(house, "GET", "/photos/none", "bob") == DENIED


async def test_versions_have_actions_of_their_own(house: House) -> None:
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert (await house.ask("PUT", "/photos?versioning", body)).status == 200
    vid = (await put(house, "kept", "ann")).headers["x-amz-version-id"]
    await put_policy(house, statement(["s3:GetObjectVersion", "s3:DeleteObject"]))
    assert await code(house, "GET", "/photos/kept", "bob") == DENIED
    assert await code(house, "GET", f"/photos/kept?versionId={vid}", "bob") == "200"
    assert await code(house, "DELETE", f"/photos/kept?versionId={vid}", "bob") == DENIED
    assert await code(house, "DELETE", "/photos/kept", "bob") == "204"
    rule = statement("s3:DeleteObjectVersion", Condition={"StringEquals": {"s3:VersionId": vid}})
    await put_policy(house, rule)
    assert await code(house, "DELETE", "/photos/kept?versionId=null", "bob") == DENIED
    assert await code(house, "DELETE", f"/photos/kept?versionId={vid}", "bob") == "204"


async def test_tags_of_the_object_and_of_the_request(house: House) -> None:
    for key, value in (("open", "yes"), ("shut", "no")):
        await put(house, key, "ann", x_amz_tagging=f"a={value}")
    there = {"StringEquals": {"s3:ExistingObjectTag/a": "yes"}}
    asked = {"StringEquals": {"s3:RequestObjectTag/a": "yes"}}
    await put_policy(
        house,
        statement("s3:GetObject", Condition=there),
        statement(["s3:PutObject", "s3:PutObjectTagging"], Condition=asked),
    )
    assert await code(house, "GET", "/photos/open", "bob") == "200"
    assert await code(house, "GET", "/photos/shut", "bob") == DENIED
    assert (await put(house, "a", "bob", x_amz_tagging="a=yes")).status == 200
    assert (await put(house, "a", "bob", x_amz_tagging="a=no")).status == 403
    for value, status in (("yes", 200), ("no", 403)):
        body = TAG.format(value).encode()
        answer = await house.ask("PUT", "/photos/shut?tagging", body, user="bob")
        assert answer.status == status
    assert await code(house, "GET", "/photos/shut", "bob") == "200"


async def test_who_puts_with_tags_must_be_allowed_to_tag(house: House) -> None:
    await put_policy(house, statement("s3:PutObject"))
    assert (await put(house, "a", "bob", x_amz_tagging="a=b")).code == DENIED
    assert (await put(house, "a", "bob")).status == 200
    await put_policy(house, statement(["s3:PutObject", "s3:PutObjectTagging"]))
    assert (await put(house, "a", "bob", x_amz_tagging="a=b")).status == 200
    await put_policy(house, statement("s3:PutObjectTagging", "Deny"))
    assert (await put(house, "a", "ann", x_amz_tagging="a=b")).code == DENIED
    assert (await put(house, "a", "ann")).status == 200


async def test_a_list_with_the_write_can_be_denied(house: House) -> None:
    await put_policy(house, statement("s3:PutObject"), statement("s3:PutObjectAcl", "Deny"))
    assert (await put(house, "a", "bob")).status == 200
    assert (await put(house, "a", "bob", x_amz_acl="public-read")).code == DENIED
    assert (await put(house, "a", "ann", x_amz_grant_read=f"id={BOB}")).code == DENIED


async def test_attributes_take_two_permissions(house: House) -> None:
    asked = {"x_amz_object_attributes": "ETag"}
    await put_policy(house, statement("s3:GetObjectAttributes"))
    assert await code(house, "GET", "/photos/kept?attributes", "bob", **asked) == DENIED
    await put_policy(house, statement(["s3:GetObjectAttributes", "s3:GetObject"]))
    assert await code(house, "GET", "/photos/kept?attributes", "bob", **asked) == "200"


async def test_both_sides_of_a_copy_are_asked(house: House) -> None:
    await house.bucket("bobs", "bob")
    source = {"x_amz_copy_source": "/photos/kept"}
    assert await code(house, "PUT", "/bobs/copy", "bob", **source) == DENIED
    await put_policy(house, statement("s3:GetObject"))
    assert await code(house, "PUT", "/bobs/copy", "bob", **source) == "200"
    assert await code(house, "PUT", "/photos/copy", "bob", **source) == DENIED
    # The tags come with it.
    await put(house, "kept", "ann", x_amz_tagging="a=b")
    assert await code(house, "PUT", "/bobs/copy", "bob", **source) == DENIED
    replaced = {**source, "x_amz_tagging_directive": "REPLACE"}
    assert await code(house, "PUT", "/bobs/copy", "bob", **replaced) == "200"
    await put_policy(house, statement(["s3:GetObject", "s3:GetObjectTagging"]))
    assert await code(house, "PUT", "/bobs/copy", "bob", **source) == "200"
    forbid = statement("s3:PutObjectTagging", "Deny")
    await put_policy(house, statement(["s3:GetObject", "s3:GetObjectTagging"]), forbid)
    assert await code(house, "PUT", "/photos/copy", "ann", **source) == DENIED
    assert await code(house, "PUT", "/photos/copy", "ann", **replaced) == "200"
    await put_policy(house, statement("s3:GetObjectVersion"))
    assert await code(house, "PUT", "/bobs/copy", "bob", **source) == DENIED
    named = {"x_amz_copy_source": "/photos/kept?versionId=null"}
    await put_policy(house, statement(["s3:GetObjectVersion", "s3:GetObjectVersionTagging"]))
    assert await code(house, "PUT", "/bobs/copy", "bob", **named) == "200"
    begun = await house.ask("POST", "/bobs/big?uploads", user="bob")
    part = f"/bobs/big?partNumber=1&uploadId={begun.texts('UploadId')[0]}"
    assert await code(house, "PUT", part, "bob", **source) == DENIED
    assert await code(house, "PUT", part, "bob", **named) == "200"


async def test_many_are_deleted_each_by_itself(house: House) -> None:
    await put(house, "mine", "ann")
    await put_policy(house, statement("s3:DeleteObject", Resource="arn:aws:s3:::photos/mine"))
    body = b"<Delete><Object><Key>kept</Key></Object><Object><Key>mine</Key></Object></Delete>"
    md5 = b64encode(hashlib.md5(body).digest()).decode()
    answer = await house.ask("POST", "/photos?delete", body, {"Content-MD5": md5}, user="bob")
    assert (answer.status, answer.texts("Code")) == (200, [DENIED])
    assert await house.keys() == ["kept"]


async def test_uploads_are_of_who_began_them(house: House) -> None:
    await put_policy(house, statement("s3:PutObject"))
    assert await code(house, "POST", "/photos/big?uploads", None) == DENIED
    begun = await house.ask("POST", "/photos/big?uploads", user="bob")
    upload = f"uploadId={begun.texts('UploadId')[0]}"
    part = f"/photos/big?partNumber=1&{upload}"
    # Ann has the bucket, and anybody may put objects: neither puts parts into Bob's upload.
    assert await code(house, "PUT", part, "ann") == DENIED
    assert await code(house, "PUT", part, None) == DENIED
    assert (await house.ask("PUT", part, b"part", user="bob")).status == 200
    assert await code(house, "GET", f"/photos/big?{upload}", None) == DENIED
    assert await code(house, "DELETE", f"/photos/big?{upload}", None) == DENIED
    etag = hashlib.md5(b"part").hexdigest()
    done = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        "</CompleteMultipartUpload>"
    ).encode()
    target = f"/photos/big?{upload}"
    assert (await house.ask("POST", target, done, user="ann")).code == DENIED
    listed = await house.ask("GET", target, user="ann")
    assert listed.texts("ID") == [BOB, BOB]
    assert (await house.ask("POST", target, done, user="bob")).status == 200
    assert await owner(house, "/photos/big", "bob") == BOB
    begun = await house.ask("POST", "/photos/big?uploads", user="bob")
    target = f"/photos/big?uploadId={begun.texts('UploadId')[0]}"
    await put_policy(house, statement("s3:AbortMultipartUpload", "Deny"))
    for user in ("ann", "bob"):
        assert await code(house, "DELETE", target, user) == DENIED
    await put_policy(house, statement("s3:AbortMultipartUpload"))
    assert await code(house, "DELETE", target, None) == "204"
    begun = await house.ask("POST", "/photos/big?uploads")
    target = f"/photos/big?uploadId={begun.texts('UploadId')[0]}"
    await house.ask("DELETE", "/photos?policy")
    assert await code(house, "DELETE", target, "bob") == DENIED
    assert await code(house, "DELETE", target, "ann") == "204"


# -- access control lists -------------------------------------------------------------------------

OBJECT_LISTS = {
    "private": [(ANN, "FULL_CONTROL")],
    "public-read": [(ALL_USERS, "READ"), (ANN, "FULL_CONTROL")],
    "public-read-write": [(ALL_USERS, "READ"), (ALL_USERS, "WRITE"), (ANN, "FULL_CONTROL")],
    "authenticated-read": [
        ("http://acs.amazonaws.com/groups/global/AuthenticatedUsers", "READ"),
        (ANN, "FULL_CONTROL"),
    ],
    "bucket-owner-read": [(ANN, "FULL_CONTROL")],
    "bucket-owner-full-control": [(ANN, "FULL_CONTROL")],
    "aws-exec-read": [(ANN, "FULL_CONTROL")],
}


@pytest.mark.parametrize("name", OBJECT_LISTS)
async def test_lists_by_name(house: House, name: str) -> None:
    assert (await put_acl(house, "/photos/kept", name)).status == 200
    assert await grants(house, "/photos/kept") == OBJECT_LISTS[name]
    reads = {user: await code(house, "GET", "/photos/kept", user) for user in ("bob", None)}
    assert reads == {
        "bob": "200" if name.startswith(("public", "auth")) else DENIED,
        None: "200" if name.startswith("public") else DENIED,
    }
    assert await code(house, "PUT", "/photos/kept", "bob") == DENIED
    assert await code(house, "GET", "/photos/kept?acl", "bob") == DENIED
    await put(house, "new", "ann", x_amz_acl=name)
    assert await grants(house, "/photos/new") == OBJECT_LISTS[name]


async def test_lists_of_buckets(house: House) -> None:
    assert (await put_acl(house, "/photos", "log-delivery-write")).status == 200
    found = await grants(house, "/photos")
    assert [permission for _, permission in found] == ["WRITE", "READ_ACP", "FULL_CONTROL"]
    assert (await put_acl(house, "/photos", "public-read")).status == 200
    assert await code(house, "GET", "/photos", None) == "200"
    assert await code(house, "GET", "/photos?uploads", None) == "200"
    assert await code(house, "GET", "/photos?versions", None) == "200"
    assert await code(house, "GET", "/photos/none", None) == "NoSuchKey"
    assert await code(house, "GET", "/photos/kept", None) == DENIED
    assert (await put(house, "new", None)).code == DENIED
    assert (await put_acl(house, "/photos", "public-read-write")).status == 200
    assert (await put(house, "new", None)).status == 200
    assert await code(house, "DELETE", "/photos/kept?versionId=null", "bob") == DENIED
    assert await code(house, "DELETE", "/photos/kept", "bob") == "204"
    assert await code(house, "PUT", "/photos?acl", "bob") == DENIED
    answer = await house.ask("PUT", "/open", headers={"x-amz-acl": "public-read"})
    assert answer.status == 200
    assert await code(house, "GET", "/open", "bob") == "200"


PERMISSIONS = {
    "READ": ["GET /photos/kept", "HEAD /photos/kept"],
    "WRITE": [],
    "READ_ACP": ["GET /photos/kept?acl"],
    "WRITE_ACP": ["PUT /photos/kept?acl"],
    "FULL_CONTROL": [
        *("GET /photos/kept", "HEAD /photos/kept", "GET /photos/kept?acl"),
        "PUT /photos/kept?acl",
    ],
}
OF_BUCKET = {
    "READ": ["GET /photos", "HEAD /photos", "GET /photos?versions"],
    "WRITE": ["PUT /photos/new", "DELETE /photos/new"],
    "READ_ACP": ["GET /photos?acl"],
    "WRITE_ACP": ["PUT /photos?acl"],
    "FULL_CONTROL": [
        *("GET /photos", "HEAD /photos", "GET /photos?versions", "PUT /photos/new"),
        *("DELETE /photos/new", "GET /photos?acl", "PUT /photos?acl"),
    ],
}


@pytest.mark.parametrize("permission", PERMISSIONS)
@pytest.mark.parametrize("of_bucket", [False, True])
async def test_each_permission_gives_what_it_says(
    house: House, permission: str, of_bucket: bool
) -> None:
    target, table = ("/photos", OF_BUCKET) if of_bucket else ("/photos/kept", PERMISSIONS)
    name = f"x-amz-grant-{permission.lower().replace('_', '-')}"
    for line in table["FULL_CONTROL"]:
        given = {name: f'id="{BOB}"'}
        assert (await house.ask("PUT", f"{target}?acl", headers=given)).status == 200
        method, _, where = line.partition(" ")
        puts_list = method == "PUT" and where.endswith("acl")
        headers = {"x-amz-acl": "public-read"} if puts_list else {}
        answer = await house.ask(method, where, headers=headers, user="bob")
        assert (answer.status < 300) == (line in table[permission]), line


async def test_headers_of_grants(house: House) -> None:
    async def put_headers(**headers: str) -> str:
        said = {f"x-amz-{name.replace('_', '-')}": text for name, text in headers.items()}
        answer = await house.ask("PUT", "/photos/kept?acl", headers=said)
        return answer.code or str(answer.status)

    assert await put_headers(grant_read=f'uri="{ALL_USERS}", id="{BOB}"') == "200"
    assert await grants(house, "/photos/kept") == [(ALL_USERS, "READ"), (BOB, "READ")]
    # Who owns it reads it and its list whatever is granted.
    assert await code(house, "GET", "/photos/kept", "ann") == "200"
    assert await put_headers(grant_read=f"id={BOB}", acl="private") == "InvalidRequest"
    assert await put_headers() == "MissingSecurityHeader"
    assert await put_headers(acl="secret") == "InvalidArgument"
    assert await put_headers(grant_read="id=nobody") == "InvalidArgument"
    assert await put_headers(grant_read="uri=http://example.com") == "InvalidArgument"
    assert await put_headers(grant_read="bob") == "InvalidArgument"
    assert await put_headers(grant_read=f'id="{BOB}" x') == "InvalidArgument"
    assert await put_headers(grant_read='emailAddress="bob@example.com"') == "200"
    assert await grants(house, "/photos/kept") == [(BOB, "READ")]
    no_such = 'emailAddress="x@example.com"'
    assert await put_headers(grant_read=no_such) == "UnresolvableGrantByEmailAddress"
    many = ",".join([f"id={BOB}"] * 101)
    assert await put_headers(grant_read=many) == "MalformedACLError"


def document(owner_id: str, *rows: str) -> bytes:
    return (
        f"<AccessControlPolicy><Owner><ID>{owner_id}</ID></Owner>"
        f"<AccessControlList>{''.join(rows)}</AccessControlList></AccessControlPolicy>"
    ).encode()


def row(kind: str, inside: str, permission: str = "READ") -> str:
    xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    return (
        f'<Grant><Grantee {xsi} xsi:type="{kind}">{inside}</Grantee>'
        f"<Permission>{permission}</Permission></Grant>"
    )


async def test_documents(house: House) -> None:
    async def put_document(body: bytes, **headers: str) -> str:
        said = {name.replace("_", "-"): text for name, text in headers.items()}
        answer = await house.ask("PUT", "/photos/kept?acl", body, said)
        return answer.code or str(answer.status)

    bob = row("CanonicalUser", f"<ID>{BOB}</ID>")
    assert await put_document(document(ANN, bob)) == "200"
    assert await grants(house, "/photos/kept") == [(BOB, "READ")]
    assert await code(house, "GET", "/photos/kept", "bob") == "200"
    assert await put_document(document(ANN)) == "200"
    assert await code(house, "GET", "/photos/kept", "bob") == DENIED
    assert await code(house, "GET", "/photos/kept", "ann") == "200"
    assert await put_document(document(BOB, bob)) == DENIED
    assert await put_document(document(ANN, bob), x_amz_acl="private") == "UnexpectedContent"
    assert await put_document(b"<AccessControlPolicy/>") == "MalformedACLError"
    wrong = document(ANN, row("CanonicalUser", "<URI>x</URI>"))
    assert await put_document(wrong) == "MalformedACLError"
    assert await put_document(document(ANN, row("Group", f"<URI>{ALL_USERS}</URI>"))) == "200"
    assert await code(house, "GET", "/photos/kept", None) == "200"


async def test_an_object_of_another_is_not_the_buckets_owner_to_read(house: House) -> None:
    await put_policy(house, statement("s3:PutObject"))
    await put(house, "foreign", "bob")
    await house.ask("DELETE", "/photos?policy")
    assert await code(house, "GET", "/photos/foreign", "bob") == "200"
    assert await owner(house, "/photos/foreign", "bob") == BOB
    for method, target in (
        ("GET", "/photos/foreign"),
        ("GET", "/photos/foreign?acl"),
        ("PUT", "/photos/foreign?acl"),
        ("GET", "/photos/foreign?versionId=null"),
    ):
        headers = {"x_amz_acl": "private"} if method == "PUT" else {}
        assert await code(house, method, target, "ann", **headers) == DENIED, (method, target)
    assert await code(house, "HEAD", "/photos/foreign", "ann") == "403"
    copied = {"x_amz_copy_source": "/photos/foreign"}
    assert await code(house, "PUT", "/photos/copy", "ann", **copied) == DENIED
    assert (await put_acl(house, "/photos/foreign", "bucket-owner-read", "bob")).status == 200
    assert await code(house, "GET", "/photos/foreign", "ann") == "200"
    assert await code(house, "DELETE", "/photos/foreign", "ann") == "204"


async def test_what_nobody_wrote(house: House) -> None:
    await put_acl(house, "/photos", "public-read-write")
    await put(house, "wild", None)
    version = await version_of(house, "wild")
    assert version is not None and ANONYMOUS_ID in version.registers["acl"].value
    assert await code(house, "GET", "/photos/wild", None) == DENIED
    assert await code(house, "GET", "/photos/wild", "ann") == DENIED
    await put(house, "wild", None, x_amz_acl="bucket-owner-full-control")
    assert await code(house, "GET", "/photos/wild", "ann") == "200"


async def test_the_usual_list_costs_nothing(house: House) -> None:
    await put(house, "plain", "ann", x_amz_acl="private")
    version = await version_of(house, "plain")
    assert version is not None and not version.registers
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None and not bucket.registers


# -- ownership ------------------------------------------------------------------------------------


async def test_where_all_is_the_owners_lists_do_not_count(house: House) -> None:
    await put_policy(house, statement("s3:PutObject"))
    await put(house, "foreign", "bob")
    await put(house, "open", "ann", x_amz_acl="public-read")
    assert (await put_ownership(house, OWNER_ENFORCED)).status == 200
    assert await code(house, "GET", "/photos/open", None) == DENIED
    assert await code(house, "GET", "/photos/foreign", "ann") == "200"
    assert await code(house, "GET", "/photos/foreign", "bob") == DENIED
    assert await grants(house, "/photos/foreign") == [(ANN, "FULL_CONTROL")]
    assert (await put_acl(house, "/photos", "private")).code == "AccessControlListNotSupported"
    said = {"x_amz_acl": "public-read"}
    assert (await put(house, "new", "ann", **said)).code == "AccessControlListNotSupported"
    said = {"x_amz_acl": "bucket-owner-full-control"}
    assert (await put(house, "new", "bob", **said)).status == 200
    assert await owner(house, "/photos/new") == ANN
    await house.ask("DELETE", "/photos?ownershipControls")
    assert await code(house, "GET", "/photos/open", None) == "200"
    assert await code(house, "GET", "/photos/foreign", "ann") == DENIED


async def test_a_bucket_that_grants_something_keeps_its_lists(house: House) -> None:
    await put_acl(house, "/photos", "public-read")
    answer = await put_ownership(house, OWNER_ENFORCED)
    assert answer.code == "InvalidBucketAclWithObjectOwnership"
    headers = {"x-amz-acl": "public-read", "x-amz-object-ownership": OWNER_ENFORCED}
    answer = await house.ask("PUT", "/other", headers=headers)
    assert answer.code == "InvalidBucketAclWithObjectOwnership"
    # In two datacenters both may be set at once: then the list does not count.
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    rule = json.dumps({"Rules": [{"ObjectOwnership": OWNER_ENFORCED}]})
    await house.names.set_bucket_registers(bucket.id, {"ownership": rule})
    assert await code(house, "GET", "/photos", "bob") == DENIED


async def test_what_is_given_to_the_owner_of_the_bucket(house: House) -> None:
    await put_policy(house, statement("s3:PutObject"))
    said = {"x_amz_acl": "bucket-owner-full-control"}
    await put(house, "writers", "bob", **said)
    assert await owner(house, "/photos/writers", "bob") == BOB
    await put_ownership(house, OWNER_PREFERRED)
    await put(house, "mine", "bob", **said)
    assert await owner(house, "/photos/mine") == ANN
    await put(house, "bobs", "bob")
    assert await owner(house, "/photos/bobs", "bob") == BOB


# -- public access block --------------------------------------------------------------------------


async def test_public_lists_are_refused(house: House) -> None:
    await block(house, "BlockPublicAcls")
    for target in ("/photos", "/photos/kept"):
        assert (await put_acl(house, target, "public-read")).code == DENIED
        assert (await put_acl(house, target, "authenticated-read")).code == DENIED
        assert (await put_acl(house, target, "private")).status == 200
    assert (await put(house, "new", "ann", x_amz_acl="public-read")).code == DENIED
    assert (await put(house, "new", "ann", x_amz_grant_read=f"id={BOB}")).status == 200
    begun = {"x_amz_acl": "public-read"}
    assert await code(house, "POST", "/photos/big?uploads", "ann", **begun) == DENIED


async def test_public_grants_are_ignored(house: House) -> None:
    await put_acl(house, "/photos", "public-read-write")
    given = {"x-amz-grant-read": f'uri="{ALL_USERS}",id={BOB}'}
    await house.ask("PUT", "/photos/kept?acl", headers=given)
    await block(house, "IgnorePublicAcls")
    assert await code(house, "GET", "/photos", None) == DENIED
    assert await code(house, "GET", "/photos/kept", None) == DENIED
    assert (await put(house, "new", "bob")).code == DENIED
    assert await code(house, "GET", "/photos/kept", "bob") == "200"


async def test_public_policies_are_refused(house: House) -> None:
    await block(house, "BlockPublicPolicy")
    assert (await put_policy(house, statement("s3:GetObject"))).code == DENIED
    mine = statement("s3:GetObject", Principal={"AWS": BOB})
    assert (await put_policy(house, mine)).status == 204


async def test_public_policies_allow_nothing_where_they_are_restricted(house: House) -> None:
    deny = statement("s3:DeleteObject", "Deny")
    bob = statement("s3:GetObject", Principal={"AWS": BOB})
    await put_policy(house, statement("s3:ListBucket"), bob, deny)
    assert await code(house, "GET", "/photos/kept", "bob") == "200"
    await block(house, "RestrictPublicBuckets")
    assert await code(house, "GET", "/photos", "bob") == DENIED
    assert await code(house, "GET", "/photos/kept", "bob") == DENIED
    assert await code(house, "GET", "/photos", "ann") == "200"
    assert await code(house, "DELETE", "/photos/kept", "ann") == DENIED
    await put_policy(house, bob, deny)
    assert await code(house, "GET", "/photos/kept", "bob") == "200"


# -- what else asks -------------------------------------------------------------------------------


async def test_governance_is_bypassed_by_whom_the_policy_allows(house: House) -> None:
    locked = {"x-amz-bucket-object-lock-enabled": "true"}
    assert (await house.ask("PUT", "/locked", headers=locked)).status == 200
    until = "2100-01-01T00:00:00Z"
    said = {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": until}
    written = await house.ask("PUT", "/locked/k", b"", said)
    target = f"/locked/k?versionId={written.headers['x-amz-version-id']}"
    bypass = {"x_amz_bypass_governance_retention": "true"}

    async def allow(*actions: str) -> None:
        one = statement([*actions], Resource="arn:aws:s3:::locked/*")
        body = json.dumps({"Version": "2012-10-17", "Statement": [one]}).encode()
        assert (await house.ask("PUT", "/locked?policy", body)).status == 204

    await allow("s3:DeleteObjectVersion", "s3:PutObject")
    assert await code(house, "DELETE", target, "bob", **bypass) == DENIED
    # Nor may who only writes lock what is written.
    answer = await house.ask("PUT", "/locked/new", b"", said, user="bob")
    assert answer.code == DENIED
    await put_acl(house, "/locked", "public-read-write")
    assert (await house.ask("PUT", "/locked/new", b"", said, user="bob")).code == DENIED
    assert (
        await house.ask("PUT", "/locked/new", b"", {"x-amz-tagging": "a=b"}, user="bob")
    ).status == 200
    await allow("s3:DeleteObjectVersion", "s3:BypassGovernanceRetention")
    assert await code(house, "DELETE", target, "bob") == DENIED
    assert await code(house, "DELETE", target, "bob", **bypass) == "204"
    await allow("s3:PutObject", "s3:PutObjectRetention")
    assert (await house.ask("PUT", "/locked/new", b"", said, user="bob")).status == 200


async def test_a_lock_by_what_the_body_says(house: House) -> None:
    locked = {"x-amz-bucket-object-lock-enabled": "true"}
    await house.ask("PUT", "/locked", headers=locked)
    await house.ask("PUT", "/locked/k", b"")
    only = {"StringEquals": {"s3:object-lock-mode": "GOVERNANCE"}}
    hold = {"StringEquals": {"s3:object-lock-legal-hold": "ON"}}
    body = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                statement(
                    "s3:PutObjectRetention", Resource="arn:aws:s3:::locked/*", Condition=only
                ),
                statement(
                    "s3:PutObjectLegalHold", Resource="arn:aws:s3:::locked/*", Condition=hold
                ),
            ],
        }
    ).encode()
    assert (await house.ask("PUT", "/locked?policy", body)).status == 204

    async def put_document(target: str, document: str) -> str:
        said = {"Content-MD5": b64encode(hashlib.md5(document.encode()).digest()).decode()}
        answer = await house.ask("PUT", target, document.encode(), said, user="bob")
        return answer.code or str(answer.status)

    until = "<RetainUntilDate>2100-01-01T00:00:00Z</RetainUntilDate>"
    for mode, found in (("COMPLIANCE", DENIED), ("GOVERNANCE", "200")):
        document = f"<Retention><Mode>{mode}</Mode>{until}</Retention>"
        assert await put_document("/locked/k?retention", document) == found
    for status, found in (("OFF", DENIED), ("ON", "200")):
        document = f"<LegalHold><Status>{status}</Status></LegalHold>"
        assert await put_document("/locked/k?legal-hold", document) == found


async def test_forms_have_lists(house: House) -> None:
    await put_acl(house, "/photos", "public-read-write")
    fields = signed_v4({"key": "form", "acl": "public-read"}, policy({"acl": "public-read"}))
    assert (await post(house, form(fields))).status == 204
    assert await grants(house, "/photos/form") == OBJECT_LISTS["public-read"]
    assert (await post(house, form({"key": "wild", "acl": "public-read"}))).status == 204
    assert await code(house, "GET", "/photos/wild", None) == "200"
    assert (await post(house, form({"key": "form", "acl": "open"}))).code == "InvalidArgument"
