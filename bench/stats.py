"""Figures from samples."""

import math
from collections.abc import Sequence


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` of all samples do not exceed (nearest rank)."""
    if not samples:
        raise ValueError("no samples")
    if not 0 < percent <= 100:
        raise ValueError(f"{percent} is not a percentage above 0")
    ordered = sorted(samples)
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]
