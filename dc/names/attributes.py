"""Attributes of versions and buckets: registers that are joined name by name."""

from dc.names.model import Registers


def join_registers(one: Registers, other: Registers) -> Registers:
    """Of each name, the later one."""
    result = dict(one)
    for name, register in other.items():
        known = result.get(name)
        if known is None or (register.stamp, register.value) > (known.stamp, known.value):
            result[name] = register
    return result
