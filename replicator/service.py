"""The replicator of one DC: its listener for peers, its links to them, pairing, status."""

import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from dc.names.api import Names, NoSuchPeer
from dc.objects.api import ObjectStore
from dc.ports import Clock, Listener, Network, Randomness
from dc.worker import Worker
from replicator.compare_server import CompareServer
from replicator.feed_server import PeerServer
from replicator.filling import Filling
from replicator.home import Home, Own
from replicator.limits import (
    CONFLICTS_SECONDS,
    KEEPALIVE_SECONDS,
    PAIRING_WAIT_SECONDS,
    STOP_SECONDS,
    STOP_TURNS,
    UPKEEP_AGAIN_SECONDS,
    UPKEEP_SECONDS,
)
from replicator.messages import PairReply
from replicator.pairing import IssuedToken, Pairing, PairingReport
from replicator.peers import Peers
from replicator.preview import Preview, PreviewProgress, PreviewReport
from replicator.records import Sealer
from replicator.status import Absent, ReplicationStatus
from replicator.verify import Options, Progress, VerifyReport
from tokens.identity import Identity
from tokens.limits import PAIRING_LIFETIME_SECONDS_DEFAULT
from tokens.place import Place
from tokens.secret_store import SecretStore

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
    ) -> None:
        self._home = Home(
            names=names,
            objects=objects,
            identity=identity,
            own=own,
            sealer=Sealer(identity, secrets),
            clock=clock,
            randomness=randomness,
            network=network,
        )
        self._tls = tls
        self._server = PeerServer(self._home, self._accept, self._let_compare, self._heard)
        self._peers = Peers(self._home, self._server)
        self._server.serve(CompareServer(self._home, self._peers))
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
        self._conflicts: int | None = None
        self._counted_at = 0.0
        self._elsewhere = (0, 0)
        self.mark = self._server.marks
        """What `x-amz-replication-status` says of a version that was read here; "" for nothing."""

    async def start(self, host: str, port: int) -> int:
        """Listen for peers and follow those there are; returns the port. OSError."""
        self._listener = await self._home.network.listen(self._web, host, port, self._tls)
        self._home.port = self._listener.port
        await self._peers.refresh()
        self._upkeep.start()
        self._fill.start()
        return self._listener.port

    async def _keep_up(self) -> float:
        more = await self._home.names.upkeep()
        return UPKEEP_AGAIN_SECONDS if more else UPKEEP_SECONDS

    async def stop(self) -> None:
        """End all streams. What was under way is taken up again after the next start."""
        if self._listener is not None:
            await self._listener.close()
        await self._fill.stop()
        await self._upkeep.stop()
        await self._peers.stop()
        await self._server.close()
        # The handlers of the streams that ended need some turns of the loop to close their
        # connections; the shutdown would wait for them in vain.
        for _ in range(STOP_TURNS):
            await self._home.clock.sleep(0)
        self._web.pre_shutdown()
        with suppress(TimeoutError):
            await self._web.shutdown(STOP_SECONDS)

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

    async def remove_peer(self, dc_id: str) -> None:
        """End the pairing, from this side alone: dc.names.api.NoSuchPeer."""
        await self._peers.remove(dc_id)

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

    def _heard(self, dc_id: str) -> None:
        self._peers.heard(dc_id)
