"""Memory that is freed is kept, so that using it again costs no page faults."""

import subprocess
import sys

CODE = """
import resource
from dc.memory import keep_freed
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    for _ in range(100):
        kept = [bytearray(1 << 20) for _ in range(3)]
if {keep}: keep_freed()
use()
before = faults()
use()
print(faults() - before)
"""


def _faults(keep: bool) -> int:
    command = [sys.executable, "-c", CODE.format(keep=keep)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_freed_memory_costs_no_page_faults() -> None:
    assert _faults(keep=True) < 2_000 < 20_000 < _faults(keep=False)
