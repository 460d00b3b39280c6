"""Who has got hold of a pairing token that somebody else used before."""

import random

from sim_clients import Fail
from sim_dc import Dc

from replicator import messages
from tokens import exchange, pairing
from tokens.identity import Identity
from tokens.place import Place


async def check_tokens(used: list[tuple[Dc, str]], dcs: list[Dc], seed: str, fail: Fail) -> None:
    """Whoever issued a token lets nobody else in with it, also after a restart."""
    stranger = Identity.generate(random.Random(f"{seed}/stranger").randbytes)
    place = Place("stranger", "nowhere", ("stranger.test:8444",), "0" * 64)
    for issuer, token in used:
        if issuer not in dcs:
            continue
        now = issuer.clock.wall_ms() // 1000
        offer = pairing.read(token, now)
        request = exchange.issue_request(stranger, place, offer, now=now)
        call = messages.encode_body(messages.PairCall(offer=token, request=request))
        reply = await issuer.spawn(issuer.replicator._pairing.accept(call), "stranger")
        if reply is None or reply.answer or "used" not in reply.problem:
            fail("token", f"{issuer.name} answers {reply} to who has a token that was used")
