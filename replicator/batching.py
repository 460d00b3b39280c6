"""How large a batch of the feed may be, by what the line to a peer carries between two breaks.

A batch counts only when all of it has come: what of it came before a break is sent again. So on a
line that breaks before it has carried a batch the same would go again and again, for ever. What was
carried is known to the byte: by acknowledgements, and, when the peer opens the next stream, by its
cursor. After a stream that lost something the next one begins with batches of an eighth of what
that one carried; if it carried nothing, with a quarter of what was tried. While all goes well they
grow again, to an eighth of what the stream has carried, and where little is written, to twice the
size for each half minute without a break: a process that was stopped looks like a line that broke.
So what is sent twice is a fraction, and on a good line batches are as large as ever: what breaks
after a hundred megabytes shrinks nothing.

Bodies that are larger than a batch is now do not travel in it: the peer fetches them, and goes on
at the byte where it was cut. A single record is as large as it is.
"""

from collections import deque

from replicator.limits import (
    BATCH_BYTES,
    BATCH_BYTES_MIN,
    BATCH_DOUBLED_SECONDS,
    BATCH_SHARE,
    BATCHES_REMEMBERED,
)


class Batches:
    """Of one stream to a peer, from position `after` on, opened at `began` (seconds of a monotonic
    clock). `first`: bytes of a batch at first."""

    def __init__(self, after: int = 0, first: int = BATCH_BYTES, began: float = 0.0) -> None:
        self._after = after
        self._first = first
        self._began = began
        self._sent: deque[tuple[int, int]] = deque(maxlen=BATCHES_REMEMBERED)
        """Where batches end that are not known to be there, and the bytes sent up to there."""
        self._total = 0
        self._carried = 0

    def limit(self, now: float) -> int:
        """Bytes that the next batch may have."""
        times = int((now - self._began) / BATCH_DOUBLED_SECONDS)
        doubled = self._first << min(times, BATCH_BYTES.bit_length())
        return min(BATCH_BYTES, max(doubled, self._carried // BATCH_SHARE))

    def sent(self, last: int, size: int) -> None:
        """A batch of so many bytes that ends at position `last` goes on its way."""
        self._total += size
        self._sent.append((last, self._total))

    def taken(self, position: int) -> None:
        """The peer has all of the feed up to a position."""
        while self._sent and self._sent[0][0] <= position:
            self._carried = self._sent.popleft()[1]

    def next(self, after: int, now: float) -> "Batches":
        """Those of the stream that follows this one, at a position where the peer says it is."""
        is_anew = after < self._after
        if not is_anew:
            self.taken(after)
        limit = self.limit(now)
        if is_anew or self._total - self._carried < BATCH_BYTES_MIN:
            # It reads what it had, which tells nothing of the line; or nothing is lost, or what
            # any line carries.
            return Batches(after, limit, now)
        first = self._carried // BATCH_SHARE if self._carried else limit // 4
        return Batches(after, min(limit, max(first, BATCH_BYTES_MIN)), now)
