"""Any k fragments give what was coded."""

from itertools import combinations
from random import Random

import pytest

from dc.objects.redundancy import Coder, parse_mode

LENGTHS = (1, 3, 4, 5, 79, 4096, 65_537, 262_144)


@pytest.mark.parametrize("mode", ["1+0", "1+2", "2+1", "4+2", "8+3"])
def test_any_fragments_that_are_enough_give_the_bytes(mode: str) -> None:
    coder = Coder(parse_mode(mode))
    slots = range(coder.mode.slots)
    for length in LENGTHS:
        data = Random(length).randbytes(length)
        fragments = coder.encode(data)
        assert {len(one) for one in fragments} == {coder.fragment_bytes(length)}
        for there in combinations(slots, coder.mode.k):
            found = {slot: fragments[slot] for slot in reversed(there)}
            assert coder.decode(found, length) == data, (length, there)


def test_any_fragment_is_made_anew() -> None:
    coder = Coder(parse_mode("4+2"))
    fragments = coder.encode(Random(1).randbytes(100_001))
    for slot in range(6):
        others = [one for number, one in enumerate(fragments) if number != slot]
        for kept in combinations(others, 4):
            assert coder.rebuild(kept, slot) == fragments[slot]
