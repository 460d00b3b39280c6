"""Real datacenters and networks that are cut, in one direction or both, for a while or again and
again; and peers that are there and do not answer. `docs/networks.md` says what is measured."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from random import Random

import pytest
from netns_kit import PEER_PORT, Net, NetDc, check_identical, network, settled
from netns_load import Load, Words
from process_kit import eventually

from dc.system import GONE_SECONDS
from replicator.limits import KEEPALIVE_SECONDS, MIB, RETRY_MAX_SECONDS, SILENCE_SECONDS_MAX

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

SLACK_S = 3.0
"""For looking, on a busy machine."""
GONE_S = GONE_SECONDS + SLACK_S
"""A line that swallows everything is found dead in this time."""
NOTICED_S = SILENCE_SECONDS_MAX + SLACK_S
"""The same of a process that stands still: its machine answers."""
HEARD_ON_S = KEEPALIVE_SECONDS + NOTICED_S
"""And of a line that swallows what is sent: one more sign of life may still come."""
RECOVERED_S = RETRY_MAX_SECONDS + 4.0 + SLACK_S
"""After the line is whole, all is well again in this time: the longest pause between two attempts,
and what the kernel waits before it repeats the beginning of a connection."""
LAG_S_MAX = 3.0
"""Of small objects between datacenters that nothing is wrong with."""
WRITE_S_MAX = 3.0
"""A write needs no other datacenter."""


@pytest.fixture(scope="module")
def star(tmp_path_factory) -> Iterator[Net]:
    """paris, which is paired with tokyo and oslo."""
    with network(tmp_path_factory.mktemp("star"), "paris", "tokyo", "oslo") as net:
        yield net


@pytest.fixture
def three(star) -> Iterator[Net]:
    """The same, without faults before and after."""
    paris, *others = star.dcs
    settled(paris, *others)
    yield star
    for wire in star.wires.values():
        wire.heal()


def said_in(words: Words, seconds: float) -> None:
    """`UNREACHABLE` is said in this time."""
    after = words.until("UNREACHABLE", seconds)
    print(f"{words}: UNREACHABLE after {after:.1f} s")
    assert after < seconds


def test_a_partition_with_writes_on_both_sides(three):
    paris, tokyo, oslo = three.dcs
    line = three.wires["tokyo"]
    with contextlib.ExitStack() as stack:
        line.cut()
        loads = [
            stack.enter_context(Load(at, seen_at, label))
            for at, seen_at, label in ((paris, tokyo, "p"), (tokyo, paris, "t"), (paris, oslo, "o"))
        ]
        sides = [stack.enter_context(Words(*two)) for two in ((paris, tokyo), (tokyo, paris))]
        paris.put("both", b"of paris")
        tokyo.put("both", b"of tokyo")
        for words in sides:
            said_in(words, GONE_S)
        assert not tokyo.has("p/0") and not paris.has("t/0"), "the line was not cut"
        for words in sides:
            words.check_honest(GONE_SECONDS)
        line.heal()
        for load in loads:
            load.arrive(RECOVERED_S)
            assert load.slowest_s < WRITE_S_MAX
        assert max(loads[2].lags) < LAG_S_MAX, "what is cut must not hold up the others"
    check_identical(paris, tokyo)
    for dc in (paris, tokyo):
        listed = dc.facts("conflicts", "list")
        assert [one["key"] for one in listed] == ["both"]
        assert dc.get("both") == b"of tokyo"


def test_one_way_cuts(three):
    """At once: what paris sends to tokyo is swallowed, and what oslo sends to paris."""
    paris, tokyo, oslo = three.dcs
    with contextlib.ExitStack() as stack:
        three.wires["tokyo"].cut(tokyo)
        three.wires["oslo"].cut(paris)
        pairs = ((paris, tokyo), (tokyo, paris), (paris, oslo), (oslo, paris))
        loads = [stack.enter_context(Load(*two, f"{two[0].name}-{two[1].name}")) for two in pairs]
        deaf, hearing, deaf_too, hearing_too = (
            stack.enter_context(Words(*two))
            for two in ((tokyo, paris), (paris, tokyo), (paris, oslo), (oslo, paris))
        )
        for words in (deaf, deaf_too):
            said_in(words, GONE_S)
        for words in (hearing, hearing_too):
            said_in(words, HEARD_ON_S)
        for words in (deaf, deaf_too, hearing, hearing_too):
            words.check_honest(SILENCE_SECONDS_MAX)
        three.wires["tokyo"].heal()
        three.wires["oslo"].heal()
        for load in loads:
            load.arrive(RECOVERED_S)
            assert load.slowest_s < WRITE_S_MAX
    check_identical(paris, tokyo, oslo)


class Mute:
    """A listener that accepts connections and never answers, in a namespace."""

    def __init__(self, dc: NetDc) -> None:
        self.accepted: list[socket.socket] = []
        self._listener = dc.space.do(socket.create_server, ("0.0.0.0", PEER_PORT))
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.accepted.append(self._listener.accept()[0])

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for one in (self._listener, *self.accepted):
            one.close()


def test_peers_that_do_not_answer(tmp_path):
    """tokyo's process stands still; in oslo's place is a listener that accepts and never answers;
    rome is well, and so must be all that paris does with it."""
    with (
        network(tmp_path, "paris", "tokyo", "oslo", "rome") as net,
        contextlib.ExitStack() as stack,
    ):
        paris, tokyo, oslo, rome = net.dcs
        settled(paris, tokyo, oslo, rome)
        oslo.kill()
        mute = Mute(oslo)
        tokyo.pause()
        loads = [stack.enter_context(Load(paris, other, other.name)) for other in (tokyo, oslo)]
        well = [
            stack.enter_context(Load(*two, two[0].name)) for two in ((paris, rome), (rome, paris))
        ]
        sides = [stack.enter_context(Words(paris, other)) for other in (tokyo, oslo)]
        said_in(sides[0], NOTICED_S)
        said_in(sides[1], NOTICED_S)
        eventually("paris asks again and again", lambda: len(mute.accepted) > 2)
        assert well[0].lags and well[1].lags, "what stands still must not hold up the others"
        for words in sides:
            words.check_honest(SILENCE_SECONDS_MAX)
        mute.close()
        tokyo.go_on()
        oslo.start()
        for load in (*loads, *well):
            load.arrive(RECOVERED_S)
            assert load.slowest_s < WRITE_S_MAX
        for load in well:
            assert max(load.lags) < LAG_S_MAX
        check_identical(paris, tokyo, oslo, rome)


FLAP_S = 5.0
FLAPS = 3
RESET_S = 0.3
FLAP_MEGABITS = 32
FLAP_BYTES = 64 * MIB
EXTRA_MAX = 0.05
HEADER_BYTES = 14 + 20 + 32
"""Of a packet: Ethernet, IP, TCP."""


def test_flapping_with_a_large_body_under_way(tmp_path):
    """Up and down every 5 seconds; each second time the connections are reset, too, while they are
    busy. What came of a body is not sent again."""
    body = os.urandom(FLAP_BYTES)
    with network(tmp_path, "paris", "tokyo") as net:
        paris, tokyo = net.dcs
        line = net.wires["tokyo"]
        settled(paris, tokyo)
        line.slow(FLAP_MEGABITS)
        before = line.went_to(tokyo)
        with Load(paris, tokyo, "p") as there, Load(tokyo, paris, "t") as back:
            paris.put("large", body)
            for flap in range(FLAPS):
                time.sleep(FLAP_S / 2)
                if flap % 2 == 0:
                    line.reset()
                    time.sleep(RESET_S)
                    line.heal()
                time.sleep(FLAP_S / 2)
                line.cut()
                time.sleep(FLAP_S)
                line.heal()
            assert not tokyo.has("large"), "it came too soon: the test tried too little"
            eventually("the body is there", lambda: tokyo.has("large"), 60)
            there.arrive(RECOVERED_S)
            back.arrive(RECOVERED_S)
        assert tokyo.get("large") == body
        sent = line.went_to(tokyo) - before
        payload = sent.bytes - sent.packets * HEADER_BYTES - there.given_bytes
        extra = payload / FLAP_BYTES - 1
        print(f"{extra:.2%} more than the body went over the wire")
        assert extra < EXTRA_MAX
        check_identical(paris, tokyo)


RESETS = 8


def test_resets_of_all_connections_again_and_again(tmp_path):
    body = Random(1).randbytes(24 * MIB)
    with network(tmp_path, "paris", "tokyo") as net:
        paris, tokyo = net.dcs
        line = net.wires["tokyo"]
        settled(paris, tokyo)
        line.slow(FLAP_MEGABITS)
        with Load(paris, tokyo, "p") as there, Load(tokyo, paris, "t") as back:
            paris.put("large", body)
            for _ in range(RESETS):
                time.sleep(0.7)
                line.reset()
                time.sleep(RESET_S)
                line.heal()
            assert there.lags and back.lags, "something comes in between"
            eventually("the body is there", lambda: tokyo.has("large"), 30)
            there.arrive(RECOVERED_S)
            back.arrive(RECOVERED_S)
        assert tokyo.get("large") == body
        check_identical(paris, tokyo)
