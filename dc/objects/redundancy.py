"""Redundancy modes, and the erasure code.

A mode `k+m` cuts bytes into k data fragments and adds m parity fragments, all of one length; any k
of them are enough. `1+m` is m + 1 copies. The code is Reed-Solomon over a Cauchy matrix, by ISA-L
through pyeclib. It is systematic: the data fragments hold the bytes one after the other, so a range
can be read without decoding anything.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

K_MAX = 16
M_MAX = 8
SLOTS_MAX = K_MAX + M_MAX
LIBRARY_HEADER_BYTES = 80
"""What pyeclib puts in front of each fragment, and needs again to decode."""


class Mode(NamedTuple):
    """How many data and parity fragments."""

    k: int
    m: int

    @property
    def slots(self) -> int:
        return self.k + self.m

    @property
    def slots_min(self) -> int:
        """The fewest fragments that a write must have made durable: one to spare, where the mode
        has more than one to spare when all is well."""
        return self.k + (1 if self.m > 1 else 0)

    def __str__(self) -> str:
        return f"{self.k}+{self.m}"


def parse_mode(text: str) -> Mode:
    """ValueError for what is no mode."""
    k, plus, m = text.partition("+")
    good = plus and all(part.isascii() and part.isdigit() and len(part) < 3 for part in (k, m))
    if good and 1 <= int(k) <= K_MAX and 0 <= int(m) <= M_MAX and (int(m) or int(k) == 1):
        return Mode(int(k), int(m))
    raise ValueError(
        f"{text[:20]!r} is no redundancy mode: data+parity, as 4+2, with 1 to {K_MAX} and 1 to "
        f"{M_MAX}; or 1+0"
    )


class _Single:
    """1+0, which the library does not know: one fragment, laid out like the others."""

    def encode(self, data: bytes) -> list[bytes]:
        return [bytes(LIBRARY_HEADER_BYTES) + data]

    def reconstruct(self, fragments: Sequence[bytes], slots: Sequence[int]) -> list[bytes]:
        return [fragments[0] for _ in slots]


class Coder:
    """Encodes and decodes stripes of one mode. The library is loaded with the first one."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self._driver = self._library(mode) if mode.m else _Single()

    def _library(self, mode: Mode) -> Any:
        from pyeclib.ec_iface import ECDriver

        return ECDriver(k=mode.k, m=mode.m, ec_type="isa_l_rs_cauchy")

    def encode(self, data: bytes) -> list[bytes]:
        """k + m fragments of `fragment_bytes(len(data))`."""
        fragments: list[bytes] = self._driver.encode(data)
        return fragments

    def decode(self, fragments: Mapping[int, bytes], length: int) -> bytes:
        """The `length` bytes, of any k fragments by slot. Not by the library's way, which copies
        all of them once more."""
        there = list(fragments.values())
        data = [
            memoryview(fragments.get(slot) or self.rebuild(there, slot))[LIBRARY_HEADER_BYTES:]
            for slot in range(self.mode.k)
        ]
        return b"".join(data)[:length]

    def rebuild(self, fragments: Sequence[bytes], slot: int) -> bytes:
        """One fragment anew, of any k others."""
        found: bytes = self._driver.reconstruct(list(fragments), [slot])[0]
        return found

    def fragment_bytes(self, length: int) -> int:
        """The size of each fragment of `length` bytes."""
        return LIBRARY_HEADER_BYTES + -(-length // self.mode.k)
