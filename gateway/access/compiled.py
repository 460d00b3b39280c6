"""The policy of a bucket as it stands in the bucket's register, compiled once and remembered."""

from functools import lru_cache
from typing import NamedTuple

from dc.names.model import Bucket
from gateway.access.policy import Policy, compile_policy
from gateway.access.public import is_public
from gateway.errors import S3Error

POLICY = "policy"
"""The name of the register."""
_REMEMBERED = 1024


class Compiled(NamedTuple):
    """A policy, and whether it is public."""

    policy: Policy
    public: bool


def policy_text(bucket: Bucket) -> str:
    """The document as it was put, "" when there is none."""
    register = bucket.registers.get(POLICY)
    return "" if register is None else register.value


@lru_cache(maxsize=_REMEMBERED)
def compiled(text: str, name: str) -> Compiled | None:
    """The policy in a register of the bucket that was made with this name; None when it cannot be
    understood, which no gateway stores: then it allows nobody anything."""
    try:
        policy = compile_policy(text, name)
    except S3Error:
        return None
    return Compiled(policy, is_public(policy))
