"""Access control lists: who owns an object or bucket, and what is granted to whom.

A list is kept as a register (docs/s3.md), as JSON. The usual one, of a bucket's owner who has
granted nothing, is not kept at all. A list that cannot be read, which no gateway writes, grants
nothing.

Source: "Access control list (ACL) overview" in the S3 User Guide.
"""

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from dc.names.model import Bucket, Registers
from gateway.access.principals import Caller

ACL = "acl"
"""The name of the register."""

READ, WRITE, READ_ACP, WRITE_ACP = "READ", "WRITE", "READ_ACP", "WRITE_ACP"
FULL_CONTROL = "FULL_CONTROL"

_GROUPS = "http://acs.amazonaws.com/groups/"
ALL_USERS = f"{_GROUPS}global/AllUsers"
AUTHENTICATED_USERS = f"{_GROUPS}global/AuthenticatedUsers"
LOG_DELIVERY = f"{_GROUPS}s3/LogDelivery"
GROUPS = frozenset((ALL_USERS, AUTHENTICATED_USERS, LOG_DELIVERY))
PUBLIC = frozenset((ALL_USERS, AUTHENTICATED_USERS))

_REMEMBERED = 1024
"""Lists; one of a hundred grants takes 30 KiB."""


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """`grantee` is a canonical id, or the URI of a group."""

    grantee: str
    permission: str


class Acl(msgspec.Struct, frozen=True):
    """An access control list."""

    owner: str
    """A canonical id."""
    grants: tuple[Grant, ...]

    def grants_to(self, caller: Caller, permission: str, *, publicly: bool = True) -> bool:
        """Whether some grant gives it; `publicly`: whether those to the public count."""
        return any(
            grant.permission in (permission, FULL_CONTROL)
            and (_is(grant.grantee, caller) or (publicly and _includes(grant.grantee, caller)))
            for grant in self.grants
        )

    @property
    def is_public(self) -> bool:
        return any(grant.grantee in PUBLIC for grant in self.grants)


def _is(grantee: str, caller: Caller) -> bool:
    return bool(caller.id) and grantee == caller.id


def _includes(group: str, caller: Caller) -> bool:
    return group == ALL_USERS or (group == AUTHENTICATED_USERS and bool(caller.id))


def private(owner: str) -> Acl:
    """Of an owner who has granted nothing."""
    return Acl(owner, (Grant(owner, FULL_CONTROL),))


def register_text(acl: Acl, bucket_owner: str) -> str:
    """The register of a list; "" for the usual one."""
    return "" if acl == private(bucket_owner) else msgspec.json.encode(acl).decode()


def bucket_acl(bucket: Bucket) -> Acl:
    """The list of a bucket, whose owner is always the bucket's."""
    found = acl_in(bucket.registers, bucket.owner)
    return found if found.owner == bucket.owner else Acl(bucket.owner, found.grants)


def acl_in(registers: Registers, bucket_owner: str) -> Acl:
    """The list of an object with these registers."""
    register = registers.get(ACL)
    if register is None or not register.value:
        return private(bucket_owner)
    return _decoded(register.value) or Acl(bucket_owner, ())


def owner_in(attributes: Mapping[str, str], bucket_owner: str) -> str:
    """Who will own an object that is written with these attributes."""
    found = _decoded(attributes[ACL]) if attributes.get(ACL) else None
    return bucket_owner if found is None else found.owner


@lru_cache(maxsize=_REMEMBERED)
def _decoded(text: str) -> Acl | None:
    try:
        return msgspec.json.decode(text, type=Acl)
    except (msgspec.DecodeError, RecursionError):
        return None
