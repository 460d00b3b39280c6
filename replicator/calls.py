"""Calls that the replicator carries for other parts of the datacenter (`dc/channel.py`)."""

from collections.abc import Mapping

import structlog
from aiohttp import web

from dc.channel import Answer, CannotAnswer
from dc.names.model import Peer
from replicator.compare_server import Handler
from replicator.errors import printable

log = structlog.get_logger("replicator")


class Calls:
    """Answers by name of the call."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.routes: dict[str, Handler] = {
            name: _handler(answer) for name, answer in answers.items()
        }


def _handler(answer: Answer) -> Handler:
    async def handle(body: bytes, peer: Peer) -> web.StreamResponse:
        try:
            return web.Response(body=await answer(body, peer))
        except CannotAnswer as error:
            log.info("a call is not answered", peer=peer.name, error=printable(error))
            return web.Response(status=503)

    return handle
