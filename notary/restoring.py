"""When the own log can go on after a start.

If the notary's database was put back to an older state, or is lost, the peers' mirrors have what it
lacks, and that comes back before anything is added or signed: a log that goes on from where it was
before contradicts what it has signed, for good.

Peers have some seconds to answer. Who answers that the log has more entries is followed until they
are here, however many there are, if only it goes on; and nobody can keep the log from going on by
saying so, for what comes has to be signed by the log itself.
"""

from collections.abc import Awaitable, Callable

from dc.ports import Clock

ANSWER_SECONDS_MAX = 10.0
"""How long peers are waited for that do not answer."""
STALL_SECONDS_MAX = 60.0
"""How long those are waited for that are said to be there, when none comes."""
LOOK_SECONDS = 0.1


class OwnLog:
    """`size`: how many entries are here. `peers`: the ids of those that can be asked now."""

    def __init__(
        self,
        clock: Clock,
        size: Callable[[], Awaitable[int]],
        peers: Callable[[], set[str]],
    ) -> None:
        self._clock = clock
        self._size_of = size
        self._peers = peers
        self._shown: dict[str, int] = {}
        self._size = 0
        self._begun: float | None = None
        self._grown = 0.0
        self.is_whole = False

    def shown(self, dc_id: str, size: int) -> None:
        """A peer has answered: it has so many entries of this log; 0 when it has none, or none
        that can be used."""
        self._shown[dc_id] = size

    async def wait(self) -> None:
        """Return when the log can go on."""
        while not self.is_whole:
            size = await self._size_of()
            self.is_whole = self.is_whole or self._is_whole(size)
            if not self.is_whole:
                await self._clock.sleep(LOOK_SECONDS)

    def _is_whole(self, size: int) -> bool:
        now, peers = self._clock.monotonic(), self._peers()
        if self._begun is None:
            self._begun = self._grown = now
        if size != self._size:
            self._size, self._grown = size, now
        if any(self._shown.get(one, 0) > size for one in peers):
            return now >= self._grown + STALL_SECONDS_MAX
        return peers <= self._shown.keys() or now >= self._begun + ANSWER_SECONDS_MAX
