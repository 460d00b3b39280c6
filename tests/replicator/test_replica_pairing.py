"""Pairing: one token, both sides; and all the tokens that must not work.

One of them is that of before, sent again: Ceph CVE-2018-1128, CVE-2020-25660.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from replica_kit import Dc, SkewedClock, datacenters, eventually, pair, settled

from replicator import messages
from replicator.errors import PairingError
from tokens import exchange, pairing
from tokens.errors import TokenError, TokenExpired, TokenMalformed


async def test_both_sides_show_the_same(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        issued = paris.replicator.issue_token(600)
        assert issued.expires_at - paris.clock.wall_ms() // 1000 in (599, 600)
        report = await tokyo.replicator.join(f"  {issued.token}\n")
        assert report.complete and report.peer.name == "paris"
        offer = pairing.read(issued.token, paris.clock.wall_ms() // 1000)
        assert report.short_code == pairing.short_code(
            tokyo.identity.public.signing_key, paris.identity.public.signing_key, offer.jti
        )
        assert len(report.steps) == 7 and "paris" in report.steps[0].text
        assert [peer.name for peer in paris.names.peers()] == ["tokyo"]
        assert [peer.name for peer in tokyo.names.peers()] == ["paris"]
        codes = {peer.code for dc in (paris, tokyo) for peer in dc.names.peers()}
        assert codes == {report.short_code}


async def test_pairing_survives_a_restart(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        for dc in (paris, tokyo):
            await dc.down()
            await dc.up()
        bucket = await paris.bucket()
        await paris.put(bucket, "k", b"v")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "k") == b"v"


def altered(token: str) -> str:
    middle = len(token) // 2
    return token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]


def later(dc: Dc, seconds: int) -> None:
    dc.clock.skew_ms = seconds * 1000


BAD: dict[str, tuple[Callable[[str], str], type[Exception]]] = {
    "altered": (altered, TokenError),
    "cut short": (lambda token: token[:-9], TokenError),
    "half": (lambda token: token[:40], TokenMalformed),
    "empty": (lambda token: "", TokenMalformed),
    "something else": (lambda token: "https://paris.example/", TokenMalformed),
    "long": (lambda token: token * 50, TokenMalformed),
}


@pytest.mark.parametrize("what", sorted(BAD))
async def test_bad_tokens(tmp_path: Path, what: str) -> None:
    change, error = BAD[what]
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        with pytest.raises(error):
            await tokyo.replicator.join(change(paris.replicator.issue_token().token))
        assert paris.names.peers() == tokyo.names.peers() == []


async def test_expired(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        token = paris.replicator.issue_token(60).token
        later(tokyo, 200)
        with pytest.raises(TokenExpired):
            await tokyo.replicator.join(token)
        # Also when only the issuer's clock says so.
        later(tokyo, 0)
        later(paris, 200)
        with pytest.raises(PairingError, match="does not accept the token"):
            await tokyo.replicator.join(token)
        assert paris.names.peers() == tokyo.names.peers() == []


async def test_used(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo", "austin") as (paris, tokyo, austin):
        token = paris.replicator.issue_token().token
        await tokyo.replicator.join(token)
        with pytest.raises(PairingError, match="used already"):
            await austin.replicator.join(token)
        assert austin.names.peers() == []
        assert [peer.name for peer in paris.names.peers()] == ["tokyo"]
        # Removing who used it does not make it good again for others.
        await paris.replicator.remove_peer(tokyo.dc_id)
        with pytest.raises(PairingError, match="used already"):
            await austin.replicator.join(token)


async def test_who_was_removed_does_not_come_back_with_its_token(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        token = paris.replicator.issue_token().token
        await tokyo.replicator.join(token)
        await paris.replicator.remove_peer(tokyo.dc_id)
        await tokyo.replicator.remove_peer(paris.dc_id)
        with pytest.raises(PairingError, match="used already"):
            await tokyo.replicator.join(token)
        assert paris.names.peers() == tokyo.names.peers() == []
        await pair(paris, tokyo)


async def test_for_itself(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris") as (paris,):
        with pytest.raises(PairingError, match="issued by this DC"):
            await paris.replicator.join(paris.replicator.issue_token().token)


async def test_already_paired(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        for one, other in ((paris, tokyo), (tokyo, paris)):
            with pytest.raises(PairingError, match=f"{one.name} .* already paired"):
                await other.replicator.join(one.replicator.issue_token().token)
        await settled(paris, tokyo)


async def test_names_that_clash(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with (
        datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo),
        datacenters(tmp_path / "other", "paris", "tokyo") as (paris2, tokyo2),
    ):
        with pytest.raises(PairingError, match="both DCs are called 'paris'"):
            await paris2.replicator.join(paris.replicator.issue_token().token)
        await pair(paris, tokyo)
        # The joiner knows another tokyo.
        with pytest.raises(PairingError, match="the name 'tokyo' is known already"):
            await paris.replicator.join(tokyo2.replicator.issue_token().token)
        # The issuer knows another tokyo, and says so.
        with pytest.raises(PairingError, match=r"paris refuses: .*'tokyo' is known already"):
            await tokyo2.replicator.join(paris.replicator.issue_token().token)
        assert tokyo2.names.peers() == paris2.names.peers() == []


async def test_nobody_answers(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        paris.advertised = ["127.0.0.1:1", "[::1]:1"]
        with pytest.raises(PairingError, match="cannot be paired now"):
            await tokyo.replicator.join(paris.replicator.issue_token().token)
        paris.advertised = ["127.0.0.1:1", f"127.0.0.1:{paris.port}"]
        await pair(paris, tokyo)
        assert tokyo.peer(paris).endpoint == paris.advertised[1]


async def test_the_answer_is_lost_and_the_join_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        token = paris.replicator.issue_token().token

        def lost(*_: object) -> None:
            raise RuntimeError("power cut")

        with monkeypatch.context() as patch:
            patch.setattr(exchange, "read_answer", lost)
            with pytest.raises(RuntimeError):
                await tokyo.replicator.join(token)
        assert [peer.name for peer in paris.names.peers()] == ["tokyo"]
        assert tokyo.names.peers() == []
        await tokyo.down()
        await tokyo.up()
        report = await tokyo.replicator.join(token)
        assert report.complete
        await settled(paris, tokyo)


async def test_calls_that_were_not_invited(tmp_path: Path) -> None:
    """A request needs a token that this DC signed itself, and must name just that one."""
    async with datacenters(tmp_path, "paris", "tokyo", "austin") as (paris, tokyo, austin):
        now = paris.clock.wall_ms() // 1000
        token = paris.replicator.issue_token().token
        offer = pairing.read(token, now)
        other = pairing.read(paris.replicator.issue_token().token, now)
        own = pairing.issue(tokyo.identity, paris.own(paris.port), now=now, jti="a" * 32)
        place = tokyo.own(tokyo.port)
        good = exchange.issue_request(tokyo.identity, place, offer, now=now)
        forged = dataclasses.replace(offer, jti="a" * 32)
        cases = {
            "a token of the caller, and a request bound to it": messages.PairCall(
                offer=own,
                request=exchange.issue_request(tokyo.identity, place, forged, now=now),
            ),
            "no token": messages.PairCall(offer="", request=good),
            "a token of the caller": messages.PairCall(offer=own, request=good),
            "another token": messages.PairCall(
                offer=token,
                request=exchange.issue_request(tokyo.identity, place, other, now=now),
            ),
            "no request": messages.PairCall(offer=token, request=token),
            "altered": messages.PairCall(offer=token, request=altered(good)),
            "an old request": messages.PairCall(
                offer=token,
                request=exchange.issue_request(tokyo.identity, place, offer, now=now - 900),
            ),
        }
        accept = paris.replicator._pairing.accept
        for what, call in cases.items():
            assert await accept(messages.encode_body(call)) is None, what
        for junk in (b"", b"\xc1", b"\x80", bytes(1000)):
            with pytest.raises(Exception, match="PairCall"):
                await accept(junk)
        assert paris.names.peers() == []
        namesake = dataclasses.replace(place, name="paris")
        request = exchange.issue_request(tokyo.identity, namesake, offer, now=now)
        reply = await accept(messages.encode_body(messages.PairCall(offer=token, request=request)))
        assert reply is not None and "both DCs are called" in reply.problem
        assert paris.names.peers() == []
        reply = await accept(messages.encode_body(messages.PairCall(offer=token, request=good)))
        assert reply is not None and reply.answer
        assert austin.names.peers() == []


async def test_a_clock_far_off_is_refused_and_said(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await tokyo.down()
        assert isinstance(tokyo.clock, SkewedClock)
        later(tokyo, 3600)
        await tokyo.up()
        await eventually(lambda: tokyo.peer(paris).state == "REFUSED")
        assert "clocks differ" in tokyo.peer(paris).last_error
