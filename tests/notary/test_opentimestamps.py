"""OpenTimestamps against calendars in a process of their own."""

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from calendar_server import HEIGHT, nonce
from plugin_kit import ROOT, all_closed, checkpoint, served, settings

from notary.errors import HookFailed, NotaryRefused
from notary.note import Checkpoint
from notary.plugins import opentimestamps, ots
from notary.plugins.opentimestamps import OpenTimestamps

BODY = checkpoint().body
Make = Callable[..., OpenTimestamps]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served("calendar_server.py") as found:
        yield found


@pytest_asyncio.fixture
async def make(tmp_path: Path, port: int) -> AsyncIterator[Make]:
    made = []

    def one(*names: str) -> OpenTimestamps:
        urls = [f"http://127.0.0.1:{port}/{name}" for name in names]
        hook = opentimestamps.make(settings(tmp_path, {"calendars": urls}))
        assert hook is not None
        made.append(hook)
        return hook

    yield one
    for hook in made:
        await hook.close()
    await all_closed()


@pytest.fixture
def stamped(request: pytest.FixtureRequest) -> Checkpoint:
    """A checkpoint that is no other test's."""
    return checkpoint(root=hashlib.sha256(request.node.nodeid.encode()).digest())


async def mine(port: int, name: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(f"http://127.0.0.1:{port}/{name}/mine") as answer:
            assert answer.status == 200


async def stamp(hook: OpenTimestamps, of: Checkpoint) -> bytes:
    found = await hook.checkpoint(of)
    assert found is not None
    return found


async def refused(what: Awaitable[Any]) -> str:
    with pytest.raises(HookFailed) as caught:
        await what
    return str(caught.value)


def merkle_root(root: bytes, name: str) -> str:
    """As the calendar of that name makes it, in the order of people."""
    commitment = hashlib.sha256(root + nonce(name)).digest()
    first = hashlib.sha256(commitment + nonce(name) * 4).digest()
    return hashlib.sha256(first).digest()[::-1].hex()


async def test_first_a_promise_then_a_block(make: Make, port: int, stamped: Checkpoint) -> None:
    hook = make("anna", "bob")
    first = await stamp(hook, stamped)
    assert first.startswith(b"\x00OpenTimestamps\x00\x00Proof\x00")
    assert b"\x01\x08" + stamped.root in first, "version 1, SHA-256, and the root as it is"
    assert not hook.is_final(first)
    text = hook.explain(stamped.body, stamped.root, first)
    assert f"promised by http://127.0.0.1:{port}/anna, http://127.0.0.1:{port}/bob" in text
    assert "shows no time" in text
    assert await hook.upgrade(stamped, first) is None

    await mine(port, "bob")
    second = await hook.upgrade(stamped, first)
    assert second is not None and hook.is_final(second)
    text = hook.explain(stamped.body, stamped.root, second)
    assert f"Bitcoin block {HEIGHT + 3}, if" in text
    assert merkle_root(stamped.root, "bob") in text
    assert "not done here" in text
    assert await hook.upgrade(stamped, second) is None, "anna has no more yet"

    await mine(port, "anna")
    third = await hook.upgrade(stamped, second)
    assert third is not None
    found = ots.blocks(ots.read(third, stamped.root))
    assert found == [
        (HEIGHT + 3, merkle_root(stamped.root, "bob")),
        (HEIGHT + 4, merkle_root(stamped.root, "anna")),
    ]
    assert await hook.upgrade(stamped, third) is None


async def test_a_pool_may_promise_for_another(make: Make, port: int, stamped: Checkpoint) -> None:
    hook = make("pool", "alice")
    first = await stamp(hook, stamped)
    await mine(port, "alice")
    second = await hook.upgrade(stamped, first)
    assert second is not None and hook.is_final(second)
    assert "/alice, which is none of the calendars" in await refused(stamp(make("pool"), stamped))


async def test_one_of_several_is_enough(make: Make, stamped: Checkpoint) -> None:
    hook = make("hang", "garbage", "broken", "alice", "elsewhere")
    hook.seconds = 0.5
    data = await stamp(hook, stamped)
    assert "alice" in hook.explain(stamped.body, stamped.root, data)
    assert len(ots.pending(ots.read(data, stamped.root))) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("garbage", "gave an answer that is refused"),
        ("empty", "gave an answer that is refused"),
        ("more", "gave an answer that is refused"),
        ("deep", "gave an answer that is refused"),
        ("huge", "more than 10000 bytes"),
        ("broken", "status 502"),
        ("elsewhere", "https://calendar.example.com, which is none of the calendars"),
    ],
)
async def test_a_calendar_that_breaks(
    make: Make, name: str, reason: str, stamped: Checkpoint
) -> None:
    text = await refused(stamp(make(name), stamped))
    assert reason in text
    assert f"/{name}/digest" in text


async def test_all_who_failed_are_named(make: Make, stamped: Checkpoint) -> None:
    with pytest.raises(HookFailed) as caught:
        await stamp(make("broken", "empty"), stamped)
    assert "/broken/digest" in str(caught.value) and "/empty/digest" in str(caught.value)
    assert caught.value.retry_seconds == 0, "the other one may be asked at once"
    with pytest.raises(HookFailed) as caught:
        await stamp(make("broken"), stamped)
    assert caught.value.retry_seconds == 60


async def test_a_calendar_that_hangs_is_cut_off(make: Make, port: int, stamped: Checkpoint) -> None:
    hook, late = make("hang"), make("late-hang")
    hook.seconds = late.seconds = 0.3
    began = time.monotonic()
    assert "has not answered within" in await refused(stamp(hook, stamped))
    data = await stamp(late, stamped)
    assert "has not answered within" in await refused(late.upgrade(stamped, data))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("liar", "a Merkle root of 33 bytes"),
        ("dreamer", "a Bitcoin block that there cannot be"),
        ("late-garbage", "gave an answer that is refused"),
    ],
)
async def test_a_calendar_that_lies_later(
    make: Make, port: int, name: str, reason: str, stamped: Checkpoint
) -> None:
    honest = f"honest-{name}"
    hook = make(name, honest)
    data = await stamp(hook, stamped)
    await mine(port, name)
    assert reason in await refused(make(name).upgrade(stamped, data))
    assert await hook.upgrade(stamped, data) is None, "the honest one has just no more yet"
    await mine(port, honest)
    better = await hook.upgrade(stamped, data)
    assert better is not None and hook.is_final(better)
    assert f"block {HEIGHT + len(honest)}," in hook.explain(stamped.body, stamped.root, better)


async def test_a_promise_of_something_else_is_never_redeemed(
    make: Make, port: int, stamped: Checkpoint
) -> None:
    hook = make("other")
    data = await stamp(hook, stamped)
    await mine(port, "other")
    assert await hook.upgrade(stamped, data) is None
    assert not hook.is_final(data)


async def test_only_configured_calendars_are_asked(
    make: Make, port: int, stamped: Checkpoint
) -> None:
    data = await stamp(make("dave", "alice"), stamped)
    await mine(port, "dave")
    erin = make("erin")
    assert await erin.upgrade(stamped, data) is None, "neither of them is asked"
    assert await make("dave").upgrade(stamped, data) is not None


async def test_what_is_of_something_else(make: Make, stamped: Checkpoint) -> None:
    hook = make("alice")
    data = await stamp(hook, stamped)
    with pytest.raises(ValueError, match="something else"):
        hook.explain(BODY, ROOT, data)
    with pytest.raises(ValueError, match="something else"):
        await hook.upgrade(checkpoint(), data)
    at = data.index(stamped.root) - 1
    with pytest.raises(ValueError):
        hook.explain(stamped.body, stamped.root, data[:at] + b"\x67" + data[at + 1 :])
    with pytest.raises(ValueError, match="too long"):
        hook.explain(stamped.body, stamped.root, data + bytes(70_000))


async def test_damage_is_an_error_and_nothing_else(make: Make, stamped: Checkpoint) -> None:
    hook = make("alice", "bob")
    data = await stamp(hook, stamped)
    for at in range(len(data)):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 0x11]) + data[at + 1 :]):
            try:
                assert hook.explain(stamped.body, stamped.root, changed)
                assert at > data.index(stamped.root) + 31
            except ValueError as error:
                assert str(error)


def test_who_verifies_needs_no_calendar(tmp_path: Path) -> None:
    for options in (None, {}):
        hook = opentimestamps.make(settings(tmp_path, options, to_explain=True))
        assert hook is not None
        with pytest.raises(ValueError, match="no OpenTimestamps file"):
            hook.explain(BODY, ROOT, b"garbage")


def test_options(tmp_path: Path) -> None:
    one = "https://alice.example.com/"
    assert opentimestamps.make(settings(tmp_path, None)) is None
    hook = opentimestamps.make(settings(tmp_path, {"calendars": [one], "every": "30m"}))
    assert hook is not None
    assert (hook.checkpoint_seconds, hook.upgrade_seconds) == (1800, 600)
    for options, reason in (
        ({}, "notary.hooks.opentimestamps.calendars: give the URLs"),
        ({"calendars": one}, "Expected `array`"),
        ({"calendars": ["alice"]}, "'alice' is no URL"),
        ({"calendars": [one, one[:-1]]}, "listed twice"),
        ({"calendars": [f"{one}{each}" for each in range(9)]}, "at most 8"),
        ({"calendars": [one], "url": one}, "unknown field `url`"),
        ({"calendars": [one], "every": "1y"}, "no duration"),
    ):
        with pytest.raises(NotaryRefused) as caught:
            opentimestamps.make(settings(tmp_path, options))
        assert reason in str(caught.value)
