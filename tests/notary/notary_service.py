"""A notary service for tests, over TLS. `notary_service.py CERTIFICATE KEY`.

The bearer's key says what it does: `good...` takes all there is, `status:503` answers with that,
`retry:503:90` with Retry-After too, and so on. GET /seen has what was asked with a key.
"""

import asyncio
import ssl
import sys
from base64 import b64encode
from typing import Any

from aiohttp import web

seen: dict[str, list[dict[str, Any]]] = {}


async def take(request: web.Request) -> web.StreamResponse:
    key = request.headers["Authorization"].removeprefix("Bearer ")
    text = (await request.read()).decode()
    headers = {name: value for name, value in request.headers.items() if name != "Authorization"}
    seen.setdefault(key, []).append({"path": request.path, "body": text, "headers": headers})
    mode, *rest = key.split(":")
    if mode == "status":
        return web.Response(status=int(rest[0]), text=f"what about {key}?")
    if mode == "retry":
        return web.Response(status=int(rest[0]), headers={"Retry-After": rest[1]})
    if mode == "date":
        return web.Response(status=503, headers={"Retry-After": "Tue, 14 Nov 2023 22:31:00 GMT"})
    if mode == "redirect":
        raise web.HTTPTemporaryRedirect(f"https://{request.host}/elsewhere")
    if mode == "hang":
        await asyncio.sleep(60)
    if mode == "break":
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 banana\r\n" + key.encode() + b"\r\n\r\n")
        request.transport.close()
    if mode == "small" and text.count('"v":1') > int(rest[0]):
        return web.Response(status=413)
    if mode == "huge":
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(bytes(65_536))
        return response
    if mode == "answer":
        return web.Response(text=rest[0])
    if request.path.endswith("checkpoints") and mode == "good":
        return web.json_response({"receipt": b64encode(b"taken: " + key.encode()).decode()})
    return web.Response(status=202)


async def shown(request: web.Request) -> web.Response:
    return web.json_response(seen.get(request.query["key"], []))


async def main() -> None:
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/{what}", take)
    app.router.add_post("/elsewhere", take)
    app.router.add_get("/seen", shown)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(sys.argv[1], sys.argv[2])
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.sleep(300)


if __name__ == "__main__":
    asyncio.run(main())
