"""Notarized buckets: the setting, what their versions carry, and what gateways ask of the notary.

Both are registers (`docs/convergence.md`), so they travel as all do: of a bucket whether its new
versions are notarized; of a version that it is, from its birth on. `docs/notary.md`.
"""

import re
from collections.abc import Mapping
from typing import Protocol

from dc.names.model import Bucket, Register, Registers
from dc.stamps import Stamp

NOTARY = "notary"
"""The name of both registers."""
ON, OFF = "on", "off"
TO_BE_READ = "-"
"""A version's, when its SHA-256 is to be found by reading it; else it is that, in hex."""
_FOUND = re.compile("[0-9a-f]{64}|-")
PROVEN_MAX = 20_000
"""Stamps that are kept in memory."""


def notarizes(bucket: Bucket) -> bool:
    """Whether new versions in a bucket are notarized."""
    return NOTARY in bucket.registers and bucket.registers[NOTARY].value == ON


def is_notarized(registers: Mapping[str, Register] | None) -> bool:
    """Whether a version with these has an entry in the log of its DC, or will have."""
    return registers is not None and NOTARY in registers and bool(registers[NOTARY].value)


def is_found(value: str) -> bool:
    """Whether that can be a version's register."""
    return _FOUND.fullmatch(value) is not None


def born(bucket: Bucket, stamp: Stamp, sha256: str = "") -> Registers:
    """What a version that is written with this stamp has of the notary. `sha256`: of its bytes as
    clients read them, in hex, if it is known."""
    return {NOTARY: Register(stamp, sha256 or TO_BE_READ)} if notarizes(bucket) else {}


class Proven:
    """The stamps of versions that were found to be proven last: once one is, it stays so."""

    def __init__(self) -> None:
        self._stamps: dict[Stamp, None] = {}

    def __contains__(self, written: Stamp) -> bool:
        return written in self._stamps

    def add(self, written: Stamp) -> None:
        if len(self._stamps) >= PROVEN_MAX:
            del self._stamps[next(iter(self._stamps))]
        self._stamps[written] = None


class Proofs(Protocol):
    """The notary as gateways ask it. `dc/remote/` gives it to those on other machines."""

    async def is_proven(self, written: Stamp) -> bool:
        """Whether a published checkpoint covers the entry of a version, by its stamp."""
        ...

    async def certificate(self, written: Stamp) -> bytes | None:
        """The certificate of a version; None while none covers it."""
        ...
