"""The replicator of one DC: its listener for peers, its links to them, pairing, status."""

import asyncio
import datetime
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import aiohttp
from aiohttp import web

from dc.broker import Broker
from dc.channel import Answer, ChannelFailed
from dc.metered import accepting
from dc.names.api import Names, NoSuchPeer
from dc.names.model import Peer
from dc.objects.api import ObjectStore
from dc.ports import Clock, Listener, Network, Randomness
from dc.rates import Limit, Terms, minute_of_day
from dc.worker import Worker
from replicator.calls import Calls
from replicator.compare_server import CompareServer
from replicator.doorbell import Doorbell
from replicator.errors import NotCompared, ReplicatorError
from replicator.feed_server import PeerServer
from replicator.files import Files
from replicator.filling import Filling
from replicator.home import Home, Own
from replicator.limits import (
    BROKER_RETRY_SECONDS_MAX,
    CONFLICTS_SECONDS,
    KEEPALIVE_SECONDS,
    LINE_ANSWER_SECONDS,
    PAIRING_WAIT_SECONDS,
    STOP_SECONDS,
    STOP_TURNS,
    UPKEEP_AGAIN_SECONDS,
    UPKEEP_SECONDS,
)
from replicator.link import Link
from replicator.messages import PairReply
from replicator.pace import Pace
from replicator.pairing import IssuedToken, Pairing, PairingReport
from replicator.peers import Peers
from replicator.preview import Preview, PreviewProgress, PreviewReport
from replicator.reading import Reading
from replicator.reading_server import ReadingServer
from replicator.records import Sealer
from replicator.status import Absent, ReplicationStatus
from replicator.verify import Options, Progress, VerifyReport
from tokens.identity import Identity
from tokens.limits import PAIRING_LIFETIME_SECONDS_DEFAULT
from tokens.place import Place, check_endpoints
from tokens.secret_store import SecretStore

Alter = Callable[[Limit], Limit]
Door = Callable[[bytes], Awaitable[PairReply | None]]


class Replicator:
    """Make it in the event loop, `start` it, `stop` it before names and objects are closed.

    `own` gives what this DC tells others of itself (name, region, the endpoints that peers can
    reach, the fingerprint of the certificate in `tls`) for the port that it listens on.
    """

    def __init__(
        self,
        *,
        names: Names,
        objects: ObjectStore,
        identity: Identity,
        own: Own,
        secrets: SecretStore,
        tls: ssl.SSLContext,
        clock: Clock,
        randomness: Randomness,
        network: Network,
        zone: datetime.tzinfo | None = None,
        broker: Broker | None = None,
    ) -> None:
        """`zone`: of the times of day that limits have; None is the machine's."""
        self._home = Home(
            names=names,
            objects=objects,
            identity=identity,
            own=own,
            sealer=Sealer(identity, secrets),
            clock=clock,
            randomness=randomness,
            network=network,
            zone=zone,
        )
        self._tls = tls
        self._server = PeerServer(self._home, self._accept, self._let_compare, self._heard)
        self._doorbell = Doorbell(self._home, broker, self._links)
        self._home.meet = self._server.absences.meet
        self.absences = self._server.absences
        """What peers lacked when they were lost."""
        self._peers = Peers(self._home, self._server, self._doorbell)
        self._server.serve(CompareServer(self._home, self._peers))
        self.files = Files(self._home, self._peers)
        """Changes that travel in files."""
        self._server.serve(ReadingServer(self._home))
        self.others = Reading(self._home, self._peers)
        """What gateways ask other DCs by (`dc.read_through.Others`)."""
        self._filling = Filling(self._home, self._peers)
        self._home.to_come = self._filling.known
        self._pairing = Pairing(self._home, self._peers)
        self._preview = Preview(self._home, self._pairing, self._server.guests)
        self._web = web.Server(
            self._server.handle,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_SECONDS * 3,
        )
        self._listener: Listener | None = None
        self._upkeep = Worker("upkeep", clock, self._keep_up)
        self._fill = Worker("filling", clock, self._filling.look)
        self._bells = Worker("doorbell", clock, self._doorbell.step, BROKER_RETRY_SECONDS_MAX)
        self._conflicts: int | None = None
        self._counted_at = 0.0
        self._elsewhere = (0, 0)
        self.mark = self._server.marks
        """What `x-amz-replication-status` says of a version that was read here; "" for nothing."""

    async def start(self, host: str, port: int) -> int:
        """Listen for peers and follow those there are; returns the port. OSError."""
        # Before clients are served: what they overwrite can be noted no more.
        await self._server.absences.meet()
        server = accepting(self._web)
        self._listener = await self._home.network.listen(server, host, port, self._tls)
        self._home.port = self._listener.port
        await self._peers.refresh()
        self._upkeep.start()
        self._fill.start()
        self._bells.start()
        return self._listener.port

    async def _keep_up(self) -> float:
        more = await self._home.names.upkeep()
        return UPKEEP_AGAIN_SECONDS if more else UPKEEP_SECONDS

    async def stop(self) -> None:
        """End all streams. What was under way is taken up again after the next start."""
        if self._listener is not None:
            await self._listener.close()
        await self._bells.stop()
        await self._fill.stop()
        await self._filling.stop()
        await self._upkeep.stop()
        await self._peers.stop()
        await self._server.close()
        # The handlers of the streams that ended need some turns of the loop to close their
        # connections; the shutdown would wait for them in vain.
        self._server.lift()
        for _ in range(STOP_TURNS):
            await self._home.clock.sleep(0)
        self._web.pre_shutdown()
        with suppress(TimeoutError):
            await self._web.shutdown(STOP_SECONDS)

    async def call(self, dc_id: str, name: str, body: bytes) -> bytes:
        """See `dc.channel.Channel`."""
        link = self._peers.link(dc_id)
        if link is None:
            raise ChannelFailed(f"DC {dc_id} is not paired with this one")
        try:
            return await link.client.call(name, body)
        except (ReplicatorError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ChannelFailed(f"{type(error).__name__}: {error}") from None

    def serve(self, answers: Mapping[str, Answer]) -> None:
        """See `dc.channel.Channel`."""
        self._server.serve(Calls(answers))

    def open_door(self, name: str, answer: Door) -> None:
        """Answer what anybody asks of POST /v2/`name`; None is a refusal without a reason."""
        self._server.open_door(name, answer)

    @property
    def place(self) -> Place:
        """What this DC says of itself, when it listens."""
        return self._home.place

    def issue_token(self, lifetime_seconds: int = PAIRING_LIFETIME_SECONDS_DEFAULT) -> IssuedToken:
        """A pairing token for one other DC."""
        return self._pairing.issue(lifetime_seconds)

    async def join(
        self, token: str, timeout_seconds: float = PAIRING_WAIT_SECONDS
    ) -> PairingReport:
        """Pair with the DC that issued the token: PairingError, or tokens.errors.TokenError. Then
        wait until a change went there and one came from there; after `timeout_seconds` the report
        says what is missing."""
        return await self._pairing.join(token, timeout_seconds)

    async def join_offline(self, token: str) -> Peer:
        """Pair with the DC that issued the token without asking it, which must do the same with a
        token of this one: PairingError, or tokens.errors.TokenError."""
        return await self._pairing.join_offline(token)

    async def remove_peer(self, dc_id: str) -> None:
        """End the pairing, from this side alone: dc.names.api.NoSuchPeer."""
        await self._peers.remove(dc_id)

    async def move_peer(self, dc_id: str, endpoints: Sequence[str]) -> Peer:
        """Reach a peer, whose identity stays, at these `host:port` from now on, the preferred one
        first: dc.names.api.NoSuchPeer, tokens.errors.PlaceInvalid."""
        check_endpoints(endpoints)
        return await self._peers.move(dc_id, list(endpoints))

    async def silent_at(self, peer: Peer) -> list[str]:
        """At which endpoints of a peer nobody answers now as that peer."""
        link = self._peers.link(peer.dc_id)
        if link is None or peer.terms.paused_ms:
            return []
        asked = [link.client.answers(one, LINE_ANSWER_SECONDS) for one in peer.endpoints]
        answers = await asyncio.gather(*asked)
        return [one for one, there in zip(peer.endpoints, answers, strict=True) if not there]

    async def limit(self, dc_id: str, into: Alter | None, out: Alter | None) -> None:
        """Change the limits of what comes from a peer, and of what goes to it; None leaves it as it
        is. Counts at once. NoSuchPeer, InvalidRate."""

        def alter(terms: Terms) -> Terms:
            new_in = into(terms.into) if into else terms.into
            return Terms(new_in, out(terms.out) if out else terms.out, terms.paused_ms)

        await self._peers.agree(dc_id, alter)

    async def pause(self, dc_id: str) -> None:
        """End all dealings with a peer until `resume`, over restarts; nothing changes when it is
        paused already. NoSuchPeer."""
        now = self._home.clock.wall_ms()
        await self._peers.agree(
            dc_id, lambda terms: Terms(terms.into, terms.out, terms.paused_ms or now)
        )

    async def resume(self, dc_id: str) -> None:
        """NoSuchPeer."""
        await self._peers.agree(dc_id, lambda terms: Terms(terms.into, terms.out))

    def pace(self, dc_id: str) -> Pace:
        """What holds between here and a peer now: NoSuchPeer."""
        link = self._peers.link(dc_id)
        if link is None:
            raise NoSuchPeer(f"DC {dc_id} is not paired with this one")
        return link.pace

    @property
    def minute(self) -> int:
        """Of the day, as the windows of limits have it."""
        return minute_of_day(self._home.clock.wall_ms(), self._home.zone)

    async def set_link(self, dc_id: str, poll_seconds: int) -> None:
        """Draw the feed of a peer when its doorbell rings, and every so many seconds at least; with
        0 keep it open: dc.names.api.NoSuchPeer."""
        await self._peers.set_link(dc_id, poll_seconds)

    async def preview(self, token: str, said: Callable[[PreviewProgress], None]) -> PreviewReport:
        """What pairing by the token would bring, changing nothing: PairingError, a TokenError, or
        a ReplicatorError."""
        return await self._preview.compare(token, said)

    async def verify(
        self, dc_id: str, options: Options, said: Callable[[Progress], None]
    ) -> VerifyReport:
        """Compare with a peer, and repair if that is asked for: NoSuchPeer, or a ReplicatorError
        when they cannot be compared now."""
        link = self._peers.link(dc_id)
        if link is None:
            raise NoSuchPeer(f"DC {dc_id} is not paired with this one")
        if link.peer.terms.paused_ms:
            raise NotCompared(f"{link.peer.name} is paused: `farshore dc resume` first")
        return await link.checks.run(options, said)

    async def counted_status(self) -> ReplicationStatus:
        """The status, with conflicts counted at most a second ago."""
        now = self._home.clock.monotonic()
        if self._conflicts is None or now - self._counted_at > CONFLICTS_SECONDS:
            self._conflicts = await self._home.names.conflict_count()
            self._elsewhere = await self._home.names.elsewhere.count()
            self._counted_at = now
        return self.status()

    def status(self) -> ReplicationStatus:
        names = self._home.names
        return ReplicationStatus(
            dc_id=self._home.dc_id,
            name=self._home.place.name,
            epoch=names.epoch,
            end=names.feed_end,
            conflicts=self._conflicts,
            absent=self._absent(),
            peers=[link.status() for link in self._peers.links()],
        )

    def _absent(self) -> Absent:
        """As it was counted last."""
        objects, size = self._elsewhere
        to_come = self._filling.to_come()
        return Absent(
            objects=objects,
            bytes=size,
            to_come=None if to_come is None else to_come.objects,
            to_come_bytes=None if to_come is None else to_come.bytes,
        )

    # The server comes before what it calls.
    async def _accept(self, body: bytes) -> PairReply | None:
        return await self._pairing.accept(body)

    async def _let_compare(self, body: bytes) -> PairReply | None:
        return await self._preview.accept(body)

    def _links(self) -> list[Link]:
        return self._peers.links()

    def _heard(self, dc_id: str) -> None:
        self._peers.heard(dc_id)
