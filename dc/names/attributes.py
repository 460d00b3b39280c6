"""Attributes of versions and buckets: registers that are joined name by name."""

from dc.names.model import Register, Registers
from dc.notary import NOTARY, TO_BE_READ, is_found
from dc.stamps import Stamp

REGISTERS_MAX = 32
"""Of one item: as many as a record may have that travels (`replicator/limits.py`)."""
REGISTER_CHARACTERS_MAX = 256 << 10
"""Likewise. A thousand lifecycle rules fit; all that a bucket can have fit into one record."""


def join_registers(one: Registers, other: Registers) -> Registers:
    """Of each name, the later one; of too many names those set last, so that in whatever order
    they are joined, the same are left."""
    return _latest(_joined(one, other), REGISTERS_MAX)


def join_of_version(one: Registers, other: Registers, stamp: Stamp) -> Registers:
    """Those of a version that was written with that stamp. What it has of the notary it has from
    its birth: nothing that is set later counts, and if two say different things of its bytes,
    these are to be read, so that nobody can put another SHA-256 in place of the true one."""
    one, other = as_born(one, stamp), as_born(other, stamp)
    result = _joined(one, other)
    found = {some[NOTARY].value for some in (one, other) if NOTARY in some}
    if not found:
        return _latest(result, REGISTERS_MAX)
    del result[NOTARY]
    result = _latest(result, REGISTERS_MAX - 1)
    result[NOTARY] = Register(stamp, found.pop() if len(found) == 1 else TO_BE_READ)
    return result


def as_born(registers: Registers, stamp: Stamp) -> Registers:
    """Those of a version that was written with that stamp, without what it cannot have been born
    with of the notary."""
    born = registers.get(NOTARY)
    if born is None or (born.stamp == stamp and is_found(born.value)):
        return registers
    return {name: one for name, one in registers.items() if name != NOTARY}


def _joined(one: Registers, other: Registers) -> Registers:
    result = dict(one)
    for name, register in other.items():
        known = result.get(name)
        if known is None or (register.stamp, register.value) > (known.stamp, known.value):
            result[name] = register
    return result


def _latest(registers: Registers, most: int) -> Registers:
    if len(registers) <= most:
        return registers
    latest = sorted(registers, key=lambda name: (registers[name].stamp, name))[-most:]
    return {name: registers[name] for name in latest}
