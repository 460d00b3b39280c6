"""Notes, keys and checkpoints: the published examples, and what is refused."""

import base64
import hashlib
from datetime import UTC, datetime

import notary_checker as c2sp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from notary_samples import (
    ALPHA,
    BETA,
    DELTA,
    GAMMA,
    SECONDS,
    keys_of,
    log_key,
    vkeys_of,
    witness_key,
)

from notary import note
from notary.errors import NoteInvalid
from notary.note import Checkpoint, Key, Signature

# C2SP signed-note, "Example".
PUBLISHED_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
PUBLISHED_NOTE = (
    "This is an example message.\n\n"
    "\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3"
    "mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# C2SP tlog-cosignature, the example at its head.
PUBLISHED_CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/"
    "Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJs"
    "X3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
ROOT = hashlib.sha256(b"a root").digest()
ALPHAS = note.sign(ALPHA, 7, ROOT)
ROOT64 = base64.b64encode(ROOT).decode()
LINE = str(ALPHAS.signatures[0])


def cosigned(*witnesses, seconds=SECONDS) -> Checkpoint:
    return ALPHAS.with_signatures([note.cosign(one, ALPHAS, seconds) for one in witnesses])


# -- the published examples ---------------------------------------------------------------------


def test_the_published_note_is_signed_by_its_key():
    key = note.read_key(PUBLISHED_KEY)
    text, _, lines = PUBLISHED_NOTE.rpartition("\n\n")
    (signature,) = note.read_signatures(lines)
    assert signature.is_by(key) and str(signature) == lines
    assert note.verifies_text(key.public, text + "\n", signature.data)
    assert not note.verifies_text(key.public, text, signature.data)
    with pytest.raises(NoteInvalid, match="three lines"):
        note.read_checkpoint(PUBLISHED_NOTE)


def test_the_published_note_to_the_checker():
    found = c2sp.read_note(PUBLISHED_NOTE.encode())
    key = c2sp.read_vkey(PUBLISHED_KEY)
    assert c2sp.signers(found, [key]) == [key]
    other = PUBLISHED_NOTE.replace("example message", "example massage")
    with pytest.raises(c2sp.SignatureFalse):
        c2sp.signers(c2sp.read_note(other.encode()), [key])


def test_the_published_checkpoint():
    found = note.read_checkpoint(PUBLISHED_CHECKPOINT)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert base64.b64encode(found.root) == b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    assert [one.name for one in found.witnesses] == ["witness.example.com/w1"]
    assert note.time_of(found.witnesses[0]) == 1679315147, "as in the text that is signed there"
    assert str(found) == PUBLISHED_CHECKPOINT
    head = c2sp.read_head(c2sp.read_note(PUBLISHED_CHECKPOINT.encode()).text)
    assert (head.origin, head.size, head.root) == (found.origin, found.size, found.root)


# -- keys ---------------------------------------------------------------------------------------


def test_keys_read_as_they_are_written():
    assert str(note.read_key(PUBLISHED_KEY)) == PUBLISHED_KEY
    for key in keys_of(ALPHA, BETA):
        assert note.read_key(str(key)) == key == note.read_key(f" {key}\n")
        assert c2sp.read_vkey(str(key)) == (key.name, key.id, key.kind, key.public)
    assert log_key(ALPHA).name == note.origin_of(ALPHA.dc_id) == f"farshore/{ALPHA.dc_id}"
    assert witness_key(ALPHA).name == f"farshore/{ALPHA.dc_id}/witness"
    assert log_key(ALPHA).dc_id == witness_key(ALPHA).dc_id == ALPHA.dc_id
    assert (log_key(ALPHA).kind, witness_key(ALPHA).kind) == (1, 4)


def test_a_key_id_is_of_the_name_the_kind_and_the_key():
    key = log_key(ALPHA)
    text = key.name.encode() + b"\n\x01" + key.public
    assert key.id == hashlib.sha256(text).digest()[:4]
    others = [key._replace(name="x"), key._replace(kind=4), log_key(BETA)]
    assert len({one.id for one in (key, *others)}) == 4


def vkey(name=b"farshore/x", material=b"\x01" + b"k" * 32, mark=None, extra="") -> str:
    mark = hashlib.sha256(name + b"\n" + material).digest()[:4].hex() if mark is None else mark
    return f"{name.decode()}+{mark}+{base64.b64encode(material).decode()}{extra}"


BAD_KEYS = {
    "empty": "",
    "a name only": "farshore/x",
    "no key": "farshore/x+530d903a",
    "no name": vkey(b""),
    "a space in the name": vkey(b"farshore x"),
    "another space": vkey("farshore\u3000x".encode()),
    "a control character": vkey(b"far\x7fshore"),
    "a key id in capitals": vkey().replace(vkey().split("+")[1], vkey().split("+")[1].upper()),
    "another key id": vkey(mark="00000000"),
    "no key id": vkey(mark=""),
    "another kind": vkey(material=b"\x02" + b"k" * 32),
    "a short key": vkey(material=b"\x01" + b"k" * 31),
    "a long key": vkey(material=b"\x01" + b"k" * 33),
    "no material": vkey(material=b""),
    "not base64": vkey(extra="!"),
    "base64 that goes on": vkey(extra="===="),
    "base64 with other bits at its end": vkey(material=b"\x01" + b"k" * 31 + b"\0")[:-2] + "B=",
    "another name": vkey().replace("farshore/x", "farshore/y"),
}


@pytest.mark.parametrize("what", BAD_KEYS)
def test_a_bad_key_is_refused(what):
    with pytest.raises(NoteInvalid):
        note.read_key(BAD_KEYS[what])
    if what != "a control character":  # C2SP forbids spaces and plus only
        with pytest.raises(c2sp.KeyDamaged):
            c2sp.read_vkey(BAD_KEYS[what])


def test_a_file_of_keys():
    keys = keys_of(ALPHA, BETA)
    text = f"# alpha\n{keys[0]}\n\n{keys[1]}  # its witness\r\n  {keys[2]}\n{keys[3]}"
    assert note.read_keys(text) == keys
    assert note.read_keys("\n# nothing\n") == []
    with pytest.raises(NoteInvalid):
        note.read_keys(f"{keys[0]} {keys[1]}")


# -- checkpoints --------------------------------------------------------------------------------


def test_a_checkpoint_is_signed():
    key = log_key(ALPHA)
    assert str(ALPHAS) == f"{key.name}\n7\n{ROOT64}\n\n{LINE}"
    assert note.read_checkpoint(str(ALPHAS)) == ALPHAS
    assert note.is_signed(ALPHAS, key)
    assert not note.is_signed(ALPHAS, log_key(BETA)) and not note.is_signed(
        ALPHAS, witness_key(ALPHA)
    )
    head = c2sp.verify_checkpoint(str(ALPHAS).encode(), vkeys_of(ALPHA))
    assert head == (key.name, 7, ROOT, [])
    assert ALPHAS.witnesses == ()


@pytest.mark.parametrize(
    "change", [{"origin": "farshore/other"}, {"size": 8}, {"root": b"r" * 32}, {"size": 0}]
)
def test_a_changed_checkpoint_has_a_false_signature(change):
    both = cosigned(BETA)._replace(**change)
    for key in (log_key(ALPHA), witness_key(BETA)):
        with pytest.raises(NoteInvalid, match="false"):
            note.is_signed(both, key)
    with pytest.raises(c2sp.CheckFailed):
        c2sp.verify_checkpoint(str(both).encode(), vkeys_of(ALPHA, BETA))


def test_cosignatures():
    both = cosigned(GAMMA, BETA)
    assert note.is_signed(both, log_key(ALPHA)) and note.is_signed(both, witness_key(BETA))
    assert note.is_signed(both, witness_key(GAMMA)) and not note.is_signed(both, log_key(BETA))
    assert {one.name for one in both.witnesses} == {witness_key(GAMMA).name, witness_key(BETA).name}
    assert {note.time_of(one) for one in both.witnesses} == {SECONDS}
    assert str(both) == str(cosigned(BETA, GAMMA)) == str(note.read_checkpoint(str(both)))
    assert both.signatures[0] == ALPHAS.signatures[0], "the log's is the first"
    head = c2sp.verify_checkpoint(str(both).encode(), vkeys_of(ALPHA, BETA, GAMMA), 2)
    assert head.witnesses == sorted(one.name for one in both.witnesses)


def test_of_two_cosignatures_of_a_witness_the_later_one_counts():
    """Whichever comes first: a log that was put back has another one than its mirrors have."""
    first = cosigned(BETA)
    later = note.cosign(BETA, ALPHAS, SECONDS + 9)
    assert first.with_signatures([later]) == ALPHAS.with_signatures([later])
    assert ALPHAS.with_signatures([later]).with_signatures(first.signatures[1:]).witnesses == (
        later,
    )
    assert first.with_signatures([]) == first
    twice = first._replace(signatures=(*first.signatures, later, ALPHAS.signatures[0]))
    assert twice.with_signatures([]).witnesses == (later,), "also of those that it has already"
    assert len(first.with_signatures([later, note.cosign(GAMMA, ALPHAS, 1)]).witnesses) == 2
    assert first.with_signatures(cosigned(DELTA).signatures).signatures[0] == ALPHAS.signatures[0]


def test_a_cosignature_is_of_its_time():
    both = cosigned(BETA)
    one = both.witnesses[0]
    last = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    for other in (SECONDS + 1, 0, last + 1, 2**63, 2**64 - 1):
        data = other.to_bytes(8, "big") + one.data[8:]
        moved = both._replace(signatures=(ALPHAS.signatures[0], one._replace(data=data)))
        with pytest.raises(NoteInvalid, match="false"):
            note.is_signed(moved, witness_key(BETA))
    assert note.is_signed(cosigned(BETA, seconds=last), witness_key(BETA))
    for seconds in (0, last + 1, 2**62, 2**63):
        with pytest.raises(NoteInvalid, match="false"):
            note.is_signed(cosigned(BETA, seconds=seconds), witness_key(BETA))


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 63, 64, 65, 71, 73, 136])
def test_a_signature_of_another_length_is_false(length):
    both = cosigned(BETA)
    for at, key in enumerate((log_key(ALPHA), witness_key(BETA))):
        whole = both.signatures[at].data
        if length == len(whole):
            continue
        lines = list(both.signatures)
        lines[at] = lines[at]._replace(data=(whole * 2)[:length])
        with pytest.raises(NoteInvalid, match="false"):
            note.is_signed(both._replace(signatures=tuple(lines)), key)


def test_what_is_signed_for_one_thing_is_no_signature_of_another():
    """The key of a DC is the same for its log and as a witness."""
    log, witness = log_key(ALPHA), witness_key(ALPHA)
    plain = ALPHAS.signatures[0].data
    timed = note.cosign(ALPHA, ALPHAS, SECONDS).data
    for key, data in (
        (witness, SECONDS.to_bytes(8, "big") + plain),
        (witness, plain),
        (log, timed),
        (log, timed[8:]),
    ):
        false = ALPHAS._replace(signatures=(Signature(key.name, key.id, data),))
        with pytest.raises(NoteInvalid, match="false"):
            note.is_signed(false, key)


def test_unknown_keys_are_ignored():
    """Also those that share a name or an id with a known one, but not both."""
    key = log_key(ALPHA)
    junk = [
        Signature("example.com/unknown", b"\1\2\3\4", b"x"),
        Signature(key.name, b"\1\2\3\4", b"x" * 64),
        Signature("example.com/other", key.id, b"x" * 64),
    ]
    found = note.read_checkpoint(str(ALPHAS._replace(signatures=(*junk, *ALPHAS.signatures))))
    assert note.is_signed(found, key)
    assert c2sp.verify_checkpoint(str(found).encode(), [str(key)]).size == 7
    alone = ALPHAS._replace(signatures=tuple(junk))
    assert not note.is_signed(alone, key)
    with pytest.raises(c2sp.NotSigned):
        c2sp.verify_checkpoint(str(alone).encode(), [str(key)])


def test_a_false_signature_of_a_known_key_is_refused_beside_a_true_one():
    true = ALPHAS.signatures[0]
    false = true._replace(data=b"x" * 64)
    for lines in ((true, false), (false, true)):
        both = ALPHAS._replace(signatures=lines)
        with pytest.raises(NoteInvalid, match="false"):
            note.is_signed(both, log_key(ALPHA))
        with pytest.raises(c2sp.SignatureFalse):
            c2sp.verify_checkpoint(str(both).encode(), vkeys_of(ALPHA))


def test_a_key_with_the_name_and_id_of_another_verifies_nothing():
    """Ids are short: a second key with the same can be made. It is not that key."""
    key = log_key(ALPHA)

    class Alike(Key):
        @property
        def id(self) -> bytes:
            return key.id

    alike = Alike(key.name, key.kind, BETA.public.signing_key)
    with pytest.raises(NoteInvalid, match="false"):
        note.is_signed(ALPHAS, alike)


HEAD = f"{ALPHAS.origin}\n7\n{ROOT64}\n"
GOOD = f"{HEAD}\n{LINE}"
BAD_NOTES = {
    "empty": "",
    "no signature": HEAD + "\n",
    "no empty line": HEAD + LINE,
    "no newline at the end": GOOD[:-1],
    "two newlines at the end": GOOD + "\n",
    "an empty line between signatures": GOOD + "\n" + LINE,
    "two empty lines": f"{HEAD}\n\n{LINE}",
    "carriage returns": GOOD.replace("\n", "\r\n"),
    "no origin": GOOD.replace(ALPHAS.origin, "", 1),
    "a space in the origin": GOOD.replace(ALPHAS.origin, "farshore x", 1),
    "a plus in the origin": GOOD.replace(ALPHAS.origin, "farshore+x", 1),
    "a tab in the origin": GOOD.replace(ALPHAS.origin, "farshore\tx", 1),
    "a NUL in the origin": GOOD.replace(ALPHAS.origin, "farshore\0x", 1),
    "a line separator in the origin": GOOD.replace(ALPHAS.origin, "farshore\u2028x", 1),
    "no size": GOOD.replace("\n7\n", "\n\n"),
    "a negative size": GOOD.replace("\n7\n", "\n-7\n"),
    "a size with a plus": GOOD.replace("\n7\n", "\n+7\n"),
    "a size with zeroes before": GOOD.replace("\n7\n", "\n07\n"),
    "a size of zeroes": GOOD.replace("\n7\n", "\n00\n"),
    "a size with a space": GOOD.replace("\n7\n", "\n7 \n"),
    "a size with an underscore": GOOD.replace("\n7\n", "\n7_0\n"),
    "a size in other digits": GOOD.replace("\n7\n", "\n\u0667\n"),
    "a size in superscript": GOOD.replace("\n7\n", "\n\u00b2\n"),
    "a size in hex": GOOD.replace("\n7\n", "\n0x7\n"),
    "a size that cannot be counted": GOOD.replace("\n7\n", f"\n{2**63}\n"),
    "a size without end": GOOD.replace("\n7\n", "\n" + "9" * 5000 + "\n"),
    "no root": GOOD.replace(ROOT64, ""),
    "a short root": GOOD.replace(ROOT64, base64.b64encode(ROOT[:31]).decode()),
    "a long root": GOOD.replace(ROOT64, base64.b64encode(ROOT + b"x").decode()),
    "a root in hex": GOOD.replace(ROOT64, ROOT.hex()),
    "a root in URL letters": GOOD.replace(ROOT64, base64.urlsafe_b64encode(b"\xff" * 32).decode()),
    "a root without padding": GOOD.replace(ROOT64, ROOT64.rstrip("=")),
    "a root with other bits at its end": GOOD.replace(ROOT64, "A" * 42 + "B="),
    "an extension line": f"{HEAD}more\n\n{LINE}",
    "a hyphen for the dash": GOOD.replace("\u2014", "-"),
    "another dash": GOOD.replace("\u2014", "\u2013"),
    "no dash": GOOD.replace("\u2014 ", ""),
    "no space after the dash": GOOD.replace("\u2014 ", "\u2014"),
    "a signature with an id only": GOOD + "\u2014 x AAAAAA==\n",
    "a signature without a name": GOOD + "\u2014  AAAAAAA=\n",
    "a signature with a plus in its name": GOOD + "\u2014 a+b AAAAAAA=\n",
    "a signature without bytes": GOOD + "\u2014 x \n",
    "a signature with a name only": GOOD + "\u2014 x\n",
    "a signature with more": GOOD + "\u2014 x AAAAAAA= more\n",
    "a signature with a space at its end": GOOD + "\u2014 x AAAAAAA= \n",
    "a signature that is no base64": GOOD + "\u2014 x A\n",
    "a signature in broken base64": GOOD + "\u2014 x AAAA AAA=\n",
    "too many signatures": GOOD + "\u2014 x AAAAAAA=\n" * 100,
    "too long": f"{HEAD}\n\u2014 {'x' * 65_536} AAAAAAA=\n",
    "half a character": GOOD.replace(ALPHAS.origin, "farshore/\ud800", 1),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_NOTES)
def test_a_bad_note_is_refused(what):
    with pytest.raises(NoteInvalid):
        note.read_checkpoint(BAD_NOTES[what])
    assert note.read_checkpoint(GOOD) == ALPHAS


@pytest.mark.parametrize("size", [0, 1, 9, 10, 2**31, 2**53 + 1, 2**63 - 1])
def test_sizes(size):
    found = note.sign(ALPHA, size, ROOT)
    assert note.read_checkpoint(str(found)) == found
    assert c2sp.verify_checkpoint(str(found).encode(), vkeys_of(ALPHA)).size == size


def test_as_many_signatures_as_are_allowed():
    lines = GOOD + "".join(f"\u2014 w/{number} AAAAAAA=\n" for number in range(99))
    assert len(note.read_checkpoint(lines).signatures) == 100


# -- properties ---------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["\n", "\n\n", " ", "+", "=", "\u2014 ", "7", "0", "-1", ROOT64, ALPHAS.origin, LINE, HEAD,
     "AAAAAAA=", "x", "\r", "\0", "\u2028", "\u00a0", "\u0660"]
)  # fmt: skip


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
@example(GOOD)
def test_what_is_read_is_written_alike(text):
    try:
        found = note.read_checkpoint(text)
    except NoteInvalid:
        return
    assert str(found) == text


@settings(deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, 3), PIECES)
def test_what_was_changed_is_refused_or_written_alike(at, left_out, put_in):
    """And is not signed any more."""
    text = GOOD[:at] + put_in + GOOD[at + left_out :]
    try:
        found = note.read_checkpoint(text)
    except NoteInvalid:
        return
    assert str(found) == text
    try:
        signed = note.is_signed(found, log_key(ALPHA))
    except NoteInvalid:
        return
    assert not signed or text == GOOD or (found.body == ALPHAS.body and LINE in text)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_a_key_with_any_name_is_read_or_refused(name):
    key = Key(name, note.LOG, b"k" * 32)
    try:
        assert note.read_key(str(key)) == key
    except NoteInvalid:
        assert not name or "+" in name or not name.isprintable() or name != "".join(name.split())


@settings(deadline=None)
@given(st.binary(max_size=100), st.text(max_size=50))
def test_texts_are_signed(other, text):
    public = ALPHA.public.signing_key
    signature = note.signed_text(ALPHA, text)
    assert note.verifies_text(public, text, signature)
    assert c2sp.is_ed25519(public, signature, text.encode())
    assert not note.verifies_text(public, text + ".", signature)
    assert not note.verifies_text(BETA.public.signing_key, text, signature)
    assert other == signature or not note.verifies_text(public, text, other)
    assert not text or not note.verifies_text(public, text[1:], signature + text[:1].encode())
