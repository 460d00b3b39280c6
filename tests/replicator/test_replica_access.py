"""The peer listener's door: who is let in, and what the others see."""

import asyncio
import ssl
from pathlib import Path

import aiohttp
import msgspec
import pytest
from replica_kit import Dc, datacenters, eventually, pair, settled
from replica_proxy import Proxy

import replicator.link
from dc.names.api import NamesFull
from replicator import messages, wire
from replicator.client import PeerClient
from replicator.errors import Unreachable
from tokens.access import issue_access
from tokens.identity import Identity

PATHS = ["feed", "body", "entry", "ack", "state", "pair", "", "../v2/state", "%2e%2e", "metrics"]
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]


def session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False))


async def ask(
    dc: Dc, method: str, path: str, headers: list[tuple[str, str]], body: bytes = b""
) -> tuple[int, bytes, dict[str, str]]:
    async with session() as client:
        url = f"https://127.0.0.1:{dc.port}/v2/{path}"
        async with client.request(method, url, headers=headers, data=body) as response:
            shown = {k: v for k, v in response.headers.items() if k != "Date"}
            return response.status, await response.read(), shown


def bearer(identity: Identity, audience: str, now: int, dc: Dc) -> list[tuple[str, str]]:
    token = issue_access(identity, audience, now, dc.randomness.token)
    return [("Authorization", f"Bearer {token}")]


async def test_everything_is_the_same_403_without_a_token(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris") as (paris,):
        answers = set()
        for method in METHODS:
            for path in PATHS:
                status, body, headers = await ask(paris, method, path, [])
                answers.add((status, body, tuple(sorted(headers))))
        assert {status for status, _, _ in answers} == {403}
        assert {body for _, body, _ in answers} == {b""}


async def test_wrong_tokens(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo", "austin") as (paris, tokyo, austin):
        await pair(paris, tokyo)
        now = paris.clock.wall_ms() // 1000
        good = bearer(tokyo.identity, paris.dc_id, now, tokyo)
        assert (await ask(paris, "GET", "state", good))[0] == 200
        text = good[0][1]
        wrong = {
            "of a stranger": bearer(austin.identity, paris.dc_id, now, austin),
            "for another DC": bearer(tokyo.identity, austin.dc_id, now, tokyo),
            "our own": bearer(paris.identity, paris.dc_id, now, paris),
            "expired": bearer(tokyo.identity, paris.dc_id, now - 400, tokyo),
            "from the future": bearer(tokyo.identity, paris.dc_id, now + 400, tokyo),
            "altered": [("Authorization", text[:-2] + ("AA" if text[-2:] != "AA" else "BB"))],
            "twice": good * 2,
            "of another scheme": [("Authorization", text.replace("Bearer", "Basic"))],
            "a pairing token": [
                ("Authorization", f"Bearer {paris.replicator.issue_token().token}")
            ],
            "empty": [("Authorization", "Bearer ")],
            "long": [("Authorization", "Bearer " + "v4.public." + "A" * 7000)],
        }
        for what, headers in wrong.items():
            status, body, _ = await ask(paris, "GET", "state", headers)
            assert (status, body) == (403, b""), what


async def test_bad_requests_of_a_peer(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        version = await paris.put(bucket, "k", b"hello")
        good = bearer(tokyo.identity, paris.dc_id, paris.clock.wall_ms() // 1000, tokyo)

        def body_ask(start: int, stop: int, stamp: str = version.stamp) -> str:
            asked = messages.BodyAsk(bucket.id, "k", "", stamp, start, stop)
            return "body?ask=" + messages.encode_ask(asked)

        older, newer = "0" * 32, "f" * 32
        for path, status in {
            "feed": 400,
            "feed?ask=": 400,
            "feed?ask=AAAA": 400,
            "feed?ask=k6FhAZA&ask=k6FhAZA": 400,
            body_ask(0, 5): 200,
            body_ask(0, 6): 400,
            body_ask(3, 3): 400,
            body_ask(4, 2): 400,
            body_ask(0, 5, older): 404,
            body_ask(0, 5, newer): 409,
            "entry?ask=" + messages.encode_ask(messages.EntryAsk("other", 1)): 404,
            "entry?ask=" + messages.encode_ask(messages.EntryAsk(paris.names.epoch, 10**9)): 404,
            "entry?ask=" + messages.encode_ask(messages.EntryAsk(paris.names.epoch, 0)): 404,
            "nothing": 404,
        }.items():
            assert (await ask(paris, "GET", path, good))[0] == status, path
        assert (await ask(paris, "POST", "ack", good, b"x"))[0] == 400
        assert (await ask(paris, "POST", "ack", good, bytes(100_000)))[0] == 400
        await settled(paris, tokyo)
        position = paris.peer(tokyo).our_acked
        for epoch, number in (("other", 1), (paris.names.epoch, 10**9)):
            beyond = messages.encode_body(messages.Ack(epoch=epoch, position=number))
            assert (await ask(paris, "POST", "ack", good, beyond))[0] == 204
            assert paris.peer(tokyo).our_acked == position


async def test_tls_is_1_3_and_pinned(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo", "austin") as (paris, tokyo, austin):
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", paris.port, ssl=old)
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        peer = next(one for one in tokyo.names.peers())
        client = PeerClient(
            tokyo.replicator._home, _replaced(peer, endpoints=[f"127.0.0.1:{austin.port}"])
        )
        with pytest.raises(Unreachable, match="certificate is not the one"):
            await client.state()
        await client.close()


def _replaced(peer, **fields):
    return type(peer)(**{n: getattr(peer, n) for n in peer.__struct_fields__} | fields)


async def test_a_removed_peer_is_out_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        good = bearer(tokyo.identity, paris.dc_id, paris.clock.wall_ms() // 1000, tokyo)
        assert (await ask(paris, "GET", "state", good))[0] == 200
        attempts = 0
        run = replicator.link.Consumer.run

        async def counted(self):
            nonlocal attempts
            attempts += 1
            await run(self)

        monkeypatch.setattr(replicator.link.Consumer, "run", counted)
        await paris.replicator.remove_peer(tokyo.dc_id)
        assert (await ask(paris, "GET", "state", good))[0] == 403
        await paris.put(bucket, "secret", b"not for tokyo")
        await eventually(lambda: tokyo.peer(paris).state == "REFUSED")
        assert "removed this DC" in tokyo.peer(paris).last_error
        assert tokyo.peer(paris).retry_seconds > 30
        await asyncio.sleep(0.5)
        assert attempts <= 2
        assert await tokyo.get(bucket, "secret") is None
        assert paris.replicator.status().peers == []
        # The other side can go as well, and both can pair anew.
        await tokyo.replicator.remove_peer(paris.dc_id)
        await pair(tokyo, paris)
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "secret") == b"not for tokyo"


async def test_a_dead_peer_can_be_removed(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await tokyo.down()
        await paris.replicator.remove_peer(tokyo.dc_id)
        assert paris.names.peers() == []
        assert await paris.names.cursor(tokyo.dc_id) is None
        await tokyo.up()
        await eventually(lambda: tokyo.peer(paris).state == "REFUSED")


async def test_nothing_is_readable_on_the_wire(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        proxy = Proxy(recording=True)
        await proxy.start()
        proxy.target = paris.port
        paris.advertised = [f"127.0.0.1:{proxy.port}"]
        try:
            await pair(paris, tokyo)
            made = await paris.accounts.add_user("canary@example.com")
            bucket = await paris.bucket("canary-bucket")
            await paris.put(bucket, "canary-key", b"canary-body")
            await settled(paris, tokyo)
            assert tokyo.accounts.lookup(made.key_id) is not None
            assert len(proxy.seen) > 1000
            for canary in (b"canary", made.secret.encode(), made.key_id.encode(), b"v4.public"):
                assert canary not in proxy.seen
        finally:
            await proxy.stop()


async def test_secrets_are_sealed_inside_the_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also who could read the channel would not have the secret."""
    frames = []
    decode = wire.decode_frame
    monkeypatch.setattr(wire, "decode_frame", lambda body: frames.append(body) or decode(body))
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        made = await paris.accounts.add_user("ann@example.com")
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        sent = b"".join(frames)
        assert made.key_id.encode() in sent
        assert made.secret.encode() not in sent
        at_rest = paris.names.directory.key(made.key_id)
        assert at_rest is not None and at_rest.secret not in sent


async def test_a_removal_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()

        async def full(_dc_id: str) -> None:
            raise NamesFull("the name server's disk is full")

        monkeypatch.setattr(tokyo.names, "remove_peer", full)
        with pytest.raises(NamesFull):
            await tokyo.replicator.remove_peer(paris.dc_id)
        await paris.put(bucket, "k", b"later")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "k") == b"later"


async def test_a_pairing_call_that_is_cut_off_stops_no_stream(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        known = tokyo.names.peers()[0]
        oslo = msgspec.structs.replace(known, dc_id="f" * 16, name="oslo", endpoints=["[::1]:1"])
        await tokyo.names.add_peer(oslo)
        # All links are opened anew for a new peer: the caller goes away in the middle of that.
        refresh = asyncio.create_task(tokyo.replicator._peers.refresh())
        for _ in range(3):
            await asyncio.sleep(0)
        refresh.cancel()
        await asyncio.gather(refresh, return_exceptions=True)
        await paris.put(bucket, "k", b"later")

        async def arrived() -> bool:
            return await tokyo.get(bucket, "k") == b"later"

        await eventually(arrived)
        await eventually(lambda: tokyo.peer(paris).state in ("STREAMING", "IDENTICAL"))
        assert [peer.name for peer in tokyo.replicator.status().peers] == ["oslo", "paris"]
