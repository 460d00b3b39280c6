"""Whether the logs of a bucket may be written into another one."""

from dc.names.model import Bucket


def may_deliver(bucket: Bucket, target: Bucket) -> bool:
    """Both must be one owner's."""
    return bucket.owner == target.owner
