"""Certificates: made of a store, and what a bad one gets."""

import json
from base64 import b64encode

import notary_checker as checker
import pytest
from notary_samples import (
    ALPHA,
    BETA,
    DELTA,
    GAMMA,
    SECONDS,
    begun,
    certificate,
    entry,
    keys_of,
    log_key,
    opened,
    sealed,
    stamp_of,
    stamped,
    standard,
    vkeys_of,
    witness_key,
    written,
)

from dc.system import SystemDatabases
from notary import note, tables
from notary.certificate import (
    CERTIFICATE_BYTES_MAX,
    Policy,
    certificate_of,
    read_certificate,
    timestamp_text,
    verify,
)
from notary.entries import read_entry
from notary.errors import CertificateRefused
from notary.store import open_store

KEYS = keys_of(ALPHA, BETA, GAMMA)
VKEYS = vkeys_of(ALPHA, BETA, GAMMA)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The standard log, and the same one with another history of DELTA's."""
    with opened(tmp_path_factory.mktemp("certificates") / "log.db") as db:
        standard(db)
        sealed(db, DELTA, begun(db, DELTA, 4), 4, BETA, GAMMA)
        yield db


@pytest.fixture
def good(stores) -> bytes:
    found = certificate(stores)
    assert found is not None
    return found


def reason_of(data: bytes, policy: Policy | None = None) -> str:
    with pytest.raises(CertificateRefused) as refused:
        verify(data, policy or Policy(KEYS))
    assert str(refused.value), "a text says why"
    return refused.value.reason


# -- made ---------------------------------------------------------------------------------------


async def test_made_and_verified_by_both(tmp_path):
    store = await open_store(tmp_path / "log.db", SystemDatabases())
    await store.act(standard)
    data = await store.read(certificate)
    assert data == await store.read(certificate)
    await store.close()
    found = verify(data, Policy(KEYS, 2, "photos", "käse/1.jpg"))
    line = entry(ALPHA, 1)
    assert found.entry == read_entry(line) and found.position == 1 and found.size == 5
    assert found.origin == f"farshore/{ALPHA.dc_id}" and found.unknown == []
    assert set(found.witnesses) == {(witness_key(one).name, SECONDS + 5) for one in (BETA, GAMMA)}
    assert [(one.kind, one.size, one.data) for one in found.timestamps] == [
        ("opentimestamps", 5, b"a timestamp of five"),
        ("rfc3161", 3, b"a timestamp of three"),
    ]
    first = found.timestamps[0]
    assert first.body == note.body_of(found.origin, 5, first.root)
    assert checker.verify_certificate(data, VKEYS, 2) == json.loads(line)


def test_the_shape_is_the_documented_one(good):
    parts = json.loads(good)
    assert list(parts) == ["farshore_certificate", "entry", "index", "statements"]
    assert parts["entry"].encode() == entry(ALPHA, 1)
    assert [list(one) for one in parts["statements"]] == [["checkpoint", "proof", "timestamps"]] * 2
    notes = [one["checkpoint"].split("\n") for one in parts["statements"]]
    assert [lines[1] for lines in notes] == ["5", "3"]
    assert written(parts) == good


def test_every_entry_of_every_small_log(tmp_path):
    with opened(tmp_path / "log.db") as db:
        log = begun(db)
        for size in range(1, 20):
            log = sealed(db, ALPHA, tables.append(db, log, [entry(ALPHA, size - 1)]), size, BETA)
        for size in (256, 257, 300):
            more = [entry(ALPHA, number) for number in range(log.size, size)]
            log = sealed(db, ALPHA, tables.append(db, log, more), size)
        for number in (*range(20), 255, 256, 299):
            data = certificate(db, number)
            found = verify(data, Policy(KEYS))
            assert checker.verify_certificate(data, VKEYS) == json.loads(entry(ALPHA, number))
            assert found.position == number
            earliest = number + 1 if number < 19 else 256
            assert found.size == {256: 257, 299: 300}.get(number, earliest)


def test_the_same_store_gives_the_same_bytes(tmp_path, good):
    """Also one to which signatures and timestamps came in another order, as to a mirror."""
    with opened(tmp_path / "log.db") as db:
        log = begun(db, count=7)
        stamped(db, ALPHA, log, 5, "opentimestamps", b"a timestamp of five")
        log = sealed(db, ALPHA, log, 5, GAMMA)
        log = sealed(db, ALPHA, log, 5, BETA)
        log = sealed(db, ALPHA, log, 3, BETA)
        stamped(db, ALPHA, log, 3, "rfc3161", b"a timestamp of three")
        assert certificate(db) == good
    with opened(tmp_path / "second.db") as db:
        log = begun(db, count=7)
        head = tables.checkpoint_at
        log = sealed(db, ALPHA, log, 3, BETA)
        five = sealed(db, ALPHA, log, 5)
        plain = head(db, log.number, 5)
        db.execute("DELETE FROM checkpoints WHERE size = 5")
        lines = [note.cosign(one, plain, SECONDS + 5) for one in (GAMMA, BETA)]
        for order in (lines, lines[::-1]):
            unsorted = plain._replace(signatures=(plain.signatures[0], *order, lines[0]))
            tables.put_checkpoint(db, five, unsorted)
            stamped(db, ALPHA, log, 3, "rfc3161", b"a timestamp of three")
            stamped(db, ALPHA, log, 5, "opentimestamps", b"a timestamp of five")
            assert certificate(db) == good
            db.execute("DELETE FROM checkpoints WHERE size = 5")


def test_there_is_none_before_a_checkpoint(stores):
    place = tables.place_of(stores, stamp_of(ALPHA, 5))
    assert place is not None and not place.is_sealed
    assert certificate_of(stores, place) is None
    assert certificate_of(stores, tables.place_of(stores, stamp_of(ALPHA, 4))) is not None


def test_the_earliest_of_the_best_checkpoints(tmp_path):
    with opened(tmp_path / "log.db") as db:
        log = sealed(db, ALPHA, begun(db, count=9), 2)
        assert verify(certificate(db), Policy(KEYS)).size == 2
        log = sealed(db, ALPHA, log, 4, BETA)
        log = sealed(db, ALPHA, log, 5, GAMMA)
        assert verify(certificate(db), Policy(KEYS)).size == 4
        sealed(db, ALPHA, log, 9, GAMMA, BETA)
        assert verify(certificate(db), Policy(KEYS)).size == 9
        sealed(db, ALPHA, log, 5, BETA)
        assert verify(certificate(db), Policy(KEYS)).size == 5


def test_a_timestamp_whose_checkpoint_is_not_there_is_left_out(tmp_path):
    with opened(tmp_path / "log.db") as db:
        log = begun(db, count=3)
        stamped(db, ALPHA, log, 2, "rfc3161", b"of a checkpoint that did not come yet")
        sealed(db, ALPHA, log, 3)
        data = certificate(db)
        assert verify(data, Policy(KEYS)).timestamps == []
        assert len(json.loads(data)["statements"]) == 1


@pytest.mark.parametrize("kind", ["removed", "enabled", "disabled"])
def test_of_other_entries(tmp_path, kind):
    line = entry(ALPHA, 0, type=kind, size=None, sha256=None, of=None)
    with opened(tmp_path / "log.db") as db:
        log = tables.append(db, begun(db), [line])
        sealed(db, ALPHA, log, 1)
        place = tables.place_of(db, stamp_of(ALPHA, 0), read_entry(line).kind)
        data = certificate_of(db, place)
    assert verify(data, Policy(KEYS)).entry.type == kind
    assert checker.verify_certificate(data, VKEYS)["type"] == kind


# -- what is asked for --------------------------------------------------------------------------

VERSION = read_entry(entry(ALPHA, 1)).version_id
POLICIES = {
    "all that it has": (Policy(KEYS, 2, "photos", "käse/1.jpg", VERSION), None),
    "another bucket": (Policy(KEYS, bucket="photo"), "other-bucket"),
    "another key": (Policy(KEYS, key="käse/2.jpg"), "other-key"),
    "another version": (Policy(KEYS, version_id="null"), "other-version"),
    "no keys": (Policy([]), "unknown-dc"),
    "an unknown datacenter": (Policy(keys_of(BETA, GAMMA)), "unknown-dc"),
    "its key as a witness only": (Policy([witness_key(ALPHA)]), "unknown-dc"),
    "its key as that of a witness": (Policy([log_key(ALPHA)._replace(kind=4)]), "unknown-dc"),
    "its name with the key of another": (
        Policy([log_key(BETA)._replace(name=log_key(ALPHA).name)]),
        "signature",
    ),
    "too many witnesses": (Policy(KEYS, 3), "witnesses"),
    "witnesses of whom no key was given": (Policy(keys_of(ALPHA, BETA), 2), "witnesses"),
    "no witnesses": (Policy([log_key(ALPHA)], 0), None),
    "the keys of logs only": (Policy([log_key(one) for one in (ALPHA, BETA)], 1), "witnesses"),
}


@pytest.mark.parametrize("what", POLICIES)
def test_what_is_asked_for(good, what):
    policy, reason = POLICIES[what]
    if reason:
        assert reason_of(good, policy) == reason
    else:
        assert verify(good, policy).position == 1


def test_unknown_witnesses_are_told(good):
    found = verify(good, Policy(keys_of(ALPHA, BETA)))
    assert found.unknown == [witness_key(GAMMA).name]
    assert [one.name for one in found.witnesses] == [witness_key(BETA).name]


def test_a_log_is_no_witness_of_itself(tmp_path):
    with opened(tmp_path / "log.db") as db:
        sealed(db, ALPHA, begun(db, count=2), 2, ALPHA, BETA)
        data = certificate(db)
    found = verify(data, Policy(KEYS, 1))
    assert [one.name for one in found.witnesses] == [witness_key(BETA).name]
    assert reason_of(data, Policy(KEYS, 2)) == "witnesses"
    with pytest.raises(checker.TooFewWitnesses):
        checker.verify_certificate(data, VKEYS, 2)


def test_a_witness_counts_once(good):
    """Whether it signs twice, or its key was given with two names."""
    parts = json.loads(good)
    head = note.read_checkpoint(parts["statements"][0]["checkpoint"])
    beta = next(one for one in head.signatures if BETA.dc_id in one.name)
    other = witness_key(BETA)._replace(name="example.com/beta")
    plain = head._replace(signatures=head.signatures[:1])
    renamed = note.cosign(BETA, plain, SECONDS)._replace(name=other.name, id=other.id)
    for lines in (
        [beta, beta],
        [beta, note.cosign(BETA, plain, SECONDS + 99)],
        [beta, renamed],
    ):
        signed = plain._replace(signatures=(*plain.signatures, *sorted(lines)))
        parts["statements"][0]["checkpoint"] = str(signed)
        assert reason_of(written(parts), Policy([*KEYS, other], 2)) in ("witnesses", "checkpoint")
        with pytest.raises(checker.TooFewWitnesses):
            checker.verify_certificate(written(parts), [*VKEYS, str(other)], 2)


# -- what a bad one gets ------------------------------------------------------------------------


def statement(parts, number=0):
    return parts["statements"][number]


def head_of(parts):
    return note.read_checkpoint(statement(parts)["checkpoint"])


def put_head(parts, head):
    statement(parts)["checkpoint"] = str(head)


def other_entry(parts, stores):
    parts["entry"] = entry(ALPHA, 1, size=15).decode()


def entry_in_other_words(parts, stores):
    parts["entry"] = parts["entry"].replace('{"v":1', '{ "v":1')


def entry_of_another_log(parts, stores):
    parts["entry"] = entry(DELTA, 1).decode()


def neighbour(parts, stores):
    parts["entry"] = entry(ALPHA, 2).decode()


def moved(parts, stores):
    parts["index"] = 2


def root_of_another(parts, stores):
    put_head(parts, head_of(parts)._replace(root=b"r" * 32))


def signed_by_another(parts, stores):
    head = head_of(parts)
    body = head.body.encode().decode()
    line = head.signatures[0]._replace(data=note.signed_text(BETA, body))
    put_head(parts, head._replace(signatures=(line, *head.witnesses)))


def not_signed(parts, stores):
    head = head_of(parts)
    put_head(parts, head._replace(signatures=head.witnesses))


def of_another_log(parts, stores):
    head = tables.checkpoint_at(stores, tables.log_of(stores, log_key(DELTA).name).number, 4)
    put_head(parts, head)


def other_cosignature(parts, stores):
    head = head_of(parts)
    line = head.witnesses[0]
    changed = line._replace(data=line.data[:-1] + bytes([line.data[-1] ^ 1]))
    put_head(parts, head._replace(signatures=(head.signatures[0], changed, head.witnesses[1])))


def other_time(parts, stores):
    head = head_of(parts)
    line = head.witnesses[0]
    later = line._replace(data=(SECONDS + 6).to_bytes(8, "big") + line.data[8:])
    put_head(parts, head._replace(signatures=(head.signatures[0], later, head.witnesses[1])))


def shorter_proof(parts, stores):
    del statement(parts)["proof"][0]


def other_timestamp(parts, stores):
    statement(parts)["timestamps"][0]["data"] = "AAAA"


def renamed_timestamp(parts, stores):
    statement(parts)["timestamps"][0]["kind"] = "rfc3161"


def moved_timestamp(parts, stores):
    one, other = (statement(parts, number)["timestamps"] for number in (0, 1))
    one[0], other[0] = other[0], one[0]


def timestamp_by_another(parts, stores):
    other = statement(parts, 1)["timestamps"][0]
    statement(parts)["timestamps"][0]["signature"] = other["signature"]


def no_statement(parts, stores):
    parts["statements"] = []


def other_order(parts, stores):
    parts["statements"].reverse()


def twice(parts, stores):
    parts["statements"].append(parts["statements"][1])


def emptied(parts, stores):
    statement(parts, 1)["timestamps"] = []


def lines_in_other_order(parts, stores):
    head = head_of(parts)
    put_head(parts, head._replace(signatures=(head.signatures[0], *head.witnesses[::-1])))


def extended(parts, stores):
    text = statement(parts)["checkpoint"]
    statement(parts)["checkpoint"] = text.replace("\n\n", "\nmore\n\n")


def another_format(parts, stores):
    parts["farshore_certificate"] = 2


def with_more(parts, stores):
    parts["more"] = 1


BAD = {
    other_entry: ("proof", checker.NotIncluded),
    entry_in_other_words: ("entry", checker.NotIncluded),
    entry_of_another_log: ("origin", checker.OtherLog),
    neighbour: ("proof", checker.NotIncluded),
    moved: ("proof", checker.NotIncluded),
    root_of_another: ("signature", checker.SignatureFalse),
    signed_by_another: ("signature", checker.SignatureFalse),
    not_signed: ("signature", checker.NotSigned),
    of_another_log: ("origin", checker.OtherLog),
    other_cosignature: ("cosignature", checker.SignatureFalse),
    other_time: ("cosignature", checker.SignatureFalse),
    shorter_proof: ("proof", checker.NotIncluded),
    other_timestamp: ("timestamp", checker.TimestampFalse),
    renamed_timestamp: ("timestamp", checker.TimestampFalse),
    moved_timestamp: ("timestamp", checker.TimestampFalse),
    timestamp_by_another: ("timestamp", checker.TimestampFalse),
    no_statement: ("checkpoint", checker.CertificateDamaged),
    other_order: ("statements", None),
    twice: ("statements", None),
    emptied: ("statements", None),
    lines_in_other_order: ("checkpoint", None),
    extended: ("checkpoint", checker.SignatureFalse),
    another_format: ("format", checker.CertificateDamaged),
    with_more: ("damaged", checker.CertificateDamaged),
}  # fmt: skip


@pytest.mark.parametrize("change", BAD, ids=lambda change: change.__name__)
def test_a_bad_certificate_gets_its_reason(stores, good, change):
    """The checker, which asks for no order, takes what is true all the same."""
    parts = json.loads(good)
    change(parts, stores)
    policy = Policy([*KEYS, *keys_of(DELTA)], 1)
    reason, error = BAD[change]
    assert reason_of(written(parts), policy) == reason
    vkeys = [str(key) for key in policy.keys]
    if error is None:
        assert checker.verify_certificate(written(parts), vkeys, 1) == json.loads(entry(ALPHA, 1))
    else:
        with pytest.raises(error):
            checker.verify_certificate(written(parts), vkeys, 1)


def test_a_timestamp_of_another_log_or_size_is_refused(stores, good):
    """What the log signs of a timestamp is bound to the checkpoint."""
    parts = json.loads(good)
    first = head_of(parts)
    for origin, size, root in (
        ("farshore/other", 5, first.root),
        (first.origin, 6, first.root),
        (first.origin, 5, b"r" * 32),
    ):
        text = timestamp_text(origin, size, root, "opentimestamps", b"a timestamp of five")
        signature = b64encode(note.signed_text(ALPHA, text)).decode()
        statement(parts)["timestamps"][0]["signature"] = signature
        assert reason_of(written(parts)) == "timestamp"


NOT_ONE = {
    "nothing": b"",
    "no JSON": b"x",
    "not UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "deep": b"[" * 200_000,
    "half a surrogate": b'{"farshore_certificate":1,"entry":"\\ud800","index":0,"statements":[]}',
    "too long": b" " * (CERTIFICATE_BYTES_MAX + 1),
}


@pytest.mark.parametrize("what", NOT_ONE)
def test_what_is_no_certificate(what):
    assert reason_of(NOT_ONE[what]) == "damaged"
    with pytest.raises(checker.CertificateDamaged):
        checker.verify_certificate(NOT_ONE[what], VKEYS)


def test_a_file_that_is_too_long_is_not_looked_into():
    with pytest.raises(CertificateRefused, match="too long"):
        read_certificate(NOT_ONE["too long"])


def test_a_later_format_is_told(good):
    later = good.replace(b'"farshore_certificate": 1', b'"farshore_certificate": 2')
    with pytest.raises(CertificateRefused, match="format 2") as refused:
        read_certificate(later)
    assert refused.value.reason == "format"
