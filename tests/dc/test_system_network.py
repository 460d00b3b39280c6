"""The network between datacenters, as the kernel is told of it."""

import asyncio
import socket

import aiohttp
from aiohttp import web

from dc.system import GONE_SECONDS, SystemNetwork


async def test_the_kernel_finds_out_that_the_other_end_of_a_connection_is_gone() -> None:
    """Who only takes would notice nothing; `tests/processes/test_networks.py` has it happen."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response()

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(web.Server(answer), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    opened = []
    connector = SystemNetwork().connector(opened.append)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://127.0.0.1:{port}/"),
    ):
        assert opened[0].transport is not None
        found = opened[0].transport.get_extra_info("socket")
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, each, count = (
            found.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle > 10, "streams say something every ten seconds: nothing is asked meanwhile"
        assert idle + each * count == GONE_SECONDS < 20
    listener.close()
