"""OpenTimestamps calendars for tests, several in one process; each is a path: alice, bob and so on.

POST /NAME/digest takes in a digest, GET /NAME/timestamp/HEX has what came of it: 404 until POST
/NAME/mine, a Bitcoin block after that. Some names lie, break or hang. The bytes are written by
hand, as the format has them, and by no library.
"""

import asyncio
import hashlib

from aiohttp import web

PENDING = bytes.fromhex("83dfe30d2ef90c8e")
BITCOIN = bytes.fromhex("0588960d73d71901")
APPEND, SHA256, ATTESTATION = b"\xf0", b"\x08", b"\x00"
HEIGHT = 812_345
CONTENT_TYPE = "application/vnd.opentimestamps.v1"

mined: set[str] = set()
taken: dict[tuple[str, str], bytes] = {}


def number(value: int) -> bytes:
    """LEB128."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def with_length(data: bytes) -> bytes:
    return number(len(data)) + data


def nonce(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:8]


def promise(name: str, uri: str) -> bytes:
    """Of a digest: append the nonce, hash, pending there."""
    payload = with_length(with_length(uri.encode()))
    return APPEND + with_length(nonce(name)) + SHA256 + ATTESTATION + PENDING + payload


def block(name: str, height: int) -> bytes:
    """Of a commitment: append its sibling, hash twice, in that block."""
    payload = with_length(number(height))
    return APPEND + with_length(nonce(name) * 4) + SHA256 * 2 + ATTESTATION + BITCOIN + payload


async def submit(request: web.Request) -> web.Response:
    name, digest = request.match_info["name"], await request.read()
    url = f"http://{request.host}/{name}"
    body = promise(name, url)
    if name == "hang":
        await asyncio.sleep(60)
    if name == "broken":
        raise web.HTTPBadGateway(headers={"Retry-After": "60"})
    if name == "pool":
        body = promise(name, f"http://{request.host}/alice/")
        taken["alice", hashlib.sha256(digest + nonce(name)).hexdigest()] = digest
    elif name == "elsewhere":
        body = promise(name, "https://calendar.example.com")
    elif name == "garbage":
        body = b"\x08" * 40
    elif name == "empty":
        body = b""
    elif name == "huge":
        body = promise(name, url) + bytes(1 << 20)
    elif name == "more":
        body += b"\x00"
    elif name == "deep":
        body = SHA256 * 400 + body
    elif name == "other":
        # A promise of what it was never asked to stamp: it shows when that is redeemed.
        digest = bytes(32)
    taken[name, hashlib.sha256(digest + nonce(name)).hexdigest()] = digest
    return web.Response(body=body, content_type=CONTENT_TYPE)


async def redeem(request: web.Request) -> web.Response:
    name, commitment = request.match_info["name"], request.match_info["hex"]
    if name == "late-hang":
        await asyncio.sleep(60)
    if name not in mined or (name, commitment) not in taken:
        raise web.HTTPNotFound(text="Pending confirmation in Bitcoin blockchain")
    body = block(name, HEIGHT + len(name))
    if name == "liar":
        # It calls what is no Merkle root one.
        body = APPEND + with_length(b"x") + ATTESTATION + BITCOIN + with_length(number(HEIGHT))
    elif name == "dreamer":
        body = block(name, 1 << 40)
    elif name == "late-garbage":
        body = b"\x99"
    return web.Response(body=body, content_type=CONTENT_TYPE)


async def mine(request: web.Request) -> web.Response:
    mined.add(request.match_info["name"])
    return web.Response()


async def main() -> None:
    app = web.Application()
    app.router.add_post("/{name}/digest", submit)
    app.router.add_get("/{name}/timestamp/{hex}", redeem)
    app.router.add_post("/{name}/mine", mine)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.sleep(300)


if __name__ == "__main__":
    asyncio.run(main())
