"""How compaction (`dc/objects/compaction.py`), scrub and repair (`dc/objects/mending.py`) work, as
the configuration says it."""

from typing import NamedTuple

BYTES_PER_SECOND = 64 << 20
"""Read and written, by each of them: an eighth of what a slow SSD gives."""


class CompactionSettings(NamedTuple):
    """`threshold`: the part of a container that must be garbage, 0 to 1; `bytes_per_second` read
    and written together, 0 for no compaction; `grace` and `every` in seconds."""

    threshold: float = 0.3
    bytes_per_second: int = BYTES_PER_SECOND
    grace: float = 60.0
    every: float = 3600.0


class ScrubSettings(NamedTuple):
    """`scrub_rate`: bytes read a second, 0 for no scrubbing; `repair_rate`: those read and written
    to mend; `every`: seconds from the beginning of a round of scrubbing to that of the next."""

    scrub_rate: int = BYTES_PER_SECOND
    repair_rate: int = BYTES_PER_SECOND
    every: float = 24 * 3600.0


UNBOUNDED = ScrubSettings(1 << 40, 1 << 40)
"""When nobody else needs the disks."""
