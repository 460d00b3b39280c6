"""What a write says that it had seen, and what follows from it."""

from names_kit import PARIS, TOKYO, stamp_at

from dc.names.seen import DCS_MAX, INFERRED, history, is_seen, saw, stamps_in

OSLO = "3" * 16


def test_its_own_dc_is_implied() -> None:
    assert saw(stamp_at(2), "", stamp_at(1))
    assert not saw(stamp_at(1), "", stamp_at(2))
    assert not saw(stamp_at(2), "", stamp_at(1, origin=TOKYO))


def test_a_stamp_of_another_dc_stands_for_all_before_it() -> None:
    seen = stamp_at(5, origin=TOKYO)
    assert saw(stamp_at(9), seen, stamp_at(4, origin=TOKYO))
    assert saw(stamp_at(9), seen, stamp_at(5, origin=TOKYO))
    assert not saw(stamp_at(9), seen, stamp_at(6, origin=TOKYO))
    assert not saw(stamp_at(9), seen, stamp_at(4, origin=OSLO))


def test_a_conclusion_has_seen_nothing() -> None:
    assert not saw(stamp_at(9), INFERRED, stamp_at(1))
    assert stamps_in(INFERRED) == []


def test_history_is_the_last_of_each_other_dc() -> None:
    tokyo, oslo = stamp_at(5, origin=TOKYO), stamp_at(1, origin=OSLO)
    writes = [(tokyo, oslo), (stamp_at(3, origin=TOKYO), ""), (stamp_at(7), INFERRED)]
    assert history(PARIS, writes) == tokyo + oslo
    assert is_seen(history(PARIS, writes))


def test_of_very_many_dcs_the_latest_are_kept() -> None:
    many = [(stamp_at(number, origin=f"{number:016x}"), "") for number in range(1, 100)]
    seen = history("f" * 16, many)
    assert is_seen(seen), "every peer takes it"
    assert len(stamps_in(seen)) == DCS_MAX
    assert saw(stamp_at(200, origin="f" * 16), seen, many[-1][0])
    assert not saw(stamp_at(200, origin="f" * 16), seen, many[0][0])


def test_ill_formed() -> None:
    one, two = stamp_at(1), stamp_at(1, origin=TOKYO)
    assert is_seen("") and is_seen(one + two)
    for text in (two + one, one + one, one[:-1], one.upper()[:-1] + "G", "--"):
        assert not is_seen(text), text
