"""What holds between two datacenters at a moment."""

import datetime
from types import SimpleNamespace

import pytest

from dc.names.model import Peer
from dc.rates import Limit, Terms
from replicator.errors import WireError
from replicator.pace import Pace

NOON = int(datetime.datetime(2026, 11, 30, 12, tzinfo=datetime.UTC).timestamp() * 1000)
MORNING = (6 * 60, 12 * 60)
PEER = Peer(
    dc_id="1" * 16,
    name="tokyo",
    region="eu",
    endpoints=[],
    fingerprint="0" * 64,
    signing_key=b"",
    sealing_key=b"",
    paired="",
)


class Here(SimpleNamespace):
    """As much of a `Home` as a pace looks at."""

    def __init__(self, into: Limit = Limit(), out: Limit = Limit()) -> None:
        super().__init__(clock=self, network=self, zone=datetime.UTC, wall=NOON, now=0.0)
        self.terms = Terms(into, out)

    def peer(self, dc_id: str) -> Peer | None:
        return Peer(
            **{one: getattr(PEER, one) for one in PEER.__struct_fields__[:-1]}
            | {"terms": self.terms}
        )

    def narrow(self, *_: object) -> None:
        raise AssertionError("there are no connections")

    def wall_ms(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.now


def pace_of(here: Here) -> Pace:
    return Pace(here, PEER.dc_id)  # type: ignore[arg-type]


def test_windows_begin_and_end_with_the_clock_however_it_moves():
    here = Here(out=Limit(9_000).changed(2_000, [MORNING]))
    pace = pace_of(here)
    found = []
    for moment in (NOON - 1, NOON, NOON - 60_000, NOON + 18 * 3_600_000):
        here.wall = moment
        pace.look()
        found.append((pace.limit_out, pace.meter.out.rate))
    assert found == [(2_000, 2_000), (9_000, 9_000), (2_000, 2_000), (2_000, 2_000)]


def test_it_says_when_our_limits_have_changed():
    here = Here()
    pace = pace_of(here)
    assert not pace.look()
    here.terms = Terms(Limit(5_000), Limit())
    assert pace.look()
    assert not pace.look()
    assert pace.header() == "5000 0"
    assert (pace.meter.into.rate, pace.meter.out.rate) == (5_000, 0)


def test_the_lower_of_what_both_want_holds():
    pace = pace_of(Here(Limit(8_000), Limit(5_000)))
    pace.told("3000 2000")
    assert (pace.sends_at, pace.takes_at) == (3_000, 2_000)
    assert pace.meter.out.rate == 3_000
    assert pace.meter.into.rate == 8_000, "only ours is enforced here"
    pace.told("7000 0")
    assert (pace.sends_at, pace.takes_at, pace.meter.out.rate) == (5_000, 8_000, 5_000)
    pace.told(None)
    assert (pace.sends_at, pace.takes_at) == (5_000, 8_000)


def test_a_peer_cannot_ask_for_less_than_the_lowest_limit():
    pace = pace_of(Here())
    pace.told("1 1")
    assert pace.meter.out.rate == 1_000


@pytest.mark.parametrize(
    "text", ["", "1", "1 2 3", "-1 0", "1.5 0", "x 0", "1  2", "٣ 0", "9" * 30 + " 0", "0 0\n"]
)
def test_rates_that_are_none_are_refused(text: str):
    pace = pace_of(Here())
    with pytest.raises(WireError):
        pace.told(text)
    assert pace.meter.out.rate == 0


def test_a_request_may_take_longer_under_a_limit():
    pace = pace_of(Here())
    assert pace.patience(1 << 20) == 0.0
    pace.told("10000 0")
    assert pace.patience(1 << 20) > 2 * (1 << 20) / 10_000


def test_the_rate_of_the_last_seconds_is_measured():
    here = Here()
    pace = pace_of(here)
    assert pace.measured() == (0.0, 0.0)
    for _ in range(20):
        pace.sample()
        here.now += 1.0
        pace.meter.out.charge(1_000)
        pace.meter.into.charge(500)
    pace.sample()
    assert pace.measured() == (500.0, 1_000.0)
