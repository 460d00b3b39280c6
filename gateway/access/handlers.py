"""The operations on policies, access control lists and ownership."""

from typing import Any

from gateway.access.acl import ACL, GROUPS, Acl, acl_in, bucket_acl, private, register_text
from gateway.access.acl_requests import (
    acl_of_document,
    acl_of_headers,
    check_public,
    has_acl,
)
from gateway.access.compiled import POLICY, compiled, policy_text
from gateway.access.ownership import BUCKET_OWNER_ENFORCED, are_acls_off
from gateway.access.policy import compile_policy
from gateway.access.public import is_public
from gateway.access.public_access import blocks_public_policies
from gateway.context import Context
from gateway.errors import S3Error
from gateway.model.writer import output
from gateway.notifications.records import What, told
from gateway.owners import owner
from gateway.read import find_version
from gateway.reply import Reply
from gateway.request import Request
from gateway.setting_checks import check_ownership
from gateway.settings import put_setting

# -- policies -------------------------------------------------------------------------------------


async def put_policy(context: Context, request: Request, asked: Any) -> Reply:
    """Store a policy as it is written. MalformedPolicy; AccessDenied for a public one where the
    bucket blocks such."""
    policy = compile_policy(asked.Policy, _made_name(context, request))
    if blocks_public_policies(request.bucket) and is_public(policy):
        raise S3Error("AccessDenied")
    await put_setting(context, request, POLICY, asked.Policy)
    return Reply(204)


async def get_policy(_context: Context, request: Request, _asked: Any) -> Reply:
    return Reply(200, "Content-Type: application/json\r\n", _policy(request).encode())


async def get_policy_status(context: Context, request: Request, _asked: Any) -> Any:
    found = compiled(_policy(request), _made_name(context, request))
    public = found is not None and found.public
    return output("GetBucketPolicyStatus", PolicyStatus={"IsPublic": public})


async def delete_policy(context: Context, request: Request, _asked: Any) -> None:
    if policy_text(request.bucket):
        await put_setting(context, request, POLICY, None)


def _policy(request: Request) -> str:
    text = policy_text(request.bucket)
    if not text:
        raise S3Error("NoSuchBucketPolicy", extra={"BucketName": request.bucket.name})
    return text


def _made_name(context: Context, request: Request) -> str:
    """The name that the bucket was made with, which its policy has in its resources."""
    made = context.names.directory.bucket_by_id(request.bucket.id)
    return (made or request.bucket).name


# -- access control lists -------------------------------------------------------------------------


async def get_bucket_acl(context: Context, request: Request, _asked: Any) -> Any:
    return _shown(context, "GetBucketAcl", bucket_acl(request.bucket))


async def put_bucket_acl(context: Context, request: Request, asked: Any) -> None:
    bucket = request.bucket
    acl = _asked_acl(context, request, asked, bucket.owner, None)
    await put_setting(context, request, ACL, register_text(acl, bucket.owner))


async def get_object_acl(context: Context, request: Request, asked: Any) -> Any:
    bucket = request.bucket
    version = await find_version(context, request, asked.VersionId)
    off = are_acls_off(bucket)
    acl = private(bucket.owner) if off else acl_in(version.registers, bucket.owner)
    return _shown(context, "GetObjectAcl", acl)


async def put_object_acl(context: Context, request: Request, asked: Any) -> None:
    bucket, names = request.bucket, context.names
    version = await find_version(context, request, asked.VersionId)
    mine = acl_in(version.registers, bucket.owner).owner
    acl = _asked_acl(context, request, asked, mine, bucket.owner)
    what = What(version.key, await names.stamp(), version.vid, version.size, version.etag)
    await names.set_registers(
        version.bucket,
        version.key,
        version.vid,
        {ACL: register_text(acl, bucket.owner)},
        written=version.stamp,
        events=told(context, request, "ObjectAcl:Put", what),
    )


def _asked_acl(
    context: Context, request: Request, asked: Any, mine: str, bucket_owner: str | None
) -> Acl:
    """The list that a request gives in one of three ways to what `mine` owns; for a bucket
    `bucket_owner` is None."""
    directory, headers = context.names.directory, request.headers
    if are_acls_off(request.bucket):
        raise S3Error("AccessControlListNotSupported")
    if asked.AccessControlPolicy is None:
        acl = acl_of_headers(directory, headers, mine, bucket_owner)
        if acl is None:
            message = "Your request was missing a required header"
            extra = {"MissingHeaderName": "x-amz-acl"}
            raise S3Error("MissingSecurityHeader", message, extra=extra)
    elif has_acl(headers):
        raise S3Error("UnexpectedContent")
    else:
        acl = acl_of_document(directory, asked.AccessControlPolicy, mine)
    check_public(request.bucket, acl)
    return acl


def _shown(context: Context, operation: str, acl: Acl) -> Any:
    """A list for an answer: what groups have stands first, so that it is not overlooked."""
    directory = context.names.directory
    groups, users = [], []
    for grant in acl.grants:
        if grant.grantee in GROUPS:
            grantee = {"Type": "Group", "URI": grant.grantee}
            groups.append({"Grantee": grantee, "Permission": grant.permission})
        else:
            grantee = {"Type": "CanonicalUser", **owner(directory, grant.grantee)}
            users.append({"Grantee": grantee, "Permission": grant.permission})
    return output(operation, Owner=owner(directory, acl.owner), Grants=groups + users)


# -- ownership ------------------------------------------------------------------------------------


async def put_ownership(context: Context, request: Request, asked: Any) -> None:
    """Lists can be switched off only where the bucket's own grants nothing to others."""
    wanted, bucket = asked.OwnershipControls, request.bucket
    check_ownership(wanted)
    enforced = wanted.Rules[0].ObjectOwnership == BUCKET_OWNER_ENFORCED
    if enforced and bucket_acl(bucket) != private(bucket.owner):
        raise S3Error("InvalidBucketAclWithObjectOwnership")
    await put_setting(context, request, "ownership", wanted)
