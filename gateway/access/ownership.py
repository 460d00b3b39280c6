"""Who owns the objects in a bucket, and so whether access control lists count in it.

A bucket without the setting is as S3's were until April 2023: an object is its writer's
(ObjectWriter), and lists count. Source: "Controlling ownership of objects and disabling ACLs" in
the S3 User Guide.
"""

from dc.names.model import Bucket
from gateway.errors import S3Error
from gateway.settings import setting

BUCKET_OWNER_ENFORCED = "BucketOwnerEnforced"
"""All belongs to the bucket's owner, and lists do not count."""
BUCKET_OWNER_PREFERRED = "BucketOwnerPreferred"
"""What is written with this list, which its name says, belongs to the bucket's owner:"""
BUCKET_OWNER_FULL_CONTROL = "bucket-owner-full-control"
OBJECT_WRITER = "ObjectWriter"


def ownership_of(bucket: Bucket) -> str:
    """Where it cannot be read, no list counts."""
    try:
        found = setting(bucket, "ownership")
    except S3Error:
        return BUCKET_OWNER_ENFORCED
    return OBJECT_WRITER if found is None else found.Rules[0].ObjectOwnership


def are_acls_off(bucket: Bucket) -> bool:
    """Whether lists do not count in the bucket."""
    return "ownership" in bucket.registers and ownership_of(bucket) == BUCKET_OWNER_ENFORCED
