"""Each byte and each member of a certificate: nothing of it can be changed unseen.

What can be taken away from a certificate without a trace is what it shows more: a cosignature, a
timestamp, a further checkpoint. Who needs these asks for them.
"""

import json
from collections import Counter
from collections.abc import Iterator

import notary_checker as checker
import pytest
from notary_samples import (
    ALPHA,
    BETA,
    GAMMA,
    begun,
    certificate,
    entry,
    keys_of,
    opened,
    sealed,
    stamp_of,
    stamped,
    standard,
    vkeys_of,
    witness_key,
    written,
)

from notary import tables
from notary.certificate import Policy, certificate_of, verify
from notary.errors import CertificateRefused

KEYS = keys_of(ALPHA, BETA, GAMMA)
VKEYS = vkeys_of(ALPHA, BETA, GAMMA)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    """Two entries, one witness, one timestamp."""
    with opened(tmp_path_factory.mktemp("bytes") / "log.db") as db:
        log = sealed(db, ALPHA, begun(db, count=2), 2, BETA)
        stamped(db, ALPHA, log, 2, "rfc3161", b"stamp")
        found = certificate(db)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> bytes:
    """Two statements, two witnesses, timestamps."""
    with opened(tmp_path_factory.mktemp("members") / "log.db") as db:
        standard(db)
        found = certificate(db)
        assert found is not None
        return found


def reason_of(data: bytes, policy: Policy) -> str | None:
    """None: it is taken."""
    try:
        verify(data, policy)
    except CertificateRefused as error:
        return error.reason
    return None


def other_values(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(at, with another byte there): several for each place, among them another letter of its
    kind and what ends a string."""
    for at, byte in enumerate(data):
        values = {byte ^ 1, byte ^ 0x20, byte ^ 0x80, (byte + 1) % 256, ord('"'), ord(" ")}
        for value in sorted(values - {byte}):
            yield at, data[:at] + bytes([value]) + data[at + 1 :]


def test_each_changed_byte_is_refused_when_the_witness_is_asked_for(small):
    reasons = Counter(reason_of(other, Policy(KEYS, 1)) for _, other in other_values(small))
    assert None not in reasons
    assert reasons.keys() <= {
        "damaged",
        "format",
        "entry",
        "unknown-dc",
        "checkpoint",
        "origin",
        "signature",
        "proof",
        "cosignature",
        "witnesses",
        "timestamp",
    }
    assert len(reasons) >= 10


def test_each_changed_byte_is_refused_or_makes_a_witness_unknown(small):
    """When no witness is asked for, the only bytes that may change are those that say whose the
    cosignature is: its name and its key's id (six letters of base64, with the first bit of its
    time). It counts no more then. C2SP signed-note wants such lines to be ignored."""
    name = f"\u2014 {witness_key(BETA).name} ".encode()
    first = small.index(name) + len("\u2014 ".encode())
    last = small.index(name) + len(name) + 6
    changed = set()
    for at, other in other_values(small):
        if reason_of(other, Policy(KEYS)) is None:
            changed.add(at)
            assert verify(other, Policy(KEYS)).witnesses == []
    assert changed and first <= min(changed) and max(changed) < last


def test_the_checker_refuses_each_changed_byte_too(small):
    """But for those between the members, where JSON may have more space."""
    parts = json.loads(small)
    taken = []
    for at, other in other_values(small):
        try:
            found = checker.verify_certificate(other, VKEYS, 1)
        except checker.CheckFailed:
            continue
        taken.append(at)
        assert json.loads(other) == parts and found == json.loads(entry(ALPHA, 1))
    assert {small[at : at + 1] for at in taken} <= {b" ", b"\n"}


def test_each_byte_left_out_or_put_in_is_refused(small):
    policy = Policy(KEYS, 1)
    for at in range(len(small)):
        assert reason_of(small[:at] + small[at + 1 :], policy) is not None
        for more in (b" ", b"\n", b"A", b"0", b'"', small[at : at + 1]):
            assert reason_of(small[:at] + more + small[at:], policy) is not None
        assert reason_of(small[:at], policy) == "damaged"
    assert reason_of(small + b"\n", policy) == reason_of(small + small, policy) == "damaged"


# -- members --------------------------------------------------------------------------------------


def others(value: object) -> Iterator[object]:
    """Other values in place of one."""
    yield None
    yield {}
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int):
        yield from (value + 1, value - 1, -value, -1, 0, 2**63, 10**30, str(value), value + 0.5)
    if isinstance(value, str):
        middle = len(value) // 2
        letter = "A" if value[middle : middle + 1] != "A" else "B"
        yield from (value[:middle] + letter + value[middle + 1 :], value[:-1], value[1:], "")
        yield from (value + "x", "x" + value, value + "\n", value + "=", value.swapcase(), [value])
        yield from (value[:middle] + value[middle + 1 :], value + " ", value * 2, value + "\0")
    if isinstance(value, list):
        yield from ([*value, ""], [*value, None], [*value, {}], [[*value]], value * 2)
        yield from (value[:at] + value[at + 1 :] for at in range(len(value)))
        yield from ([value[at], *value] for at in range(len(value)))
        for at in range(1, len(value)):
            yield [*value[: at - 1], value[at], value[at - 1], *value[at + 1 :]]
    if isinstance(value, dict):
        yield from ({**value, "more": 1}, {**value, "v": None}, [value], list(value.items()))
        yield from ({k: v for k, v in value.items() if k != name} for name in value)
        yield from ({name: value[name], **value} for name in list(value)[1:])


def altered(value: object) -> Iterator[object]:
    """Copies of a JSON value of which one part, however deep, is another."""
    for other in others(value):
        if json.dumps(other) != json.dumps(value):
            yield other
    if isinstance(value, list):
        for at, one in enumerate(value):
            yield from ([*value[:at], other, *value[at + 1 :]] for other in altered(one))
    if isinstance(value, dict):
        for name, one in value.items():
            yield from ({**value, name: other} for other in altered(one))


def test_each_member_altered_is_refused_but_for_what_it_shows_more(large):
    """Of all alterations at all places those that are left can be counted."""
    parts = json.loads(large)
    first, second = parts["statements"]
    policy = Policy(KEYS, 1)
    reasons: Counter = Counter()
    shorter = [
        {**parts, "statements": one}
        for one in ([first], [second], [{**first, "timestamps": []}, second])
    ]
    taken = []
    for other in altered(parts):
        reason = reason_of(written(other), policy)
        reasons[reason] += 1
        if reason is None:
            taken.append(other)
    assert len(taken) == 3 and all(one in taken for one in shorter)
    assert sum(reasons.values()) > 250
    assert {"damaged", "format", "entry", "checkpoint", "statements", "proof", "timestamp"} <= set(
        reasons
    )
    whole = verify(large, policy)
    for other in taken:
        less = verify(written(other), policy)
        assert less.entry == whole.entry and set(less.timestamps) < set(whole.timestamps)


def test_each_member_of_the_entry_altered_is_refused(large):
    parts = json.loads(large)
    line = json.loads(parts["entry"])
    reasons = Counter()
    for other in altered(line):
        text = json.dumps(other, ensure_ascii=False, separators=(",", ":"))
        reasons[reason_of(written({**parts, "entry": text}), Policy(KEYS))] += 1
    assert None not in reasons
    assert reasons.keys() == {"entry", "proof", "unknown-dc"}
    assert min(reasons.values()) > 5


def test_the_same_json_in_other_words_is_refused(large):
    """It has one text."""
    parts = json.loads(large)
    policy = Policy(KEYS)
    assert reason_of(written(parts), policy) is None
    for text in (
        json.dumps(parts),
        json.dumps(parts, indent=1) + "\n",
        json.dumps(parts, indent=1, ensure_ascii=False),
        json.dumps(parts, indent=2, ensure_ascii=False) + "\n",
        json.dumps(parts, ensure_ascii=False, separators=(",", ":")),
        json.dumps(parts, indent=1, ensure_ascii=False, sort_keys=True) + "\n",
        "\ufeff" + large.decode(),
        large.decode().replace("\n", "\r\n"),
        large.decode().replace('"index": 1', '"index": 1.0'),
        large.decode().replace('"index": 1', '"index": 1e0'),
        large.decode().replace('"index": 1', '"index": 1,\n "index": 1'),
        large.decode().replace("photos", "phot\\u006fs"),
        large.decode().replace("/", "\\/"),
    ):
        assert text.encode() != large
        assert reason_of(text.encode(), policy) == "damaged"


def test_of_a_certificate_with_many_hashes_none_may_be_missing(tmp_path):
    with opened(tmp_path / "log.db") as db:
        sealed(db, ALPHA, begun(db, count=300), 300)
        data = certificate_of(db, tables.place_of(db, stamp_of(ALPHA, 77)))
    parts = json.loads(data)
    hashes = parts["statements"][0]["proof"]
    assert len(hashes) == 9 and reason_of(data, Policy(KEYS)) is None
    for other in altered(hashes):
        parts["statements"][0]["proof"] = other
        assert reason_of(written(parts), Policy(KEYS)) in ("proof", "damaged")
