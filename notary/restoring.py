"""When the own log can go on after a start.

If the notary's database was put back to an older state, or is lost, the peers' mirrors have what it
lacks, and that comes back before anything is added or signed: a log that goes on from where it was
before contradicts what it has signed, for good.

That it lacks something is known from a checkpoint that it has signed itself, which a peer shows: it
goes on when the entries under that are here, and not before, however long that takes. What a peer
only says is no reason to wait. If the name server knows of a larger log, no peer may be left out:
all have to answer; else they have some seconds for it. There may be entries that nobody will ever
give back. Then an operator says that they are lost (`accept`), for good.
"""

from collections.abc import Callable, Sequence
from sqlite3 import Connection

from dc.names.model import Peer
from dc.names.notary_outbox import NotaryOutbox
from dc.ports import Clock
from notary import tables
from notary.errors import NotaryRefused
from notary.note import Checkpoint, origin_of
from notary.publishing import is_witness
from notary.store import Store

ANSWER_SECONDS_MAX = 10.0
"""How long peers are waited for that do not answer, when nothing is known to be lacking."""
LOOK_SECONDS = 0.1
_FACT = "accepted loss"


class OwnLog:
    """Of one datacenter."""

    def __init__(
        self,
        store: Store,
        outbox: NotaryOutbox,
        dc_id: str,
        clock: Clock,
        peers: Callable[[], Sequence[Peer]],
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._origin = origin_of(dc_id)
        self._clock = clock
        self._peers = peers
        self._shown: dict[str, Checkpoint | None] = {}
        self._begun: float | None = None
        self.is_whole = False
        self.waits_for = ""
        """What has to come before the log goes on, in words; "" while that is not known."""

    def shown(self, dc_id: str, last: Checkpoint | None) -> None:
        """A peer has answered: it has the log as far as this, which the log has signed."""
        self._shown[dc_id] = last

    async def wait(self) -> None:
        """Return when the log can go on."""
        while not self.is_whole:
            size, accepted = await self._store.read(self._known)
            before = await self._outbox.log_size()
            if not self.is_whole:
                self.waits_for = self._lacking(size, before, accepted)
                self.is_whole = not self.waits_for and self._has_heard()
            if not self.is_whole:
                await self._clock.sleep(LOOK_SECONDS)

    async def accept(self) -> None:
        """What nobody has given back by now is lost: the log goes on without it. NotaryRefused when
        it waits for nothing."""
        if not self.waits_for:
            raise NotaryRefused("the log waits for nothing: see `farshore notary status`")
        seen = [_line(one) for one in self._shown.values() if one is not None]
        size = await self._store.act(lambda db: self._accept(db, seen))
        await self._outbox.set_log_size(size)
        self.is_whole, self.waits_for = True, ""

    def _accept(self, db: Connection, seen: list[str]) -> int:
        lines = {*tables.fact(db, _FACT).splitlines(), *seen}
        tables.set_fact(db, _FACT, "\n".join(sorted(lines)))
        return self._known(db)[0]

    def _known(self, db: Connection) -> tuple[int, list[str]]:
        """How many entries are here, and without which checkpoints the log goes on."""
        return tables.the_log(db, self._origin).size, tables.fact(db, _FACT).splitlines()

    def _lacking(self, size: int, before: int, accepted: list[str]) -> str:
        peers = [one for one in self._peers() if not one.by_files]
        for peer in peers:
            last = self._shown.get(peer.dc_id)
            if last is not None and last.size > size and _line(last) not in accepted:
                return (
                    f"{_called(peer)} shows that the log has signed {last.size} entries;"
                    f" {size} are here"
                )
        away = [_called(peer) for peer in peers if peer.dc_id not in self._shown]
        if before <= size or not away:
            return ""
        return f"the log had {before} entries, {size} are here, and no answer of {', '.join(away)}"

    def _has_heard(self) -> bool:
        """Whether all that can be asked have answered, or had the time to."""
        now = self._clock.monotonic()
        if self._begun is None:
            self._begun = now
        asked = {one.dc_id for one in self._peers() if is_witness(one)}
        return asked <= self._shown.keys() or now >= self._begun + ANSWER_SECONDS_MAX


def _called(peer: Peer) -> str:
    return f"{peer.name} (which is paused)" if peer.terms.paused_ms else peer.name


def _line(one: Checkpoint) -> str:
    return f"{one.size} {one.root.hex()}"
