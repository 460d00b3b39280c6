"""A timestamping authority for tests: `openssl ts -reply` behind HTTP. `tsa_server.py FOLDER`.

The path says who signs and what is wrong: /NAME/good, /NAME/wrong-imprint, /NAME/replay, and so on,
where FOLDER has NAME.pem and NAME.key.
"""

import asyncio
import sys
from pathlib import Path

from aiohttp import web

FOLDER = Path(sys.argv[1])
CNF = """
[tsa]
default_tsa = one
[one]
serial = {folder}/{name}.serial
signer_cert = {folder}/{name}.pem
signer_key = {folder}/{name}.key
{chain}
signer_digest = {digest}
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
tsa_name = yes
ess_cert_id_alg = {alg}
"""
kept: dict[str, bytes] = {}
lock = asyncio.Lock()


async def reply(name: str, query: bytes, mode: str) -> bytes:
    chain = f"certs = {FOLDER}/{name}-chain.pem" if mode == "chain" else ""
    alg, digest = ("sha1", "sha512") if mode == "old-ess" else ("sha256", "sha256")
    config = FOLDER / f"{name}-{mode}.cnf"
    config.write_text(CNF.format(folder=FOLDER, name=name, chain=chain, alg=alg, digest=digest))
    (FOLDER / "query").write_bytes(query)
    command = ["openssl", "ts", "-reply", "-config", config, "-queryfile", "query", "-out", "reply"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=FOLDER, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode:
        print(errors.decode(), file=sys.stderr)
    return (FOLDER / "reply").read_bytes()


async def handle(request: web.Request) -> web.StreamResponse:
    name, mode = request.match_info["name"], request.match_info["mode"]
    query = await request.read()
    if request.headers["Content-Type"] != "application/timestamp-query":
        raise web.HTTPUnsupportedMediaType
    headers = {"Content-Type": "application/timestamp-reply"}
    if mode.isdigit():
        headers["Retry-After"] = "120"
        return web.Response(status=int(mode), headers=headers, body=b"no")
    if mode == "redirect":
        raise web.HTTPFound(f"/{name}/good")
    if mode == "hang":
        await asyncio.sleep(60)
    if mode == "trickle":
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for _ in range(600):
            await response.write(b"0")
            await asyncio.sleep(0.1)
        return response
    if mode in ("garbage", "huge", "empty"):
        size = {"garbage": 900, "huge": 10 << 20, "empty": 0}[mode]
        return web.Response(headers=headers, body=b"\x30" * size)
    async with lock:
        if mode == "wrong-imprint":
            query = query[:24] + bytes(32) + query[56:]
        if mode == "rejected":
            # Another hash than those that are taken: SHA-512 in name.
            query = query.replace(bytes.fromhex("0304020105"), bytes.fromhex("0304020305"))
        if mode == "replay" and (answer := kept.get(name)):
            return web.Response(headers=headers, body=answer)
        answer = await reply(name, query, mode)
        kept[name] = answer
    return web.Response(headers=headers, body=answer)


async def main() -> None:
    app = web.Application()
    app.router.add_post("/{name}/{mode}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.sleep(300)


if __name__ == "__main__":
    asyncio.run(main())
