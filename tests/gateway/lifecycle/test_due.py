"""What is due: judged version by version, against rules said plainly, for any history of a key."""

from hypothesis import given
from hypothesis import strategies as st

from dc.names.model import Kind, Register, Registers, SweptVersion
from dc.stamps import version_id
from gateway.lifecycle.due import Action, Due, KeyJudge, Times, upload_due
from gateway.lifecycle.rules import DAY_MS, Rule

OURS, THEIRS, THIRD = "1" * 16, "2" * 16, "3" * 16
DAY = 1000
ANY = Rule("r", (), (), -1, None, 0, None, False, 0, 0, 0)


def stamp(ms: int, origin: str = OURS) -> str:
    return f"{ms:012x}0000{origin}"


def object_at(
    ms: int, origin: str = OURS, size: int = 10, registers: Registers | None = None
) -> SweptVersion:
    made = stamp(ms, origin)
    return SweptVersion("k", version_id(made), made, Kind.OBJECT, size, registers or {})


def marker_at(ms: int, origin: str = OURS) -> SweptVersion:
    made = stamp(ms, origin)
    return SweptVersion("k", version_id(made), made, Kind.DELETE_MARKER, 0, {})


def null_at(ms: int, kind: Kind = Kind.OBJECT) -> SweptVersion:
    return SweptVersion("k", "", stamp(ms), kind, 10, {})


def judged(versions: list[SweptVersion], rules: list[Rule], times: Times) -> list[Due]:
    judge = KeyJudge("k", rules, times)
    found: list[Due] = []
    for one in sorted(versions, key=lambda one: one.vid):
        found += judge.feed(one)
    return found + judge.finish()


def at(now_ms: int, day_ms: int = DAY, others: tuple[str, ...] = ()) -> Times:
    return Times(now_ms, day_ms, OURS, others)


def test_a_real_day_ends_at_midnight() -> None:
    times = at(0, DAY_MS)
    assert times.after(DAY_MS + 1, 1) == 3 * DAY_MS
    assert times.after(DAY_MS, 1) == 2 * DAY_MS
    assert at(0).after(1500, 1) == 2500


def test_the_current_object_expires_after_its_days_or_at_its_date() -> None:
    days, dated = ANY._replace(expire_days=2), ANY._replace(expire_ms=7000)
    one = object_at(5000)
    assert judged([one], [days], at(6999)) == []
    assert judged([one], [days], at(7000)) == [Due(Action.EXPIRE, one, days)]
    assert judged([one], [dated], at(6999)) == []
    assert judged([one], [dated], at(7000)) == [Due(Action.EXPIRE, one, dated)]


def test_a_rule_is_about_keys_sizes_and_tags_together() -> None:
    tagged = {"tags": Register(stamp(1), '{"a":"1","b":"2"}')}
    one, late = object_at(0, size=100, registers=tagged), at(99_000)
    rule = ANY._replace(expire_days=1, prefixes=("k",), tags=(("a", "1"), ("b", "2")), larger=99)
    assert judged([one], [rule], late)
    for other in (
        rule._replace(prefixes=("k", "l")),
        rule._replace(tags=(("a", "1"), ("b", "1"))),
        rule._replace(tags=(("c", ""),)),
        rule._replace(larger=100),
        rule._replace(smaller=100),
    ):
        assert judged([one], [other], late) == []


def test_noncurrent_versions_count_from_the_write_that_followed() -> None:
    rule = ANY._replace(noncurrent_days=2)
    old, new = object_at(0), object_at(5000)
    assert judged([old, new], [rule], at(6999)) == []
    assert judged([old, new], [rule], at(7000)) == [Due(Action.REMOVE, old, rule)]


def test_the_newest_of_those_not_current_stay() -> None:
    rule = ANY._replace(noncurrent_days=1, newer_noncurrent=2)
    versions = [object_at(ms) for ms in range(1, 6)]
    gone = judged(versions, [rule], at(99_000))
    assert [one.version for one in gone] == [versions[1], versions[0]]


def test_the_null_version_stands_where_its_time_is() -> None:
    rule = ANY._replace(noncurrent_days=1, newer_noncurrent=1)
    versions = [object_at(1000), null_at(2000), object_at(3000)]
    assert [one.version.stamp for one in judged(versions, [rule], at(99_000))] == [stamp(1000)]
    versions = [object_at(1000), object_at(2000), null_at(3000)]
    assert [one.version.stamp for one in judged(versions, [rule], at(99_000))] == [stamp(1000)]
    expire = ANY._replace(expire_days=1)
    assert [one.version.vid for one in judged(versions, [expire], at(99_000))] == [""]


def test_a_marker_that_hides_nothing_leaves() -> None:
    marker, old = marker_at(5000), object_at(0)
    by_flag, by_days = ANY._replace(markers=True), ANY._replace(expire_days=3)
    assert judged([marker], [by_flag], at(5000)) == [Due(Action.REMOVE, marker, by_flag)]
    assert judged([marker], [by_days], at(7999)) == []
    assert judged([marker], [by_days], at(8000)) == [Due(Action.REMOVE, marker, by_days)]
    assert judged([marker, old], [by_flag, by_days], at(99_000)) == []
    assert judged([marker], [by_days._replace(tags=(("a", "1"),))], at(99_000)) == []
    null = null_at(5000, Kind.DELETE_MARKER)
    assert judged([null], [by_flag], at(5000)) == [Due(Action.REMOVE, null, by_flag)]
    assert judged([null, old], [by_flag], at(5000)) == []


def test_locked_versions_stay() -> None:
    rule, new = ANY._replace(noncurrent_days=1), object_at(5000)
    for registers, stays in (
        ({"hold": Register(stamp(1), "ON")}, True),
        ({"hold": Register(stamp(1), "OFF")}, False),
        ({"retention": Register(stamp(1), '{"mode":"GOVERNANCE","until":100000}')}, True),
        ({"retention": Register(stamp(1), '{"mode":"GOVERNANCE","until":98999}')}, False),
        ({"retention": Register(stamp(1), "what?")}, True),
        ({"retention": Register(stamp(1), "{}")}, True),
        ({"retention": Register(stamp(1), "")}, False),
    ):
        old = object_at(0, registers=registers)
        assert judged([old, new], [rule], at(99_000)) == (
            [] if stays else [Due(Action.REMOVE, old, rule)]
        )


def test_the_dc_that_made_a_version_lets_it_go_and_others_step_in_later() -> None:
    rule, others = ANY._replace(expire_days=1), (THEIRS, THIRD)
    mine, foreign = object_at(0), object_at(0, THEIRS)
    assert judged([mine], [rule], at(1000, others=others))
    assert not judged([foreign], [rule], at(1999, others=others))
    assert judged([foreign], [rule], at(2000, others=others))
    third = Times(2999, DAY, THIRD, (OURS, THEIRS))
    assert not judged([foreign], [rule], third)
    assert judged([foreign], [rule], third._replace(now_ms=3000))
    stranger = object_at(0, "9" * 16)
    assert judged([stranger], [rule], at(2000, others=others))


@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.booleans()), min_size=1, max_size=8),
    st.integers(0, 4),
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 60),
)
def test_any_history(
    history: list[tuple[int, bool, bool]],
    expire: int,
    noncurrent: int,
    newer: int,
    markers: bool,
    now: int,
) -> None:
    """Against the same said about the whole list at once."""
    versions: dict[int, SweptVersion] = {}
    for ms, is_marker, is_null in history:
        if is_null and not any(one.vid == "" for one in versions.values()):
            versions[ms] = null_at(ms, Kind.DELETE_MARKER if is_marker else Kind.OBJECT)
        else:
            versions[ms] = marker_at(ms) if is_marker else object_at(ms)
    ordered = [versions[ms] for ms in sorted(versions, reverse=True)]
    rule = ANY._replace(
        expire_days=expire, noncurrent_days=noncurrent, newer_noncurrent=newer, markers=markers
    )
    times = Times(now, 10, OURS, ())
    expected = []
    for place, one in enumerate(ordered):
        made = int(one.stamp[:12], 16)
        if place == 0:
            aged = expire and made + expire * 10 <= now
            if one.kind == Kind.OBJECT and aged:
                expected.append((Action.EXPIRE, one))
            leaves = made <= now if markers else aged
            if one.kind == Kind.DELETE_MARKER and len(ordered) == 1 and leaves:
                expected.append((Action.REMOVE, one))
            continue
        newer_ones = sum(other.kind == Kind.OBJECT for other in ordered[1:place])
        since = int(ordered[place - 1].stamp[:12], 16) if place else 0
        if noncurrent and since + noncurrent * 10 <= now and newer_ones >= newer:
            expected.append((Action.REMOVE, one))
    found = judged(list(versions.values()), [rule], times)
    assert [(one.action, one.version) for one in found] == expected


def test_uploads_are_aborted_after_their_days() -> None:
    rule = ANY._replace(abort_days=2, prefixes=("a",))
    assert not upload_due("a", stamp(0), [rule], at(1999))
    assert upload_due("a", stamp(0), [rule], at(2000))
    assert not upload_due("b", stamp(0), [rule], at(9999))
    assert not upload_due("a", stamp(0), [ANY], at(9999))
