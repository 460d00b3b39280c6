"""The public access block of a bucket: four switches, off unless they are set, and all on where it
cannot be read.

Source: "Blocking public access to your Amazon S3 storage" in the S3 User Guide.
"""

from dc.names.model import Bucket
from gateway.errors import S3Error
from gateway.settings import setting


def _is_set(bucket: Bucket, switch: str) -> bool:
    try:
        found = setting(bucket, "public-access-block")
    except S3Error:
        return True
    return found is not None and bool(getattr(found, switch))


def blocks_public_acls(bucket: Bucket) -> bool:
    """Whether lists that grant something to the public are refused."""
    return _is_set(bucket, "BlockPublicAcls")


def ignores_public_acls(bucket: Bucket) -> bool:
    """Whether grants to the public do not count."""
    return _is_set(bucket, "IgnorePublicAcls")


def blocks_public_policies(bucket: Bucket) -> bool:
    """Whether public policies are refused."""
    return _is_set(bucket, "BlockPublicPolicy")


def restricts_public_buckets(bucket: Bucket) -> bool:
    """Whether a policy that is public allows nothing to others than the bucket's owner."""
    return _is_set(bucket, "RestrictPublicBuckets")
