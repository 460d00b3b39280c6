"""Real datacenters on lines that are slow, long, lossy, or one of two. `docs/networks.md` says what
is measured."""

import time
from random import Random

import pytest
from line_hour import DELAY_S, MEGABITS, play
from netns_kit import check_identical, network, settled
from netns_load import Load
from process_kit import eventually

from replicator.limits import MIB

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

SLOW_SECONDS = 20.0
SLOW_LAG_S_MAX = 8.0
"""Of small objects behind large ones, 99 of 100. Measured: 0.3 to 2 seconds, of which 0.2 are the
queue of the line."""
MEDIAN_LAG_S_MAX = 2.0
MEGABITS_MIN = 6.0
"""What is made of the line while there is enough to send."""


def test_small_objects_beside_large_ones_on_ten_megabits(tmp_path):
    """A part of what `make line-hour` does."""
    with network(tmp_path, "paris", "tokyo", delay_s=DELAY_S) as net:
        paris, tokyo = net.dcs
        settled(paris, tokyo)
        report = play(paris, tokyo, net.wires["tokyo"], SLOW_SECONDS)
    print(report)
    assert report.large >= 3 and report.small > 50, "the test tried too little"
    assert report.lag(0.5) < MEDIAN_LAG_S_MAX
    assert report.lag(0.99) < SLOW_LAG_S_MAX
    assert MEGABITS_MIN < report.megabits < MEGABITS * 1.05
    assert report.wire_bytes < report.given_bytes * 1.25


LOSS_PERCENT = 10


def test_a_tenth_of_all_packets_is_lost(tmp_path):
    body = Random(1).randbytes(4 * MIB)
    with network(tmp_path, "paris", "tokyo") as net:
        paris, tokyo = net.dcs
        line = net.wires["tokyo"]
        settled(paris, tokyo)
        before = line.went_to(tokyo)
        line.lose(LOSS_PERCENT)
        with Load(paris, tokyo, "p") as there, Load(tokyo, paris, "t") as back:
            paris.put("large", body)
            tokyo.put("large of tokyo", body)
            eventually("the bodies are there", lambda: tokyo.has("large"), 60)
            eventually("the bodies are there", lambda: paris.has("large of tokyo"), 60)
            there.arrive(20)
            back.arrive(20)
        sent = line.went_to(tokyo) - before
        assert sent.bytes > 1.05 * len(body), "it was not lost"
        print(f"lags: {max(there.lags):.2f} s, {max(back.lags):.2f} s at most")
        assert tokyo.get("large") == paris.get("large of tokyo") == body
        # Also the comparison itself goes over that line.
        check_identical(paris, tokyo, seconds=60)


FAILOVER_S = 15.0
"""Measured: 6 and 10 seconds. Without another line it is 30."""
LINE_MEGABITS = 40


def test_the_first_of_two_lines_is_cut(tmp_path):
    """A private line and the internet: what goes over the first goes on over the second, a body
    that is under way, too."""
    body = Random(1).randbytes(40 * MIB)
    with network(tmp_path, "paris", "tokyo", lanes=2) as net:
        paris, tokyo = net.dcs
        first, second = net.wires["tokyo"], net.seconds["tokyo"]
        settled(paris, tokyo)
        unused = second.went_to(tokyo).bytes
        assert unused < 10_000, "the first is to be used"
        first.slow(LINE_MEGABITS)
        second.slow(LINE_MEGABITS)
        with Load(paris, tokyo, "p") as there:
            paris.put("large", body)
            eventually("it is under way", lambda: first.went_to(tokyo).bytes > 10 * MIB)
            first.cut()
            began = time.monotonic()
            seen = len(there.lags)
            eventually("small ones come", lambda: len(there.lags) > seen + 3, FAILOVER_S)
            print(f"the second line is used after {time.monotonic() - began:.1f} s")
            assert paris.peer("tokyo")["endpoint"] == "10.77.1.2:7000"
            assert tokyo.peer("paris")["endpoint"] == "10.77.1.1:7000"
            eventually("the body is there", lambda: tokyo.has("large"), 30)
            there.arrive(FAILOVER_S)
        assert tokyo.get("large") == body
        repeated = first.went_to(tokyo).bytes + second.went_to(tokyo).bytes - len(body)
        print(f"{repeated / len(body):.1%} more than the body went over the wires")
        settled(paris, tokyo)
        first.heal()
        check_identical(paris, tokyo)
