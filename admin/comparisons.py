"""Comparing datacenters in the admin API: requests whose answer comes as it is found.

    POST /replication/verify {"peer", "bucket", "repair", "wait_seconds"}    "" is all
    POST /datacenters/preview {"token"}                                      dc add --dry-run

The answer is JSON lines: {"progress": ...} now and then, a {"report": ...} for each peer, or for
the preview. A peer that cannot be compared has a report with an `error`. What fails as a whole ends
with a line {"error": code, "message": one line}, for the status has been sent then.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Protocol

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from admin.reply import body
from dc.names.api import NamesError, NoSuchBucket, NoSuchPeer
from dc.names.model import Bucket, Peer
from dc.worker import spawn
from replicator.errors import ReplicatorError
from replicator.limits import COMPARE_WAIT_SECONDS
from replicator.preview import PreviewProgress, PreviewReport
from replicator.verify import Options, Progress, VerifyReport
from tokens.errors import TokensError

log = structlog.get_logger("admin")
PROGRESS_SECONDS = 0.5
KEEPALIVE_TURNS = 10
Said = Callable[[Any], None]
Tell = Callable[[dict[str, Any]], Awaitable[None]]


class Verify(msgspec.Struct, forbid_unknown_fields=True):
    peer: Annotated[str, Meta(max_length=64)] = ""
    bucket: Annotated[str, Meta(max_length=255)] = ""
    repair: bool = False
    wait_seconds: Annotated[float, Meta(ge=0, le=3_600)] = COMPARE_WAIT_SECONDS


class PreviewDatacenter(msgspec.Struct, forbid_unknown_fields=True):
    token: Annotated[str, Meta(max_length=16_384)]


class Comparing(Protocol):
    """What this asks of the replicator."""

    async def verify(
        self, dc_id: str, options: Options, said: Callable[[Progress], None]
    ) -> VerifyReport: ...

    async def preview(
        self, token: str, said: Callable[[PreviewProgress], None]
    ) -> PreviewReport: ...


class ComparisonsApi:
    """Of one datacenter."""

    def __init__(
        self,
        replicator: Comparing,
        peers: Callable[[], list[Peer]],
        bucket: Callable[[str], Bucket | None],
    ) -> None:
        self._replicator = replicator
        self._peers = peers
        self._bucket = bucket

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/replication/verify", self._verify),
            web.post("/datacenters/preview", self._preview),
        ]

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        wanted = await body(request, Verify)
        peers = [one for one in self._peers() if wanted.peer in ("", one.name, one.dc_id)]
        if wanted.peer and not peers:
            raise NoSuchPeer(f"{wanted.peer[:80]!r} is not paired with this datacenter")
        bucket = self._bucket(wanted.bucket) if wanted.bucket else None
        if wanted.bucket and bucket is None:
            raise NoSuchBucket(f"there is no bucket {wanted.bucket[:80]!r} here")
        options = Options(
            bucket=bucket.id if bucket else None,
            repair=wanted.repair,
            wait_seconds=wanted.wait_seconds,
        )

        async def work(said: Said, tell: Tell) -> None:
            for peer in peers:
                await tell(
                    {"report": _shown(await self._compare(peer, options, said, wanted.bucket))}
                )

        return await _answer(request, work)

    async def _compare(self, peer: Peer, options: Options, said: Said, bucket: str) -> VerifyReport:
        try:
            return await self._replicator.verify(peer.dc_id, options, said)
        except (ReplicatorError, NamesError) as error:
            return VerifyReport(
                peer=peer.dc_id, name=peer.name, at_ms=0, bucket=bucket, error=str(error)
            )

    async def _preview(self, request: web.Request) -> web.StreamResponse:
        wanted = await body(request, PreviewDatacenter)

        async def work(said: Said, tell: Tell) -> None:
            await tell({"report": await self._replicator.preview(wanted.token, said)})

        return await _answer(request, work)


def _shown(report: VerifyReport) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(report)
    return facts | {"identical": report.identical, "differs": report.differs}


async def _answer(
    request: web.Request, work: Callable[[Said, Tell], Awaitable[None]]
) -> web.StreamResponse:
    """Do `work`, and write what it says and tells, a line each."""
    response = web.StreamResponse(
        headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
    )
    await response.prepare(request)

    async def tell(line: dict[str, Any]) -> None:
        await response.write(msgspec.json.encode(line) + b"\n")

    latest: list[Any] = []

    async def run() -> None:
        await work(latest.append, tell)

    task = spawn(run(), "a comparison for the admin API")
    turns = 0
    try:
        while not task.done():
            await asyncio.wait([task], timeout=PROGRESS_SECONDS)
            turns += 1
            if task.done() or not (latest or turns % KEEPALIVE_TURNS == 0):
                continue
            last, latest[:] = (latest[-1] if latest else None), []
            await tell({"progress": last})
        error = task.exception()
        if error is not None:
            await tell(_failure(error))
    finally:
        task.cancel()
    await response.write_eof()
    return response


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, ReplicatorError | NamesError):
        return {"error": "not_compared", "message": str(error)}
    if isinstance(error, TokensError):
        return {"error": "token_refused", "message": str(error)}
    log.error("a comparison failed", error=f"{type(error).__name__}: {error}")
    return {"error": "internal", "message": "the datacenter failed to do this; its log says why"}
