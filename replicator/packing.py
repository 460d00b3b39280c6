"""Batches as zstd bundles, where that pays.

Records are full of names, dates and hex digits, and shrink to a third; bodies shrink or do not.
Each batch is tried, unless the last ones did not shrink: then some are sent as they are before the
next is tried, twice as many each time. So a feed of photos costs next to nothing, and one of logs
goes on at a fraction of its size. A consumer that can unpack says so when it asks for the feed.

What comes is unpacked to a frame of bounded size: the size stands at the beginning of the bundle,
and is looked at before a byte is unpacked.
"""

import zstandard

from replicator.errors import WireError
from replicator.limits import FRAME_BYTES_MAX, PACK_BYTES_MIN, PACK_PAUSE_MAX, PACK_WORTH

_LEVEL = 1
"""Some 300 MB/s of a core."""


class Packer:
    """Of one stream."""

    def __init__(self) -> None:
        self._compress = zstandard.ZstdCompressor(level=_LEVEL).compress
        self._pause = self._left = 0

    def pack(self, frame: bytes) -> bytes | None:
        """A smaller form of the bytes; None when they are to be sent as they are."""
        if len(frame) < PACK_BYTES_MIN:
            return None
        if self._left:
            self._left -= 1
            return None
        packed = self._compress(frame)
        if len(packed) > len(frame) * PACK_WORTH:
            self._pause = self._left = min(max(1, self._pause * 2), PACK_PAUSE_MAX)
            return None
        self._pause = 0
        return packed


def unpack(packed: bytes) -> bytes:
    """What `pack` was given. WireError."""
    try:
        about = zstandard.get_frame_parameters(packed)
        if not 0 < about.content_size <= FRAME_BYTES_MAX:
            raise WireError(f"a bundle has 1 to {FRAME_BYTES_MAX} bytes, not {about.content_size}")
        unpacker = zstandard.ZstdDecompressor(max_window_size=FRAME_BYTES_MAX)
        return unpacker.decompress(packed, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise WireError(f"not a bundle: {error}") from None
