"""Making two DCs peers of each other with one token.

    issuer                                         joiner
      | -- pairing token, by hand ------------------> |  join: checks it
      | <-- POST /v2/pair: the token, my request ---- |  over TLS pinned by the token
      |  checks both, then in one transaction:        |
      |  the token's id is used up, the peer is there |
      | -- a signed yes to exactly this request ----> |  records the peer
      |     puts its site record anew                 |
      | <============ feed streams =================> |  both ways
      | <-- the joiner's site record, put anew ------ |  waits for the acknowledgement,
      | --- the issuer's site record ---------------> |  and for this one

The issuer remembers nothing of a token it gave out. It recognises its own signature on the token
that comes back with the request, and keeps the ids of used ones until they expire. If the answer is
lost, the joiner repeats the join with the same token: the issuer lets the *same* joiner (the same
keys) use it again, unless it was removed since, and nobody else. Until the joiner has seen the yes
it has recorded nothing.

Whoever calls without a token of ours gets a bare refusal; who holds one is told what is wrong.
"""

from typing import NamedTuple

import msgspec

from dc.names.api import PeerExists, TokenUsed
from dc.names.model import Peer
from replicator import messages
from replicator.client import PeerClient
from replicator.errors import PairingError, ReplicatorError, printable
from replicator.home import Home
from replicator.limits import PEERS_MAX
from replicator.peers import Peers
from replicator.proof import Proof, Step, Steps, put_site
from tokens import exchange, pairing
from tokens.claims import new_jti
from tokens.errors import TokenError
from tokens.identity import PublicIdentity
from tokens.limits import CLOCK_SKEW_SECONDS, PAIRING_LIFETIME_SECONDS_DEFAULT
from tokens.place import Place

NO_JTI = "0" * 32
"""In the code of a pairing that no single token made."""


class IssuedToken(msgspec.Struct, frozen=True):
    """A pairing token, and until when it may be used (epoch seconds)."""

    token: str
    expires_at: int


class PairingReport(msgspec.Struct, frozen=True, kw_only=True):
    """A pairing that was made, and what was seen of it."""

    peer: Peer
    short_code: str
    steps: list[Step]
    went: bool
    """A change made here took effect there."""
    came: bool
    """A change made there took effect here."""
    missing: list[str]
    """What was not seen in time, and why."""

    @property
    def complete(self) -> bool:
        return self.went and self.came


class Pairing:
    """Both sides of it, for one DC."""

    def __init__(self, home: Home, peers: Peers) -> None:
        self._home = home
        self._peers = peers

    def issue(self, lifetime_seconds: int = PAIRING_LIFETIME_SECONDS_DEFAULT) -> IssuedToken:
        """A token for one other DC."""
        home = self._home
        now = home.now_seconds()
        jti = new_jti(home.randomness.token)
        token = pairing.issue(
            home.identity, home.place, now=now, jti=jti, lifetime_seconds=lifetime_seconds
        )
        return IssuedToken(token, now + lifetime_seconds)

    # -- joining --------------------------------------------------------------------------------

    async def join(self, token: str, timeout_seconds: float) -> PairingReport:
        """Pair with the DC that issued the token, and see for up to `timeout_seconds` whether
        changes go there and come from there. PairingError or a TokenError says what is wrong and
        what to do; nothing has changed here then."""
        home = self._home
        steps = Steps(home.clock)
        offer = pairing.read(token, home.now_seconds())
        where = f"DC {offer.place.name} ({offer.peer.dc_id})"
        steps.note(f"the token is valid: it was issued by {where}")
        peer = self.checked(offer.peer, offer.place, offer.jti)
        reply, endpoint = await self.ask(token, offer, peer)
        steps.note(f"{offer.place.name} answered at {endpoint} and agreed")
        try:
            await home.names.add_peer(peer)
        except PeerExists:
            raise _name_taken(peer.name) from None
        finally:
            # Also when it failed: it may have taken effect.
            await self._peers.refresh()
        steps.note("the pairing is recorded on both sides")
        proof = Proof(home, self._peers, peer, reply, steps)
        await proof.wait(timeout_seconds)
        return PairingReport(
            peer=peer,
            short_code=peer.code,
            steps=steps.done,
            went=proof.went,
            came=proof.came,
            missing=proof.missing,
        )

    async def join_offline(self, token: str) -> Peer:
        """Record the DC that issued the token as a peer without a link. It must do the same with a
        token of this DC. PairingError or a TokenError; nothing has changed then."""
        home = self._home
        offer = pairing.read(token, home.now_seconds())
        # Each side knows the other's token only: the code is made from the keys alone.
        peer = self.checked(offer.peer, offer.place, NO_JTI)
        peer = msgspec.structs.replace(peer, by_files=True)
        try:
            await home.names.add_peer(peer)
        except PeerExists:
            raise _name_taken(peer.name) from None
        finally:
            await self._peers.refresh()
        return peer

    def checked(self, who: PublicIdentity, place: Place, jti: str) -> Peer:
        """The peer to be, unless it cannot become one."""
        home = self._home
        if who.dc_id == home.dc_id:
            raise PairingError(
                "this token was issued by this DC: run `farshore dc add` on the other one"
            )
        if home.peer(who.dc_id) is not None:
            raise PairingError(
                f"DC {place.name} ({who.dc_id}) is already paired with this one; to pair anew,"
                f" run `farshore dc remove {place.name}` first"
            )
        self._check_room(who, place)
        return self._peer(who, place, jti)

    def _check_room(self, who: PublicIdentity, place: Place) -> None:
        home = self._home
        others = [peer for peer in home.names.peers() if peer.dc_id != who.dc_id]
        if place.name == home.place.name:
            raise PairingError(
                f"both DCs are called {place.name!r}: give one of them another name first"
            )
        if any(peer.name == place.name for peer in others):
            raise _name_taken(place.name)
        if len(others) >= PEERS_MAX:
            raise PairingError(f"a DC has at most {PEERS_MAX} peers")

    def _peer(self, who: PublicIdentity, place: Place, jti: str) -> Peer:
        return Peer(
            dc_id=who.dc_id,
            name=place.name,
            region=place.region,
            endpoints=list(place.endpoints),
            fingerprint=place.fingerprint,
            signing_key=who.signing_key,
            sealing_key=who.sealing_key,
            paired=self._home.names.clock.now(),
            code=pairing.short_code(self._home.identity.public.signing_key, who.signing_key, jti),
        )

    async def ask(
        self, token: str, offer: pairing.PairingOffer, peer: Peer, *, preview: bool = False
    ) -> tuple[messages.PairReply, str]:
        """Send the request; returns the yes, and the endpoint that gave it. `preview`: only to be
        allowed to compare."""
        home = self._home
        request = exchange.issue_request(
            home.identity, home.place, offer, now=home.now_seconds(), preview=preview
        )
        client = PeerClient(home, peer)
        try:
            call = messages.PairCall(offer=token.strip(), request=request)
            reply = await (client.preview(call) if preview else client.pair(call))
            endpoint = client.endpoint
        except ReplicatorError as error:
            raise PairingError(f"DC {peer.name} cannot be paired now: {error}") from None
        finally:
            await client.close()
        if reply is None:
            raise PairingError(
                f"DC {peer.name} does not accept the token: issue a new one there with"
                " `farshore token issue`, and see that both clocks are right"
            )
        if not reply.answer:
            raise PairingError(f"DC {peer.name} refuses: {printable(reply.problem)}")
        exchange.read_answer(reply.answer, offer, home.dc_id, request, home.now_seconds())
        return reply, endpoint

    # -- being joined ---------------------------------------------------------------------------

    async def accept(self, body: bytes) -> messages.PairReply | None:
        """The answer to a pair call; None for who has no valid token of this DC."""
        home = self._home
        asked = self.asked(body)
        if not isinstance(asked, Asked):
            return asked
        offer, request, peer = asked
        try:
            await home.names.add_peer(peer, offer.jti, offer.expires_at + CLOCK_SKEW_SECONDS)
        except TokenUsed:
            return messages.PairReply(problem="the token was used already: issue a new one")
        except PeerExists:
            return messages.PairReply(problem=str(_name_taken(request.place.name)))
        finally:
            await self._peers.refresh()
        stamp, position = await put_site(home)
        return messages.PairReply(
            answer=exchange.issue_answer(home.identity, request, now=home.now_seconds()),
            site=stamp,
            position=position,
        )

    def asked(self, body: bytes, *, preview: bool = False) -> "Asked | messages.PairReply | None":
        """What a pair (or preview) call asks for, checked in all but whether its token was used;
        a reply that says why not; None for who has no valid token of this DC."""
        home = self._home
        call = messages.decode_body(body, messages.PairCall)
        now = home.now_seconds()
        try:
            offer = pairing.read(call.offer, now)
            if offer.peer != home.identity.public:
                return None
            request = exchange.read_request(call.request, home.dc_id, now, preview=preview)
        except TokenError:
            return None
        if request.offer_jti != offer.jti:
            return None
        known = home.peer(request.peer.dc_id)
        if known is not None and known.signing_key != request.peer.signing_key:
            return messages.PairReply(problem="another DC with this id is paired here already")
        try:
            self._check_room(request.peer, request.place)
            peer = self._peer(request.peer, request.place, offer.jti)
        except PairingError as error:
            return messages.PairReply(problem=str(error))
        if known is not None:
            peer = msgspec.structs.replace(
                peer, paired=known.paired, poll_seconds=known.poll_seconds
            )
        return Asked(offer, request, peer)


class Asked(NamedTuple):
    """A pair call, checked: `peer` is what its caller would be."""

    offer: pairing.PairingOffer
    request: exchange.PairRequest
    peer: Peer


def _name_taken(name: str) -> PairingError:
    return PairingError(
        f"a peer with the name {name!r} is known already: give one of them another name first"
    )
