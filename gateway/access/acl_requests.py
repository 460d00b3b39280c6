"""Access control lists as requests give them: by name, by headers of grants, as a document.

Source: "Access control list (ACL) overview" in the S3 User Guide, and PutObjectAcl in the S3 API
Reference.
"""

import re
from collections.abc import Iterator
from typing import Any

from multidict import MultiMapping

from dc.names.api import Directory
from dc.names.model import Bucket
from gateway.access.acl import (
    ALL_USERS,
    AUTHENTICATED_USERS,
    FULL_CONTROL,
    GROUPS,
    LOG_DELIVERY,
    READ,
    READ_ACP,
    WRITE,
    WRITE_ACP,
    Acl,
    Grant,
    private,
)
from gateway.access.ownership import (
    BUCKET_OWNER_FULL_CONTROL,
    BUCKET_OWNER_PREFERRED,
    are_acls_off,
    ownership_of,
)
from gateway.access.public_access import blocks_public_acls
from gateway.errors import S3Error, invalid_argument
from gateway.limits import ACL_GRANTS_MAX
from gateway.owners import ANONYMOUS_ID

CANNED = "x-amz-acl"
GRANTS = {
    "x-amz-grant-read": READ,
    "x-amz-grant-write": WRITE,
    "x-amz-grant-read-acp": READ_ACP,
    "x-amz-grant-write-acp": WRITE_ACP,
    "x-amz-grant-full-control": FULL_CONTROL,
}
"""By header."""

_PUBLIC_READ = (Grant(ALL_USERS, READ),)
_OF_ALL = {
    "private": (),
    "public-read": _PUBLIC_READ,
    "public-read-write": (*_PUBLIC_READ, Grant(ALL_USERS, WRITE)),
    "authenticated-read": (Grant(AUTHENTICATED_USERS, READ),),
    "aws-exec-read": (),
}
"""Lists by name, without what the owner has. There is no EC2 that aws-exec-read could mean."""
_OF_BUCKETS = {
    **_OF_ALL,
    "log-delivery-write": (Grant(LOG_DELIVERY, WRITE), Grant(LOG_DELIVERY, READ_ACP)),
}
_TO_BUCKET_OWNER = {BUCKET_OWNER_FULL_CONTROL: FULL_CONTROL, "bucket-owner-read": READ}
_GRANTEE = re.compile(r'\s*([A-Za-z]+)\s*=\s*(?:"([^"]*)"|([^",\s]*))\s*(?:,|$)')


def has_acl(headers: MultiMapping[str]) -> bool:
    """Whether headers give a list."""
    return CANNED in headers or any(name in headers for name in GRANTS)


def acl_of_write(
    directory: Directory, bucket: Bucket, headers: MultiMapping[str], writer: str
) -> Acl:
    """The list that an object is born with. AccessControlListNotSupported, AccessDenied for one
    that is public where the bucket blocks that, and the errors of what is wrong with headers."""
    canned = headers.get(CANNED)
    if are_acls_off(bucket):
        if canned not in (None, BUCKET_OWNER_FULL_CONTROL) or _has_grants(headers):
            raise S3Error("AccessControlListNotSupported")
        return private(bucket.owner)
    gives_away = canned == BUCKET_OWNER_FULL_CONTROL
    preferred = ownership_of(bucket) == BUCKET_OWNER_PREFERRED
    owner = bucket.owner if gives_away and preferred else writer or ANONYMOUS_ID
    acl = acl_of_headers(directory, headers, owner, bucket.owner) or private(owner)
    check_public(bucket, acl)
    return acl


def acl_of_headers(
    directory: Directory, headers: MultiMapping[str], owner: str, bucket_owner: str | None
) -> Acl | None:
    """The list that headers give to an object; of a bucket `bucket_owner` is None. None when they
    give none. InvalidArgument, InvalidRequest, UnresolvableGrantByEmailAddress."""
    canned = headers.get(CANNED)
    if _has_grants(headers):
        if canned is not None:
            message = "Specifying both Canned ACLs and Header Grants is not allowed"
            raise S3Error("InvalidRequest", message)
        return _checked(owner, _granted(directory, headers))
    return None if canned is None else _canned(canned, owner, bucket_owner)


def _has_grants(headers: MultiMapping[str]) -> bool:
    return any(name in headers for name in GRANTS)


def _canned(name: str, owner: str, bucket_owner: str | None) -> Acl:
    mine = Grant(owner, FULL_CONTROL)
    if bucket_owner is not None and name in _TO_BUCKET_OWNER:
        if owner == bucket_owner:
            return private(owner)
        return Acl(owner, (mine, Grant(bucket_owner, _TO_BUCKET_OWNER[name])))
    known = _OF_BUCKETS if bucket_owner is None else _OF_ALL
    if bucket_owner is None and name in _TO_BUCKET_OWNER:
        return private(owner)  # S3 ignores what makes no sense for a bucket.
    if name not in known:
        raise invalid_argument("Invalid Argument", CANNED, name)
    return Acl(owner, (mine, *known[name]))


def _granted(directory: Directory, headers: MultiMapping[str]) -> Iterator[Grant]:
    for name, permission in GRANTS.items():
        for text in headers.getall(name, ()):
            place = 0
            while place < len(text):
                match = _GRANTEE.match(text, place)
                if match is None:
                    raise invalid_argument("Argument format not recognized", name, text)
                kind, quoted, bare = match.groups()
                grantee = bare if quoted is None else quoted
                yield Grant(_grantee(directory, kind.lower(), grantee), permission)
                place = match.end()


def _grantee(directory: Directory, kind: str, text: str) -> str:
    """A canonical id or the URI of a group."""
    match kind:
        case "id":
            if directory.user(text) is None and text != ANONYMOUS_ID:
                raise invalid_argument("Invalid id", "id", text)
            return text
        case "emailaddress":
            found = [user.id for user in directory.users_of_email(text)]
            if len(found) == 1:
                return found[0]
            known = "AmbiguousGrantByEmailAddress" if found else "UnresolvableGrantByEmailAddress"
            raise S3Error(known)
        case "uri":
            if text not in GROUPS:
                raise invalid_argument("Invalid group uri", "uri", text)
            return text
    raise invalid_argument("Argument format not recognized", kind, text)


def acl_of_document(directory: Directory, wanted: Any, owner: str) -> Acl:
    """The list in an AccessControlPolicy for what `owner` owns. MalformedACLError, AccessDenied
    when it names another owner, and the errors of grantees."""
    if wanted.Owner is None or wanted.Grants is None:
        raise S3Error("MalformedACLError")
    if owner != wanted.Owner.ID:
        raise S3Error("AccessDenied")
    return _checked(owner, (_grant_of(directory, grant) for grant in wanted.Grants))


def _grant_of(directory: Directory, grant: Any) -> Grant:
    grantee = grant.Grantee
    if grantee is None or grant.Permission is None:
        raise S3Error("MalformedACLError")
    match grantee.Type:
        case "CanonicalUser" if grantee.ID is not None:
            found = _grantee(directory, "id", grantee.ID)
        case "AmazonCustomerByEmail" if grantee.EmailAddress is not None:
            found = _grantee(directory, "emailaddress", grantee.EmailAddress)
        case "Group" if grantee.URI is not None:
            found = _grantee(directory, "uri", grantee.URI)
        case _:
            raise S3Error("MalformedACLError")
    return Grant(found, grant.Permission)


def _checked(owner: str, grants: Iterator[Grant]) -> Acl:
    found: list[Grant] = []
    for grant in grants:
        if len(found) == ACL_GRANTS_MAX:
            message = f"The XML you provided has more than {ACL_GRANTS_MAX} grants."
            raise S3Error("MalformedACLError", message)
        found.append(grant)
    return Acl(owner, tuple(found))


def check_public(bucket: Bucket, acl: Acl) -> None:
    """AccessDenied for a public list where the bucket blocks such."""
    if acl.is_public and blocks_public_acls(bucket):
        raise S3Error("AccessDenied")
