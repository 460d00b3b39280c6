"""The logs over HTTP, for reading, as C2SP tlog-tiles has them; and the witness, as tlog-witness
has it: POST /add-checkpoint, GET /<SHA-256 of the origin>/checkpoint.

Whoever can connect can read all entries, that is the names of all objects that are notarized.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from sqlite3 import Connection

from aiohttp import web

from dc.names.model import Peer
from notary import tables, tree
from notary.store import Store
from notary.tables import Log
from notary.witness import REQUEST_BYTES_MAX, TEXT_TYPE, Witness

_BYTES = "application/octet-stream"
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_FRESH = {"Cache-Control": "no-cache"}
_NUMBER = re.compile(r"(?:x[0-9]{3}/)*[0-9]{3}", re.ASCII)
_LEVEL = re.compile(r"0|[1-9][0-9]?", re.ASCII)
_WIDTH = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)
_LEVEL_MAX = 63
COSIGNING_MAX = 16
"""Requests to cosign at once; more are refused at once. A request has 64 KiB at most."""
BODY_SECONDS = 10.0
"""How long one may take to arrive. Its entries are copied in a few seconds (`notary/mirror.py`)."""


class LogPages:
    """Of one DC. `app` is what to listen with."""

    def __init__(self, store: Store, witness: Witness, peers: Callable[[], Sequence[Peer]]) -> None:
        self._store = store
        self._witness = witness
        self._peers = peers
        self._cosigning = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        origin = "/{origin:farshore/[0-9a-f]{16}}"
        app.add_routes(
            [
                web.get("/", self._list),
                web.get(origin + "/checkpoint", self._checkpoint),
                web.get(origin + "/tile/entries/{tile:.+}", self._entries),
                web.get(origin + "/tile/{level}/{tile:.+}", self._tile),
                web.post("/add-checkpoint", self._cosign),
                web.get("/{hash:[0-9a-f]{64}}/checkpoint", self._witnessed),
            ]
        )
        return app

    async def _list(self, _: web.Request) -> web.Response:
        logs = await self._store.read(tables.logs)
        lines = [f"{one.origin}/checkpoint\n" for one in logs if one.sealed]
        return web.Response(text="".join(lines), headers=_FRESH)

    async def _checkpoint(self, request: web.Request) -> web.Response:
        log = await self._log(request)
        found = await self._store.read(lambda db: tables.checkpoint_at(db, log.number, log.sealed))
        return web.Response(body=str(found).encode(), headers={"Content-Type": TEXT_TYPE, **_FRESH})

    async def _log(self, request: web.Request) -> Log:
        """The log that is asked for, if something was published of it. 404."""
        origin = request.match_info["origin"]
        log = await self._store.read(lambda db: tables.log_of(db, origin))
        if log is None or not log.sealed:
            raise web.HTTPNotFound(text="this log is not here\n")
        return log

    async def _tile(self, request: web.Request) -> web.Response:
        log, level = await self._log(request), request.match_info["level"]
        if not _LEVEL.fullmatch(level) or int(level) > _LEVEL_MAX:
            raise web.HTTPNotFound(text="there is no such level\n")
        number, width = _span(request, log.sealed >> tree.TILE_BITS * int(level))
        found = await self._store.read(
            lambda db: tables.tiles_of(db, log.number)(int(level), number)
        )
        body = found[: width * tree.HASH_BYTES]
        return web.Response(body=body, headers={"Content-Type": _BYTES, **_FOR_EVER})

    async def _entries(self, request: web.Request) -> web.Response:
        log = await self._log(request)
        number, width = _span(request, log.sealed)
        first = number * tree.TILE_HASHES
        found = await self._store.read(lambda db: tables.page(db, log.number, first, first + width))
        body = b"".join(len(one).to_bytes(2, "big") + one for one in found)
        response = web.Response(body=body, headers={"Content-Type": _BYTES, **_FOR_EVER})
        response.enable_compression()
        return response

    async def _cosign(self, request: web.Request) -> web.Response:
        if self._cosigning >= COSIGNING_MAX:
            text = "too many ask at once: try again in some seconds\n"
            raise web.HTTPServiceUnavailable(text=text, headers={"Retry-After": "5"})
        self._cosigning += 1
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.read()
            reply = await self._witness.add_checkpoint(body, self._peers(), by_log=False)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the request did not come in time\n") from None
        finally:
            self._cosigning -= 1
        headers = {"Content-Type": reply.content_type}
        return web.Response(status=reply.status, body=reply.body.encode(), headers=headers)

    async def _witnessed(self, request: web.Request) -> web.Response:
        wanted = request.match_info["hash"]

        def find(db: Connection) -> str | None:
            for origin, note in tables.all_witnessed(db):
                if hashlib.sha256(origin.encode()).hexdigest() == wanted:
                    return note
            return None

        found = await self._store.read(find)
        if found is None:
            raise web.HTTPNotFound(text="no checkpoint of this log was cosigned here\n")
        return web.Response(body=found.encode(), headers={"Content-Type": TEXT_TYPE, **_FRESH})


def _span(request: web.Request, count: int) -> tuple[int, int]:
    """Which tile is asked for, and how wide; there are `count` hashes at its level. 404."""
    path, partial, width_text = request.match_info["tile"].partition(".p/")
    digits = path.replace("x", "").replace("/", "")
    canonical = _NUMBER.fullmatch(path) and not path.startswith("x000/")
    if not canonical or (partial and not _WIDTH.fullmatch(width_text)) or len(digits) > 18:
        raise web.HTTPNotFound(text="there is no such tile\n")
    number, width = int(digits), int(width_text) if partial else tree.TILE_HASHES
    if (partial and width >= tree.TILE_HASHES) or number * tree.TILE_HASHES + width > count:
        raise web.HTTPNotFound(text="there is no such tile, or not yet\n")
    return number, width
