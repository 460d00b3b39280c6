"""How compaction works, as the configuration says it (`dc/objects/compaction.py`)."""

from typing import NamedTuple

BYTES_PER_SECOND = 64 << 20
"""Read and written: as scrub and repair."""


class CompactionSettings(NamedTuple):
    """`threshold`: the part of a container that must be garbage, 0 to 1; `bytes_per_second` read
    and written together, 0 for no compaction; `grace` and `every` in seconds."""

    threshold: float = 0.3
    bytes_per_second: int = BYTES_PER_SECOND
    grace: float = 60.0
    every: float = 3600.0
