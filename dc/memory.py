"""How the C library keeps memory that was freed.

Bodies are read, coded and sent in buffers of some hundred KiB. The C library would take each from
the kernel and give it back, and the kernel clears every page of it anew: coding one MiB as 4+2 then
takes 1.26 ms instead of 0.07 (`docs/performance.md`).
"""

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""From malloc.h of the GNU C library."""
_KEPT_BYTES = 8 << 20
"""At the end of each heap, of which there are up to eight for a core; more is given back."""
_LARGE_BYTES = 4 << 20
"""What is as large as this is given back at once."""


def keep_freed() -> None:
    """For this process, from now on. Without the GNU C library nothing changes."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
