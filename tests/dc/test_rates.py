"""Rates and windows: what operators write, and what holds when."""

import datetime
import zoneinfo

import msgspec
import pytest

from dc.rate_text import InvalidRate, parse_between, parse_rate, shown_between, shown_rate
from dc.rates import WINDOWS_MAX, Limit, Terms, Window, minute_of_day

NIGHT = (22 * 60, 6 * 60)
OFFICE = (8 * 60, 18 * 60)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("2MB/s", 2_000_000),
        ("2 MB", 2_000_000),
        ("1.5MB/s", 1_500_000),
        ("10KB/s", 10_000),
        ("10kB", 10_000),
        ("300KiB/s", 307_200),
        ("1GiB/s", 1 << 30),
        ("1GB", 1_000_000_000),
        ("20Mbit/s", 2_500_000),
        ("8kbit", 1_000),
        ("1000B/s", 1_000),
        ("none", 0),
    ],
)
def test_rates_are_read(text: str, rate: int):
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    [
        *("", "2", "2Mb/s", "2mb", "-2MB", "2MB/m", "2,5MB", "MB", "2 MB/s ", "1e9B", "٢MB"),
        *("999B", "0KB", "NONE", "2TB", "2000GB", "2MB/s\n", "9" * 40 + "B", "1.MB", "nan B"),
    ],
)
def test_what_is_no_rate_is_refused_with_what_would_be(text: str):
    with pytest.raises(InvalidRate, match=r"2MB/s|dc pause"):
        parse_rate(text)


@pytest.mark.parametrize("rate", [1_000, 2_000_000, 307_200, 1 << 30, 5_000_000_000, 125_000])
def test_a_rate_is_shown_as_it_can_be_read(rate: int):
    assert parse_rate(shown_rate(rate)) == rate


def test_windows_are_read():
    assert parse_between("08:00-18:00") == OFFICE
    assert parse_between("8:00-18:00") == OFFICE
    assert parse_between("22:00-24:00") == (22 * 60, 24 * 60)
    assert shown_between(*NIGHT) == "22:00-06:00"


@pytest.mark.parametrize(
    "text",
    [
        *("", "8-18", "08:00", "08:00-08:00", "00:00-24:00", "25:00-26:00", "24:00-06:00"),
        *("08:60-09:00", "08:00 - 18:00", "08:00-18:00,", "08:00-24:01", "-1:00-02:00"),
    ],
)
def test_what_is_no_window_is_refused(text: str):
    with pytest.raises(InvalidRate):
        parse_between(text)


def test_a_window_holds_from_its_start_up_to_its_end():
    limit = Limit().changed(5_000, []).changed(1_000, [OFFICE])
    rates = [limit.at(minute) for minute in (479, 480, 1_079, 1_080)]
    assert rates == [5_000, 1_000, 1_000, 5_000]


def test_a_window_goes_over_midnight():
    limit = Limit().changed(1_000, [NIGHT])
    rates = [limit.at(minute) for minute in (1_319, 1_320, 1_439, 0, 359, 360)]
    assert rates == [0, 1_000, 1_000, 1_000, 1_000, 0]


def test_a_window_lets_everything_through_when_its_rate_is_none():
    limit = Limit(rate=2_000).changed(0, [NIGHT])
    assert (limit.at(0), limit.at(720)) == (0, 2_000)


def test_of_windows_that_overlap_the_lowest_holds():
    limit = Limit().changed(9_000, [OFFICE]).changed(4_000, [(600, 660)]).changed(0, [(620, 640)])
    assert [limit.at(minute) for minute in (500, 610, 630)] == [9_000, 4_000, 4_000]


def test_the_same_window_again_has_the_new_rate():
    limit = Limit().changed(9_000, [OFFICE, OFFICE]).changed(4_000, [OFFICE])
    assert limit.windows == (Window(*OFFICE, 4_000),)


def test_a_rate_for_the_rest_leaves_windows_and_none_ends_all():
    limit = Limit().changed(9_000, [OFFICE]).changed(4_000, [])
    assert limit == Limit(4_000, (Window(*OFFICE, 9_000),))
    assert limit.changed(0, []) == Limit()


def test_windows_are_bounded():
    spans = [(minute, minute + 1) for minute in range(WINDOWS_MAX)]
    full = Limit().changed(1_000, spans)
    with pytest.raises(InvalidRate, match="17 windows"):
        full.changed(1_000, [(100, 200)])


def test_the_minute_is_that_of_the_zone_also_when_clocks_are_put_forward():
    zone = zoneinfo.ZoneInfo("Europe/Paris")
    before = datetime.datetime(2026, 3, 29, 0, 59, 59, tzinfo=datetime.UTC)
    after = before + datetime.timedelta(seconds=1)
    minutes = [minute_of_day(int(one.timestamp() * 1000), zone) for one in (before, after)]
    assert minutes == [119, 180]
    assert minute_of_day(int(before.timestamp() * 1000), datetime.UTC) == 59
    assert 0 <= minute_of_day(0, None) < 1_440


def test_terms_survive_being_stored():
    terms = Terms(Limit(1_000, (Window(1, 2, 3_000),)), Limit(), 5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(terms), type=Terms) == terms
