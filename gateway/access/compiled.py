"""The policy of a bucket as it stands in the bucket's register, compiled once and remembered.

How many are remembered goes by how long they are: of small ones thousands, which is all there are
in use; of such as are made to be large only some, or they would fill the memory.
"""

from collections import OrderedDict
from typing import NamedTuple

from dc.names.model import Bucket
from gateway.access.policy import Policy, compile_policy
from gateway.access.public import is_public
from gateway.errors import S3Error
from gateway.limits import POLICIES_BYTES_REMEMBERED

POLICY = "policy"
"""The name of the register."""


class Compiled(NamedTuple):
    """A policy, and whether it is public."""

    policy: Policy
    public: bool


class _Memory:
    """Policies by their document and the name of their bucket, those used last at the end."""

    __slots__ = ("_kept", "_size")

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Compiled | None] = OrderedDict()
        self._size = 0

    def get(self, text: str, name: str) -> Compiled | None:
        slot = (text, name)
        if slot in self._kept:
            self._kept.move_to_end(slot)
            return self._kept[slot]
        made = _compile(text, name)
        self._kept[slot] = made
        self._size += len(text)
        while self._size > POLICIES_BYTES_REMEMBERED:
            (old, _), _ = self._kept.popitem(last=False)
            self._size -= len(old)
        return made


def policy_text(bucket: Bucket) -> str:
    """The document as it was put, "" when there is none."""
    register = bucket.registers.get(POLICY)
    return "" if register is None else register.value


def compiled(text: str, name: str) -> Compiled | None:
    """The policy in a register of the bucket that was made with this name; None when it cannot be
    understood, which no gateway stores: then it allows nobody anything."""
    return _memory.get(text, name)


_memory = _Memory()


def _compile(text: str, name: str) -> Compiled | None:
    try:
        policy = compile_policy(text, name)
    except S3Error:
        return None
    return Compiled(policy, is_public(policy))
