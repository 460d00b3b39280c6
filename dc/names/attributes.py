"""Attributes of versions and buckets: registers that are joined name by name."""

from dc.names.model import Registers

REGISTERS_MAX = 32
"""Of one item: as many as a record may have that travels (`replicator/limits.py`)."""
REGISTER_CHARACTERS_MAX = 256 << 10
"""Likewise. A thousand lifecycle rules fit; all that a bucket can have fit into one record."""


def join_registers(one: Registers, other: Registers) -> Registers:
    """Of each name, the later one; of too many names those set last, so that in whatever order
    they are joined, the same are left."""
    result = dict(one)
    for name, register in other.items():
        known = result.get(name)
        if known is None or (register.stamp, register.value) > (known.stamp, known.value):
            result[name] = register
    if len(result) > REGISTERS_MAX:
        latest = sorted(result, key=lambda name: (result[name].stamp, name))[-REGISTERS_MAX:]
        result = {name: result[name] for name in latest}
    return result
