"""Whether a request may be done: policy, access control lists, ownership, in one place.

In this order, as S3 has it: what the policy denies is denied, to the bucket's owner too (but for
the operations on the policy itself, or nobody could mend it). What it allows is allowed, unless
the policy is public and the bucket restricts such. Then access control lists, where ownership has
not switched them off: an object's for what is done to it, the bucket's for the rest. Then the
bucket's owner, who may do everything but read an object of somebody else.

Every request has an `Access`. It is *short* for the owner of a bucket without a policy: there only
an object's own list is looked at. Otherwise `admit` decides before the handler runs, and the
handler's `check` once more, with the very version that it found: the one in between may be another.
What depends on the body of a request is decided by `check` alone.
"""

from collections.abc import Mapping
from functools import partial

from dc.names.api import Directory, GatewayNames
from dc.names.model import Bucket, Kind, Upload, Version
from dc.read_through import reads_through
from gateway.access.acl import ACL, READ, WRITE, Acl, acl_in, bucket_acl
from gateway.access.acl_requests import has_acl
from gateway.access.compiled import compiled, policy_text
from gateway.access.facts import RequestFacts
from gateway.access.ownership import are_acls_off
from gateway.access.policy import Verdict
from gateway.access.principals import Caller
from gateway.access.public_access import ignores_public_acls, restricts_public_buckets
from gateway.errors import S3Error
from gateway.request import Request
from gateway.tags import HEADER as TAGGING
from gateway.tags import tags_to_decide_by
from gateway.versioning import NULL, is_version_id, state_of, vid_of

Facts = Mapping[str, list[str] | None]

_OF_POLICIES = frozenset(("GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"))
_OF_UPLOADS = frozenset(("AbortMultipartUpload", "ListMultipartUploadParts"))
"""Decided by whose the upload is, once it is found."""
_READS = frozenset(("GetObject", "GetObjectVersion"))
_BY_BODY = frozenset(
    (
        *("PutObjectTagging", "PutObjectVersionTagging"),
        *("PutObjectRetention", "PutObjectLegalHold"),
    )
)
"""Policies may ask for what stands in the body."""
_MORE = {
    TAGGING: "PutObjectTagging",
    "x-amz-object-lock-mode": "PutObjectRetention",
    "x-amz-object-lock-retain-until-date": "PutObjectRetention",
    "x-amz-object-lock-legal-hold": "PutObjectLegalHold",
}
"""What the writer of an object has to be allowed besides, by header."""


class Access:
    """What the sender of `request` may do with `key` (or the bucket, when it is "") by `action`,
    to which an ACL's `permission` corresponds. `extra`: what else is said of it to policies."""

    __slots__ = (
        "_action",
        "_bucket",
        "_caller",
        "_directory",
        "_extra",
        "_key",
        "_permission",
        "_request",
        "is_owner",
        "is_short",
    )

    def __init__(
        self,
        directory: Directory,
        request: Request,
        bucket: Bucket,
        key: str,
        action: str,
        permission: str,
        extra: Facts | None = None,
    ) -> None:
        self._directory = directory
        self._request = request
        self._bucket = bucket
        self._key = key
        self._action = action
        self._permission = permission
        self._extra = extra
        self._caller: Caller | None = None
        self.is_owner = request.user == bucket.owner
        self.is_short = self.is_owner and (not bucket.registers or not policy_text(bucket))

    # -- before the handler -----------------------------------------------------------------------

    async def admit(self, names: GatewayNames) -> None:
        """AccessDenied, or the error of an object that is not there. Not asked when `is_short`."""
        action, key = self._action, self._key
        if action in _OF_UPLOADS:
            if self._verdict(action, key) is Verdict.DENY:
                raise S3Error("AccessDenied")
        elif not key and action == "DeleteObject":
            return  # Each of many keys is decided by itself.
        elif self._permission == WRITE or not key:
            self._demand(action, self._permission)
            if self._permission == WRITE:
                self._demand_more()
        elif action in _BY_BODY:
            if not policy_text(self._bucket):
                self._demand(action, "")
        else:
            version = await self._version(names)
            if version is None and self.may_seek():
                return  # What is elsewhere is decided when it is found.
            self.check(version)

    async def _version(self, names: GatewayNames) -> Version | None:
        version_id = self._request.query.get("versionId")
        if version_id is None:
            return await names.current(self._bucket.id, self._key)
        if not is_version_id(version_id):
            return None
        return await names.version(self._bucket.id, self._key, vid_of(version_id))

    def _demand(self, action: str, permission: str) -> None:
        if action in _OF_POLICIES:
            self._demand_policy(action)
        elif not self.may(action, permission, self._key):
            raise S3Error("AccessDenied")

    def _demand_policy(self, action: str) -> None:
        """The policy of a bucket is its owner's, whatever it says itself."""
        if not self.is_owner:
            allowed = self._verdict(action, "") is Verdict.ALLOW
            raise S3Error("MethodNotAllowed" if allowed else "AccessDenied")

    def _demand_more(self) -> None:
        """What a write does besides, by its headers."""
        headers, key = self._request.headers, self._key
        for name, action in _MORE.items():
            if name in headers:
                self.demand_too(action)
        if has_acl(headers) and self._verdict("PutObjectAcl", key) is Verdict.DENY:
            raise S3Error("AccessDenied")

    # -- for handlers -----------------------------------------------------------------------------

    def check(self, version: Version | None, facts: Facts | None = None) -> None:
        """Whether what was asked may be done to the version that was found; None for none. Who may
        not list the bucket is not told that something is not there. `facts`: what the body says.
        AccessDenied."""
        self._extra = facts or self._extra
        if version is None or version.kind is not Kind.OBJECT:
            if not self.is_short:
                if self._verdict(self._action, self._key) is Verdict.DENY:
                    raise S3Error("AccessDenied")
                if not self._may_list():
                    raise S3Error("AccessDenied")
        elif self.is_short and ACL not in version.registers:
            return
        elif not self.may(self._action, self._permission, self._key, version):
            raise S3Error("AccessDenied")

    def check_upload(self, upload: Upload | None, *, by_initiator: bool) -> None:
        """Whether the upload that was found may be changed or seen: by who began it; unless
        `by_initiator`, also by the bucket's owner and whom the policy allows. AccessDenied."""
        if upload is not None and upload.owner == self._request.user:
            return
        if upload is not None and by_initiator:
            raise S3Error("AccessDenied")
        if not by_initiator and not self.may(self._action, "", self._key):
            raise S3Error("AccessDenied")

    def check_key(self, key: str, version_id: str | None) -> None:
        """Whether one of many objects may be deleted. AccessDenied."""
        if self.is_short:
            return
        action = "DeleteObject" if version_id is None else "DeleteObjectVersion"
        self._extra = {"s3:versionid": None if version_id is None else [version_id]}
        if not self.may(action, WRITE, key):
            raise S3Error("AccessDenied")

    def demand_too(
        self, action: str, version: Version | None = None, facts: Facts | None = None
    ) -> None:
        """AccessDenied unless the caller may do this to the key besides, of which `facts` are said.
        Tags may be given by who may write by an ACL."""
        if self.is_short:
            return
        verdict = self._verdict(action, self._key, version, facts)
        by_acl = action == "PutObjectTagging" and self._by_bucket_acl(WRITE)
        if verdict is Verdict.DENY or not (verdict is Verdict.ALLOW or self.is_owner or by_acl):
            raise S3Error("AccessDenied")

    def may_bypass(self, key: str) -> bool:
        """Whether the caller may bypass governance retention."""
        return self.is_short or self.may("BypassGovernanceRetention", "", key)

    def may(
        self, action: str, permission: str, key: str = "", version: Version | None = None
    ) -> bool:
        """Whether the caller may do that, to the bucket or to a key."""
        verdict = self._verdict(action, key, version)
        if verdict is Verdict.DENY or self._is_kept(action, key):
            return False
        if action.endswith("Attributes") and not self._may_read_too(action, key, version):
            return False
        if verdict is Verdict.ALLOW:
            return True
        if permission and permission != WRITE and key:
            return version is not None and self._by_object_acl(permission, version)
        if self.is_owner:
            return True
        if action == "DeleteObjectVersion" or not permission:
            return False
        return self._by_bucket_acl(permission)

    def may_seek(self) -> bool:
        """Whether other datacenters may be asked for the key that is to be read, and is not here:
        for who may read it by the policy, and for who may know that it is not here."""
        if self._action not in _READS or not reads_through(self._bucket):
            return False
        if self.is_short:
            return True
        verdict = self._verdict(self._action, self._key)
        return verdict is Verdict.ALLOW or (verdict is not Verdict.DENY and self._may_list())

    # -- what decides -----------------------------------------------------------------------------

    def _may_list(self) -> bool:
        """Whether the caller may know which keys there are."""
        said, self._extra = self._extra, {"s3:prefix": [self._key]}
        try:
            return self.may("ListBucket", READ)
        finally:
            self._extra = said

    def _is_kept(self, action: str, key: str) -> bool:
        """Whether the other action of deletions is denied, of an object without versions, which
        either of them deletes."""
        if action == "DeleteObject":
            return not state_of(self._bucket) and self._denies("DeleteObjectVersion", key)
        if action != "DeleteObjectVersion":
            return False
        said = (self._extra or {}).get("s3:versionid")
        named = said[0] if said else self._request.query.get("versionId")
        return named == NULL and self._denies("DeleteObject", key)

    def _denies(self, action: str, key: str) -> bool:
        return self._verdict(action, key) is Verdict.DENY

    def _may_read_too(self, action: str, key: str, version: Version | None) -> bool:
        return self.may(action.removesuffix("Attributes"), READ, key, version)

    def _verdict(
        self, action: str, key: str, version: Version | None = None, facts: Facts | None = None
    ) -> Verdict:
        bucket = self._bucket
        text = policy_text(bucket)
        if not text:
            return Verdict.NONE
        # Of two buckets with one name the later one is shown by another, and its policy names it
        # as it was made.
        made = self._directory.bucket_by_id(bucket.id) or bucket
        found = compiled(text, made.name)
        if found is None:
            return Verdict.NONE if self.is_owner else Verdict.DENY
        said = RequestFacts(
            self._request,
            self.caller,
            self._request.time,
            owner=bucket.owner,
            tags=None if version is None else partial(tags_to_decide_by, version.registers),
            extra=self._extra if facts is None else facts,
        )
        resource = f"{made.name}/{key}" if key else made.name
        verdict = found.policy.decide(self.caller, action, resource, said)
        restricted = found.public and not self.is_owner and restricts_public_buckets(bucket)
        return Verdict.NONE if verdict is Verdict.ALLOW and restricted else verdict

    def _by_object_acl(self, permission: str, version: Version) -> bool:
        bucket = self._bucket
        if are_acls_off(bucket):
            return self.is_owner
        acl = acl_in(version.registers, bucket.owner)
        return acl.owner == self._request.user or self._granted(acl, permission)

    def _by_bucket_acl(self, permission: str) -> bool:
        bucket = self._bucket
        if are_acls_off(bucket) or ACL not in bucket.registers:
            return False
        return self._granted(bucket_acl(bucket), permission)

    def _granted(self, acl: Acl, permission: str) -> bool:
        publicly = not ignores_public_acls(self._bucket)
        granted = acl.grants_to(self.caller, permission, publicly=publicly)
        self._request.acl_required = self._request.acl_required or granted
        return granted

    @property
    def caller(self) -> Caller:
        """Who asks, with the name that policies know."""
        if self._caller is None:
            user_id = self._request.user
            user = self._directory.user(user_id) if user_id else None
            self._caller = Caller(user_id, "" if user is None else user.email)
        return self._caller
