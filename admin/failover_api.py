"""What was acknowledged here and not shipped, in the admin API (`docs/failover.md`).

GET /failover?peer=NAME&since_ms=N&after=STAMP    a page: `absences`, `writes`, `next`
"""

from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from admin.errors import AdminError
from admin.reply import answer
from dc.names.api import NoSuchPeer
from dc.names.model import Peer
from replicator.absences import LossReport

STAMP_CHARACTERS_MAX = 32
MS_MAX = 2**47


class Losses(Protocol):
    """What this asks of the replicator."""

    async def report(self, peer: str, since_ms: int, after: str) -> LossReport: ...


class FailoverApi:
    """Of one datacenter."""

    def __init__(self, losses: Losses, peers: Callable[[], list[Peer]]) -> None:
        self._losses = losses
        self._peers = peers

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/failover", self._report)]

    async def _report(self, request: web.Request) -> web.StreamResponse:
        name, since = request.query.get("peer", ""), request.query.get("since_ms", "0")
        after = request.query.get("after", "")[:STAMP_CHARACTERS_MAX]
        if not (since.isascii() and since.isdigit() and len(since) < 16 and int(since) < MS_MAX):
            raise AdminError(f"{since[:40]!r} is no time in milliseconds since 1970")
        found = [one.dc_id for one in self._peers() if name in (one.name, one.dc_id)]
        if name and not found:
            raise NoSuchPeer(f"{name[:80]!r} is not paired with this datacenter")
        peer = found[0] if found else ""
        return answer(await self._losses.report(peer, int(since), after))
