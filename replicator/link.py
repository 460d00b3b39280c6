"""The link to one peer: what runs for it, while it is a peer.

A link holds everything of one peer: the client, the consumer of its feed, the inbox, the
acknowledgements, and what the status shows. `replicator/peers.py` makes and stops them.

A stream that ends or fails is opened again after a back-off that doubles from 0.2 to 15 seconds,
with jitter, and starts anew after a stream that worked. A peer that refuses us is asked once a
minute; it will hardly change its mind, unless the pairing is so new that it may not have recorded
it yet. But whenever a peer opens *our* feed, it is plainly there and on good terms with us, and the
wait ends at once: after a pairing or an outage both directions come up together.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import aiohttp
import structlog

from dc.names.api import NamesError
from dc.names.model import Interval, Peer
from dc.stamps import StampAhead, stamp_ms
from dc.worker import Worker
from replicator import messages, status
from replicator.agreement import Agreement
from replicator.checks import Checks
from replicator.client import PeerClient
from replicator.consumer import Consumer
from replicator.drawing import Bells, Drawing
from replicator.endpoints import WayBack
from replicator.errors import Paused, Refused, ReplicatorError, Unreachable, printable
from replicator.feed_server import PeerServer
from replicator.file_side import FileSide
from replicator.home import Home
from replicator.inbox import Inbox
from replicator.limits import (
    ACK_IDLE_SECONDS,
    ACK_SECONDS,
    DRAW_ACK_SECONDS,
    ERROR_CHARACTERS_MAX,
    FIRST_ENDPOINT_SECONDS,
    OFFLINE_RETRY_SECONDS,
    PACE_SECONDS,
    REFUSED_RETRY_SECONDS,
    RETRY_FIRST_SECONDS,
    RETRY_MAX_SECONDS,
    UNFINISHED_TOLD_MAX,
    WORKED_SECONDS,
)
from replicator.lines import LineWatch
from replicator.measures import Measures, open_positions, taken_effect
from replicator.verify import VerifyReport

log = structlog.get_logger("replicator")


class Link:
    """One peer. Made and stopped in the event loop."""

    def __init__(
        self,
        home: Home,
        peer: Peer,
        server: PeerServer,
        given_back: Callable[[], None],
        bells: Bells,
    ) -> None:
        self.peer = peer
        self._given_back = given_back
        self._home = home
        self.outbound = server.outbound(peer.dc_id)
        self.pace = server.pace(peer.dc_id)
        self._held = False
        self.client = PeerClient(home, peer, self.pace)
        self.inbound = status.Inbound(home.clock)
        self._inbox = Inbox(home, peer, self.client, self.inbound)
        self._consumer = Consumer(
            home, peer, self.client, self._inbox, self.inbound, self.outbound.told
        )
        self.files = FileSide(
            home,
            peer,
            self.client,
            self._inbox,
            self.inbound,
            self.outbound,
            server.marks,
            self._settled,
        )
        self._state = status.CONNECTING
        self._last_error = ""
        self._error_at = 0.0
        self._failures = 0
        self._ever = False
        self._paused_there_ms = 0
        self._retry_at = 0.0
        self._kick = asyncio.Event()
        self._acked_at = 0.0
        self._bells = bells
        self.drawing = Drawing(home, peer, self.inbound, lambda: bells.state(peer.dc_id))
        self._measures = Measures(home, peer, self.outbound, self.inbound)
        self._agreement = Agreement(home, self.client, self.outbound, self.inbound)
        self.checks = Checks(
            home,
            peer,
            self.client,
            self._inbox,
            self.inbound,
            self.outbound,
            self._agreement,
            self.drawing.ask,
        )
        self._line = LineWatch(home, peer, self.client, self.inbound, self.outbound)
        self._workers = [
            Worker(f"feed of {peer.name}", home.clock, self._follow),
            Worker(f"acks to {peer.name}", home.clock, self._acknowledge),
            Worker(f"measures of {peer.name}", home.clock, self._measures.look),
            Worker(f"agreement with {peer.name}", home.clock, self._agreement.look),
            Worker(f"comparing with {peer.name}", home.clock, self.checks.look),
        ]
        self._way_back = WayBack()
        self._reopening = asyncio.Lock()
        self._runs = False
        if self.client.several:
            self._workers += [
                Worker(f"endpoints of {peer.name}", home.clock, self._look_for_first),
                Worker(f"line to {peer.name}", home.clock, self._line.look),
            ]
        self._pacing = Worker(f"limits of {peer.name}", home.clock, self._keep_pace)

    def start(self) -> None:
        self._pacing.start()
        self._begin()

    async def stop(self) -> None:
        await self._pacing.stop()
        await self._halt()
        await self.client.close()

    def _begin(self) -> None:
        """Everything but what goes on while the peer is paused."""
        if not self.peer.terms.paused_ms:
            self._failures = 0
            self._runs = True
            self._inbox.start()
            for worker in self._workers[1 if self._held else 0 :]:
                worker.start()

    async def _halt(self) -> None:
        self._runs = False
        for worker in reversed(self._workers):
            await worker.stop()
        self.inbound.ended()
        self._inbox.link_is_down()
        await self._inbox.stop()

    async def agree(self, peer: Peer) -> None:
        """The peer's terms have changed; `peer` is its record with them."""
        was, self.peer = self.peer, peer
        if self.pace.look():
            self._inbox.moved.set()
        if peer.terms.paused_ms and not was.terms.paused_ms:
            await self._halt()
        elif was.terms.paused_ms and not peer.terms.paused_ms:
            self._begin()

    async def _keep_pace(self) -> float:
        """Limits begin and end; the peer is told by the next acknowledgement, which is now."""
        if self.pace.look():
            self._inbox.moved.set()
        self.pace.sample()
        return PACE_SECONDS

    async def reopen(self) -> None:
        """Open the stream anew, from the cursor: it tells the peer who our other peers are."""
        async with self._reopening:
            if self._runs and not self._held:
                await self._workers[0].stop()
            if self._runs and not self._held:
                self._failures = 0
                self._workers[0].start()

    async def _look_for_first(self) -> float:
        """Go back to the preferred endpoint when it answers again."""
        clock = self._home.clock
        may = self.inbound.connected and self._way_back.is_open(clock.monotonic())
        if may and await self.client.first_is_back():
            log.info("back to the first endpoint", peer=self.peer.name)
            self._way_back.taken(clock.monotonic())
            await self.reopen()
        return FIRST_ENDPOINT_SECONDS

    def kick(self) -> None:
        """The peer is there: do not wait any longer."""
        self._line.doubt()
        self._kick.set()

    # -- what comes in a file (`replicator/importing.py`) -----------------------------------------

    async def hold(self) -> None:
        """No stream from the peer until `release`: the cursor is another's to move."""
        self._held = True
        async with self._reopening:
            await self._workers[0].stop()
        self.inbound.ended()
        self._inbox.link_is_down()

    def release(self) -> None:
        self._held = False
        # Its inbox may have been filled by way of the link before this one.
        self._inbox.changed(True)
        if self._runs:
            self._failures = 0
            self._workers[0].start()

    # -- following the feed ---------------------------------------------------------------------

    async def _follow(self) -> float:
        """One stream or draw, and the wait before the next."""
        self._kick.clear()
        if not self._failures:
            self._state = status.CONNECTING
        began = self._home.clock.monotonic()
        taken = self.inbound.changes, self.inbound.bytes
        drawn = False
        try:
            await self._consumer.run()
            if drawn := self.drawing.on and self.inbound.position >= self.inbound.end:
                self.inbound.rests()
            else:
                self._note(status.CONNECTING, "the peer ended the stream")
        except Exception as error:
            # Whatever broke the stream, it is shown and the stream is opened again.
            self._note_failure(error)
        finally:
            worked = self.inbound.connected
            self._ever |= worked
            if not drawn:
                self.inbound.ended()
        lived = self._home.clock.monotonic() - began
        now = self.inbound.changes, self.inbound.bytes
        if worked and (lived > WORKED_SECONDS or now != taken):
            # While it is closed no bodies are begun: where some came it is opened soon.
            self._failures = 0
        if drawn:
            self._failures = 0
            if self._home.clock.monotonic() - self._acked_at > DRAW_ACK_SECONDS:
                self._inbox.moved.set()
            await self.drawing.rest()
        else:
            await self._wait()
        return 0

    def _note(self, state: str, error: str) -> None:
        self._state = state
        self._last_error = error[:ERROR_CHARACTERS_MAX]
        self._error_at = self._home.clock.monotonic()

    def _note_failure(self, error: BaseException) -> None:
        text = printable(error) or type(error).__name__
        if isinstance(error, Paused):
            if self._state != status.PAUSED:
                log.info("a peer has paused", peer=self.peer.name)
            self._paused_there_ms = error.since_ms
            self._note(status.PAUSED, text)
            return
        if isinstance(error, Refused):
            self._note(status.REFUSED, text)
        elif isinstance(error, Unreachable):
            self._note(status.UNREACHABLE, text)
        elif isinstance(error, aiohttp.ClientError | OSError | TimeoutError):
            self._note(status.UNREACHABLE, f"the stream broke: {text}")
        else:
            self._note(status.FAILED, f"{type(error).__name__}: {text}")
        say = log.debug if self._is_offline() else log.warning
        say("no stream from a peer", peer=self.peer.name, state=self._state, error=self._last_error)

    def _is_offline(self) -> bool:
        """No link to the peer is expected, and there is none."""
        away = (status.UNREACHABLE, status.CONNECTING)
        return self.peer.by_files and not self.inbound.connected and self._state in away

    async def _wait(self) -> None:
        paired_seconds = (self._home.clock.wall_ms() - stamp_ms(self.peer.paired)) / 1000
        is_new = not self._ever and paired_seconds < REFUSED_RETRY_SECONDS
        if self._state == status.PAUSED or (self._state == status.REFUSED and not is_new):
            wait = self._home.backoff_seconds(0, REFUSED_RETRY_SECONDS, REFUSED_RETRY_SECONDS)
        elif self._is_offline():
            wait = self._home.backoff_seconds(0, OFFLINE_RETRY_SECONDS, OFFLINE_RETRY_SECONDS)
        else:
            wait = self._home.backoff_seconds(
                self._failures, RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS
            )
        self._failures += 1
        self._retry_at = self._home.clock.monotonic() + wait
        try:
            async with asyncio.timeout(wait):
                await self._kick.wait()
        except TimeoutError:
            pass

    # -- acknowledging --------------------------------------------------------------------------

    async def _acknowledge(self) -> float:
        """Tell the peer up to where everything has taken effect, when that has changed; and now
        and then anyway, for the peer may have lost it, and sees by it that we are there."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ACK_IDLE_SECONDS):
                await self._inbox.moved.wait()
        await self.drawing.ended()
        if self.inbound.idle and not self._inbox.moved.is_set():
            return 0
        self._inbox.moved.clear()
        cursor = self.inbound.cursor
        at_first = self.inbound.unfinished
        try:
            found = await self._inbox.unfinished()
        except NamesError:
            # The worker comes again, and must find that there is something to tell.
            self._inbox.moved.set()
            raise
        self.inbound.failing = found.failing_count
        self.inbound.inbox_is(found.entries)
        found = found.and_of(at_first, UNFINISHED_TOLD_MAX)
        now = self.inbound.cursor
        if cursor is None or now is None or not self.inbound.connected:
            return 0
        if now.epoch != cursor.epoch:
            # Meanwhile the feed was opened anew, and may be another one: this says nothing of it.
            self._inbox.moved.set()
            return 0
        position = taken_effect(cursor.seq, found.entries, found.lowest)
        self._settled(position)
        taken, unfinished = open_positions(cursor.seq, found.positions, UNFINISHED_TOLD_MAX)
        ack = messages.Ack(
            epoch=cursor.epoch,
            position=position,
            taken=taken,
            unfinished=unfinished,
            failing=found.failing,
        )
        try:
            await self.client.ack(ack)
        except (ReplicatorError, aiohttp.ClientError, OSError, TimeoutError) as error:
            # The stream will notice what is wrong; the next acknowledgement says it all again.
            log.info("an acknowledgement failed", peer=self.peer.name, error=printable(error))
            self._inbox.moved.set()
            return RETRY_MAX_SECONDS if self.inbound.idle else 1.0
        self._acked_at = self._home.clock.monotonic()
        if at_first is not None and self.inbound.unfinished is at_first:
            self.inbound.unfinished = None
            if at_first.entries:
                # Some of it may be finished by now.
                self._inbox.moved.set()
        return ACK_SECONDS

    def _settled(self, position: int) -> None:
        """All of the peer's feed up to a position has taken effect: take over what it covers."""
        if position < self.client.superseded_until:
            # Something was left out because a later state of it is on its way.
            return
        names = self._home.names
        for frame in self.inbound.settled(position):
            for origin, _, high in frame.intervals:
                if origin == self._home.dc_id:
                    with suppress(StampAhead):
                        names.clock.observe(high)
            names.cover([Interval(*one) for one in frame.intervals])
        if self.inbound.given_back:
            self._given_back()

    # -- status ---------------------------------------------------------------------------------

    @property
    def last_verify(self) -> VerifyReport | None:
        """What the last comparison of everything found; None before the first."""
        return self.checks.last

    def _verified(self) -> status.Verified | None:
        found = self.checks.last
        if found is None:
            return None
        return status.Verified(
            at_ms=found.at_ms,
            identical=found.identical,
            only_here=found.only_here,
            only_there=found.only_there,
            different=found.different,
            in_flight=found.in_flight,
            repaired=found.repaired,
            error=found.error,
        )

    def word(self) -> str:
        """The state: one of the words of `replicator/status.py`."""
        if self.peer.terms.paused_ms:
            return status.PAUSED
        if not self.inbound.connected:
            return status.OFFLINE if self._is_offline() else self._state
        word = self.inbound.word()
        return status.IDENTICAL if word == status.STREAMING and self._agreement.root else word

    def _reason(self, fine: bool) -> str:
        """Why there is no stream."""
        if self._held:
            return "a file of it is being imported"
        return "" if fine else self._last_error

    def status(self) -> status.PeerStatus:
        out, inbound = self.outbound, self.inbound
        now, end = self._home.clock.monotonic(), self._home.names.feed_end
        connected, settled, word = inbound.connected, out.settled, self.word()
        to_give = self._measures.to_give()
        recovered = connected or bool(self.peer.terms.paused_ms)
        recovered &= inbound.caught_up_at > self._error_at
        return status.PeerStatus(
            dc_id=self.peer.dc_id,
            name=self.peer.name,
            region=self.peer.region,
            endpoints=self.peer.endpoints,
            endpoint=self.client.endpoint,
            state=word,
            root=self._agreement.root if word in (status.IDENTICAL, status.IDLE) else "",
            differs=self._agreement.differs,
            verified=self._verified(),
            their_position=inbound.position,
            their_end=inbound.end,
            behind=inbound.behind,
            our_acked=settled,
            our_end=end,
            our_behind=None if settled is None else end - settled,
            lag_seconds=None if to_give is None else to_give.oldest_seconds,
            to_give=to_give,
            to_take=self._agreement.to_take(),
            streaming_to=out.streams > 0,
            poll_seconds=self.peer.poll_seconds,
            doorbell=self.drawing.bell,
            doorbell_error=self._bells.last_error if self.drawing.on else "",
            drawn_ms=inbound.drawn_ms,
            next_draw_seconds=self.drawing.next_seconds if inbound.idle else 0.0,
            their_poll_seconds=out.draw_seconds,
            their_drawn_ms=out.drawn_ms,
            heard_ms=inbound.heard_ms,
            changes_in=inbound.changes,
            bytes_in=inbound.bytes,
            changes_out=out.records,
            bytes_out=out.bytes,
            inbox=inbound.inbox,
            failing=inbound.failing,
            problems=self._measures.problems,
            their_problems=self._measures.their_problems,
            files=status.files_of(self.files.exchanged),
            last_error=self._reason(recovered or word == status.OFFLINE),
            retry_seconds=0.0 if connected else max(0.0, self._retry_at - now),
            pace=self.pace.status(self._paused_there_ms if word == status.PAUSED else 0),
        )
