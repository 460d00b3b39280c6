"""Entries: one text for each; and files, which are what an entry is of or are not."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from notary_samples import ALPHA, BODY, entry

from dc.stamps import utc_text
from notary.certificate import check_file
from notary.entries import TYPES, Entry, encode, read_entry
from notary.errors import CertificateRefused, NotaryError

LINE = entry(ALPHA, 1)
MEMBERS = "v type dc dc_id bucket bucket_id key version_id stamp size sha256 of time"


def test_an_entry_is_a_line_in_the_documented_order():
    parts = json.loads(LINE)
    assert " ".join(parts) == MEMBERS
    assert json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode() == LINE
    assert encode(read_entry(LINE)) == LINE and read_entry(LINE).key == "käse/1.jpg"
    short = entry(ALPHA, 1, type="enabled", key=None, version_id=None, size=None, of=None)
    assert b"null" not in short and b'"key"' not in short
    assert [read_entry(entry(ALPHA, 1, type=one)).kind for one in TYPES] == [0, 1, 2, 3]
    assert TYPES == ("version", "removed", "enabled", "disabled"), "kinds are kept in databases"


BAD = {
    "empty": b"",
    "no JSON": b"x",
    "a list": b"[]",
    "not UTF-8": LINE.replace("käse".encode(), b"k\xffse"),
    "a space": LINE.replace(b'"v":1', b'"v": 1'),
    "a newline": LINE + b"\n",
    "another order": LINE.replace(b'{"v":1,', b"{").replace(b"}", b',"v":1}'),
    "a member twice": LINE.replace(b'"v":1,', b'"v":1,"v":1,'),
    "a member more": LINE.replace(b"}", b',"more":1}'),
    "a member less": LINE.replace(b'"dc":"eu-north",', b""),
    "a null": LINE.replace(b'"of":"object"', b'"of":null'),
    "another version": LINE.replace(b'"v":1', b'"v":2'),
    "another type": LINE.replace(b'"version"', b'"versions"', 1),
    "letters written otherwise": LINE.replace(b"photos", b"phot\\u006fs"),
    "a fraction": LINE.replace(b'"size":14', b'"size":14.0'),
    "a number as text": LINE.replace(b'"size":14', b'"size":"14"'),
    "half a surrogate": LINE.replace(b"photos", b"\\ud800"),
    "deep": b'{"v":' + b"[" * 200_000,
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_entry_is_refused(what):
    assert BAD[what] != LINE
    with pytest.raises(NotaryError):
        read_entry(BAD[what])


@settings(deadline=None)
@given(st.text(), st.integers(0, 2**63), st.sampled_from(TYPES))
def test_entries_are_read_as_they_were(text, size, kind):
    try:
        line = entry(ALPHA, 1, bucket=text, key=text, size=size, type=kind)
    except UnicodeEncodeError:
        return
    found = read_entry(line)
    assert (found.bucket, found.key, found.size, found.type) == (text, text, size, kind)
    assert isinstance(found, Entry) and b"\n" not in line


def test_dates():
    assert utc_text(0) == "1970-01-01T00:00:00.000Z"
    assert utc_text(1_796_033_730_123) == "2026-11-30T10:15:30.123Z"
    assert utc_text(1_796_033_730_007) == "2026-11-30T10:15:30.007Z"


# -- files --------------------------------------------------------------------------------------


def test_a_file_is_checked(tmp_path):
    found, path, said = read_entry(entry(ALPHA, 1)), tmp_path / "file", []
    path.write_bytes(BODY)
    check_file(found, path, said.append)
    assert sum(said) == len(BODY)
    for body, text in (
        (BODY + b"x", "15 bytes, 14 are certified"),
        (BODY[:-1], "13 bytes, 14 are certified"),
        (b"", "0 bytes"),
        (BODY.upper(), "its SHA-256 is"),
    ):
        path.write_bytes(body)
        with pytest.raises(CertificateRefused, match=text) as refused:
            check_file(found, path)
        assert refused.value.reason == "file"
    path.write_bytes(BODY)
    with pytest.raises(CertificateRefused, match="14 bytes, 15 are certified"):
        check_file(read_entry(entry(ALPHA, 1, size=15)), path)
    with pytest.raises(OSError):
        check_file(found, tmp_path / "none")


def test_a_file_of_several_blocks(tmp_path):
    body = bytes(range(256)) * 8193
    line = entry(ALPHA, 1, size=len(body), sha256=hashlib.sha256(body).hexdigest())
    (tmp_path / "file").write_bytes(body)
    said: list[int] = []
    check_file(read_entry(line), tmp_path / "file", said.append)
    assert sum(said) == len(body) and len(said) == 3


def test_what_is_certified_as_stored(tmp_path):
    found = read_entry(entry(ALPHA, 1, of="stored"))
    (tmp_path / "file").write_bytes(b"in clear")
    with pytest.raises(CertificateRefused, match="encrypted") as refused:
        check_file(found, tmp_path / "file")
    assert refused.value.reason == "file"
    (tmp_path / "file").write_bytes(BODY)
    check_file(found, tmp_path / "file")


@pytest.mark.parametrize("kind", TYPES[1:])
def test_of_other_entries_there_is_no_file(tmp_path, kind):
    (tmp_path / "file").write_bytes(BODY)
    with pytest.raises(CertificateRefused, match="of no object") as refused:
        check_file(read_entry(entry(ALPHA, 1, type=kind)), tmp_path / "file")
    assert refused.value.reason == "no-object"
