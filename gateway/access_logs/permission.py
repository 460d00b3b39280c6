"""Whether the logs of a bucket may be written into another one.

They may where both have one owner, as long as the other one's policy does not deny it; else that
policy must allow it. It sees the service that writes them, for which bucket and for whom.
"""

from dc.names.api import Directory
from dc.names.model import Bucket
from gateway.access.compiled import compiled, policy_text
from gateway.access.policy import Verdict
from gateway.access.principals import Caller
from gateway.access.statements import ARN

_SERVICE = Caller("", service="logging.s3.amazonaws.com")


class _Facts:
    """What is said to policies of a log that is to be written."""

    def __init__(self, bucket: Bucket) -> None:
        self._known = {
            "aws:sourcearn": [f"{ARN}{bucket.name}"],
            "aws:sourceaccount": [bucket.owner],
            "aws:principalservicename": [_SERVICE.service],
            "aws:principalisawsservice": ["true"],
            "aws:securetransport": ["true"],
        }

    def get(self, key: str, /) -> list[str] | None:
        return self._known.get(key)


def may_deliver(directory: Directory, bucket: Bucket, target: Bucket, key: str) -> bool:
    """Whether a log of `bucket` may become the object `key` of `target`."""
    same, text = bucket.owner == target.owner, policy_text(target)
    if not text:
        return same
    made = (directory.bucket_by_id(target.id) or target).name
    found = compiled(text, made)
    if found is None:
        return same
    verdict = found.policy.decide(_SERVICE, "PutObject", f"{made}/{key}", _Facts(bucket))
    return verdict is Verdict.ALLOW or (same and verdict is Verdict.NONE)
