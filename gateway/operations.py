"""The operations of this gateway: a row for each, and how a request finds and runs its own.

A row says who may ask for the operation (the action that policies name, the permission that ACLs
give), and what runs it. An operation of the model that has no row is refused with NotImplemented.

A handler gets the structure that the model makes of the request, and gives the operation's output
(`gateway.model.writer.output`) or a whole `Reply`. A *hot* one reads what it needs of the request
by itself: through the model that would take several times as long.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from gateway import bucket_settings as settings
from gateway import (
    buckets,
    copy,
    listing,
    multipart,
    object_lock,
    parts,
    read,
    tagging,
    upload_listing,
    version_listing,
)
from gateway.access import handlers as access
from gateway.access.acl import READ, READ_ACP, WRITE, WRITE_ACP
from gateway.access_logs import configuration as logging
from gateway.bucket_settings import delete, get, put
from gateway.context import Context
from gateway.delete import delete_object, delete_objects
from gateway.errors import S3Error
from gateway.lifecycle import configuration as lifecycle
from gateway.model import matching
from gateway.model.matching import BUCKET, COPY_SOURCE, OBJECT, ROOT, find_name, not_allowed
from gateway.model.reader import reader
from gateway.model.writer import writer
from gateway.notary import QUERY
from gateway.notifications import configuration as notifications
from gateway.object_attributes import get_attributes
from gateway.put import put_object
from gateway.replication_rules import put_replication
from gateway.reply import Reply
from gateway.request import Request
from gateway.setting_checks import check_encryption
from gateway.web_settings import check_cors, check_website

Handler = Callable[..., Awaitable[Any]]
"""`(context, request, asked)`; of a hot operation `(context, request)`."""


class Row(NamedTuple):
    """An operation that this gateway has."""

    name: str
    handler: Handler
    action: str
    """For policies, without the prefix `s3:`."""
    scope: str
    """What the action is done to: ROOT (an account), BUCKET or OBJECT."""
    permission: str = ""
    """Of an ACL: READ, READ_ACP and WRITE_ACP of what the scope says, WRITE always of the bucket;
    "" when no ACL can give it, and only the owner and policies can."""
    hot: bool = False
    versioned: bool = False
    """Policies know another action for it when the request names a version."""

    @property
    def version_action(self) -> str:
        """The action when the request names a version."""
        return self.action.replace("Object", "ObjectVersion", 1) if self.versioned else self.action


# fmt: off
ROWS = (
    Row("ListBuckets", buckets.list_buckets, "ListAllMyBuckets", ROOT),
    # -- buckets
    Row("CreateBucket", buckets.create_bucket, "CreateBucket", BUCKET),
    Row("HeadBucket", buckets.head_bucket, "ListBucket", BUCKET, READ),
    Row("DeleteBucket", buckets.delete_bucket, "DeleteBucket", BUCKET),
    Row("GetBucketLocation", buckets.get_location, "GetBucketLocation", BUCKET),
    Row("GetBucketAcl", access.get_bucket_acl, "GetBucketAcl", BUCKET, READ_ACP),
    Row("PutBucketAcl", access.put_bucket_acl, "PutBucketAcl", BUCKET, WRITE_ACP),
    # -- settings of buckets
    Row("GetBucketVersioning", settings.get_versioning, "GetBucketVersioning", BUCKET),
    Row("PutBucketVersioning", settings.put_versioning, "PutBucketVersioning", BUCKET),
    Row("GetObjectLockConfiguration",
        get("object-lock", "GetObjectLockConfiguration", "ObjectLockConfigurationNotFoundError",
            "ObjectLockConfiguration"), "GetBucketObjectLockConfiguration", BUCKET),
    Row("PutObjectLockConfiguration", settings.put_object_lock,
        "PutBucketObjectLockConfiguration", BUCKET),
    Row("GetBucketEncryption",
        get("encryption", "GetBucketEncryption", "ServerSideEncryptionConfigurationNotFoundError",
            "ServerSideEncryptionConfiguration"), "GetEncryptionConfiguration", BUCKET),
    Row("PutBucketEncryption",
        put("encryption", "ServerSideEncryptionConfiguration", check_encryption),
        "PutEncryptionConfiguration", BUCKET),
    Row("DeleteBucketEncryption", delete("encryption"), "PutEncryptionConfiguration", BUCKET),
    Row("GetBucketOwnershipControls",
        get("ownership", "GetBucketOwnershipControls", "OwnershipControlsNotFoundError",
            "OwnershipControls"), "GetBucketOwnershipControls", BUCKET),
    Row("PutBucketOwnershipControls", access.put_ownership,
        "PutBucketOwnershipControls", BUCKET),
    Row("DeleteBucketOwnershipControls", delete("ownership"),
        "PutBucketOwnershipControls", BUCKET),
    Row("GetPublicAccessBlock",
        get("public-access-block", "GetPublicAccessBlock", "NoSuchPublicAccessBlockConfiguration",
            "PublicAccessBlockConfiguration"), "GetBucketPublicAccessBlock", BUCKET),
    Row("PutPublicAccessBlock", settings.put_public_access_block,
        "PutBucketPublicAccessBlock", BUCKET),
    Row("DeletePublicAccessBlock", delete("public-access-block"),
        "PutBucketPublicAccessBlock", BUCKET),
    Row("GetBucketCors", get("cors", "GetBucketCors", "NoSuchCORSConfiguration"),
        "GetBucketCORS", BUCKET),
    Row("PutBucketCors", put("cors", "CORSConfiguration", check_cors), "PutBucketCORS", BUCKET),
    Row("DeleteBucketCors", delete("cors"), "PutBucketCORS", BUCKET),
    Row("GetBucketWebsite", get("website", "GetBucketWebsite", "NoSuchWebsiteConfiguration"),
        "GetBucketWebsite", BUCKET),
    Row("PutBucketWebsite", put("website", "WebsiteConfiguration", check_website),
        "PutBucketWebsite", BUCKET),
    Row("DeleteBucketWebsite", delete("website"), "DeleteBucketWebsite", BUCKET),
    Row("GetBucketLogging", logging.get_logging, "GetBucketLogging", BUCKET),
    Row("PutBucketLogging", logging.put_logging, "PutBucketLogging", BUCKET),
    Row("GetBucketNotificationConfiguration", notifications.get_notification,
        "GetBucketNotification", BUCKET),
    Row("PutBucketNotificationConfiguration", notifications.put_notification,
        "PutBucketNotification", BUCKET),
    Row("GetBucketAccelerateConfiguration", settings.get_accelerate,
        "GetAccelerateConfiguration", BUCKET),
    Row("PutBucketAccelerateConfiguration",
        put("accelerate", "AccelerateConfiguration", settings.check_accelerate),
        "PutAccelerateConfiguration", BUCKET),
    Row("GetBucketRequestPayment", settings.get_request_payment,
        "GetBucketRequestPayment", BUCKET),
    Row("PutBucketRequestPayment", settings.put_request_payment,
        "PutBucketRequestPayment", BUCKET),
    Row("GetBucketLifecycleConfiguration", lifecycle.get_lifecycle,
        "GetLifecycleConfiguration", BUCKET),
    Row("PutBucketLifecycleConfiguration", lifecycle.put_lifecycle,
        "PutLifecycleConfiguration", BUCKET),
    Row("DeleteBucketLifecycle", lifecycle.delete_lifecycle, "PutLifecycleConfiguration", BUCKET),
    Row("GetBucketPolicy", access.get_policy, "GetBucketPolicy", BUCKET),
    Row("PutBucketPolicy", access.put_policy, "PutBucketPolicy", BUCKET),
    Row("DeleteBucketPolicy", access.delete_policy, "DeleteBucketPolicy", BUCKET),
    Row("GetBucketPolicyStatus", access.get_policy_status, "GetBucketPolicyStatus", BUCKET),
    Row("GetBucketReplication",
        get("replication", "GetBucketReplication", "ReplicationConfigurationNotFoundError",
            "ReplicationConfiguration"),
        "GetReplicationConfiguration", BUCKET),
    Row("PutBucketReplication", put_replication, "PutReplicationConfiguration", BUCKET),
    Row("DeleteBucketReplication", delete("replication"), "PutReplicationConfiguration", BUCKET),
    Row("GetBucketTagging", tagging.get_bucket_tagging, "GetBucketTagging", BUCKET),
    Row("PutBucketTagging", tagging.put_bucket_tagging, "PutBucketTagging", BUCKET),
    Row("DeleteBucketTagging", tagging.delete_bucket_tagging, "PutBucketTagging", BUCKET),
    # -- listings
    Row("ListObjects", listing.list_objects, "ListBucket", BUCKET, READ, hot=True),
    Row("ListObjectsV2", listing.list_objects, "ListBucket", BUCKET, READ, hot=True),
    Row(
        "ListObjectVersions",
        version_listing.list_versions,
        "ListBucketVersions",
        BUCKET,
        READ,
        hot=True,
    ),
    # -- objects
    Row("GetObject", read.get_object, "GetObject", OBJECT, READ, hot=True, versioned=True),
    Row("HeadObject", read.head_object, "GetObject", OBJECT, READ, hot=True, versioned=True),
    Row("GetObjectAttributes", get_attributes, "GetObjectAttributes", OBJECT, READ,
        versioned=True),
    Row("PutObject", put_object, "PutObject", OBJECT, WRITE, hot=True),
    Row("CopyObject", copy.copy_object, "PutObject", OBJECT, WRITE, hot=True),
    Row("DeleteObject", delete_object, "DeleteObject", OBJECT, WRITE, hot=True, versioned=True),
    Row("DeleteObjects", delete_objects, "DeleteObject", BUCKET, WRITE, hot=True),
    Row("GetObjectAcl", access.get_object_acl, "GetObjectAcl", OBJECT, READ_ACP, versioned=True),
    Row("PutObjectAcl", access.put_object_acl, "PutObjectAcl", OBJECT, WRITE_ACP, versioned=True),
    Row("GetObjectTagging", tagging.get_object_tagging, "GetObjectTagging", OBJECT,
        versioned=True),
    Row("PutObjectTagging", tagging.put_object_tagging, "PutObjectTagging", OBJECT,
        versioned=True),
    Row("DeleteObjectTagging", tagging.delete_object_tagging, "DeleteObjectTagging", OBJECT,
        versioned=True),
    Row("GetObjectRetention", object_lock.get_retention, "GetObjectRetention", OBJECT),
    Row("PutObjectRetention", object_lock.put_retention, "PutObjectRetention", OBJECT),
    Row("GetObjectLegalHold", object_lock.get_hold, "GetObjectLegalHold", OBJECT),
    Row("PutObjectLegalHold", object_lock.put_hold, "PutObjectLegalHold", OBJECT),
    # -- multipart uploads
    Row("CreateMultipartUpload", multipart.create_upload, "PutObject", OBJECT, WRITE, hot=True),
    Row("UploadPart", parts.put_part, "PutObject", OBJECT, WRITE, hot=True),
    Row("UploadPartCopy", parts.put_part, "PutObject", OBJECT, WRITE, hot=True),
    Row("CompleteMultipartUpload", multipart.complete_upload, "PutObject", OBJECT, WRITE,
        hot=True),
    Row("AbortMultipartUpload", multipart.abort_upload, "AbortMultipartUpload", OBJECT, hot=True),
    Row("ListParts", parts.list_parts, "ListMultipartUploadParts", OBJECT, hot=True),
    Row("ListMultipartUploads", upload_listing.list_uploads, "ListBucketMultipartUploads",
        BUCKET, READ, hot=True),
)
# fmt: on
OPERATIONS = {row.name: row for row in ROWS}
WHY_NOT = {
    "Abac": "access by attributes is Amazon's IAM",
    "Analytics": "there are no reports",
    "CreateSession": "of directory buckets",
    "IntelligentTiering": "there are no tiers",
    "Metadata": "there are no tables",
    "Inventory": "there are no reports",
    "Annotation": "objects have no annotations",
    "Metrics": "there are no reports",
    "RenameObject": "of directory buckets",
    "RestoreObject": "there is no archive to restore from",
    "SelectObjectContent": "objects are not queried",
    "Torrent": "there is no BitTorrent",
    "UpdateObjectEncryption": "there is no key management service",
}
"""Why operations with such names have no row and will have none."""

CREATE_BUCKET = OPERATIONS["CreateBucket"]
"""The one that is about a bucket which is not there yet."""

GET_OBJECT = OPERATIONS["GetObject"]
HEAD_OBJECT = OPERATIONS["HeadObject"]
PUT_OBJECT = OPERATIONS["PutObject"]
POST_OBJECT = PUT_OBJECT._replace(name="PostObject")
"""An upload by a form: not in the model, and a PutObject as soon as its fields were read."""

_OBJECT = {
    "GET": GET_OBJECT,
    "HEAD": HEAD_OBJECT,
    "PUT": PUT_OBJECT,
    "DELETE": OPERATIONS["DeleteObject"],
}
"""What is decided without a look at any table: objects, without a query."""


def find_row(request: Request) -> Row:
    """InvalidRequest, MethodNotAllowed, NotImplemented."""
    target, method = request.target, request.method
    if target.key:
        if not target.query:
            row = _OBJECT.get(method)
            if row is not None and (row is not PUT_OBJECT or COPY_SOURCE not in request.headers):
                return row
        elif QUERY in target.query and method not in ("GET", "HEAD"):
            # Else it would mean, for instance, to overwrite the object with its certificate.
            raise not_allowed(OBJECT, method, QUERY)
        kind = OBJECT
    elif target.bucket:
        kind = BUCKET
        if method == "POST" and not target.query:
            return POST_OBJECT
    else:
        kind = ROOT
    name = find_name(kind, method, target.query, request.headers)
    row = OPERATIONS.get(name)
    if row is None:
        extra = {"Method": method, "ResourceType": matching.subresource_of(name).upper() or kind}
        reason = why_not(name)
        message = f"{name} is not implemented{f': {reason}' if reason else ''}."
        raise S3Error("NotImplemented", message, extra=extra)
    return row


def why_not(name: str) -> str:
    """Why there is no such operation, "" when there may be one later."""
    return next((reason for part, reason in WHY_NOT.items() if part in name), "")


async def run(context: Context, request: Request, row: Row) -> Reply:
    """The answer of an authorised request, of an operation that is not hot."""
    asked = await reader(row.name).read(context, request)
    found = await row.handler(context, request, asked)
    return found if isinstance(found, Reply) else writer(row.name)(found)
