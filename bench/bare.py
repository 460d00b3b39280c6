"""The least that a server in Python can do: aiohttp's low-level server on uvloop, no checks, no
storage. `python -m bench.bare PORT`. It reads what is PUT and answers 4 KiB to a GET."""

import asyncio
import gc
import sys

import uvloop
from aiohttp import web

BODY = bytes(range(256)) * 16


async def _handle(request: web.BaseRequest) -> web.Response:
    if request.method == "PUT":
        await request.read()
        return web.Response(headers={"ETag": '"0"'})
    return web.Response(body=BODY, headers={"ETag": '"0"'})


async def serve(port: int) -> None:
    """Serve on loopback until killed; prints a line when it listens."""
    server = web.Server(_handle, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", port)
    gc.freeze()
    print("ready", flush=True)
    await listener.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
