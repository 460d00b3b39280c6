"""`farshore notary verify`: offline, with a reason for each refusal; the page of a certificate."""

import asyncio
import json
import socket
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from notary_samples import (
    ALPHA,
    BETA,
    BODY,
    GAMMA,
    begun,
    certificate,
    entry,
    opened,
    sealed,
    stamped,
    vkeys_of,
    written,
)
from plugin_kit import all_closed, make_ca, make_certificate, served, settings

from admin.cli import main
from notary import tables
from notary.note import Checkpoint
from notary.plugins import rfc3161
from tests.admin.conftest import farshore

NASTY = "a/<script>alert(1)</script>&\"'\u202egpj.\x1b[2J\x9b\u0000.jpg"
"""A key that would like to be more than text."""


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command in this process."""
    monkeypatch.delenv("FARSHORE_DC", raising=False)

    def ran(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["farshore", *map(str, arguments)])
        capsys.readouterr()
        return Ran(main(), *capsys.readouterr())

    return ran


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what somebody was given, where there is no network."""
    with opened(tmp_path / "log.db") as db:
        log = sealed(db, ALPHA, begun(db, count=4), 4, BETA)
        given = certificate(db, 1)
        (tmp_path / "other.cert").write_bytes(certificate(db, 2))
        log = tables.append(db, log, [entry(ALPHA, 4, key=NASTY), entry(ALPHA, 5, type="removed",
            key="k", size=None, sha256=None, of=None)])  # fmt: skip
        log = sealed(db, ALPHA, log, 6, BETA)
        (tmp_path / "nasty.cert").write_bytes(certificate(db, 4))
        tables.append(db, log, [entry(ALPHA, 6)])
        sealed(db, ALPHA, log._replace(size=7), 7, BETA, GAMMA)
        stamped(db, ALPHA, log, 7, "rfc3161", b"of something else")
        stamped(db, ALPHA, log, 7, "nobodys", b"from elsewhere")
        (tmp_path / "stamped.cert").write_bytes(certificate(db, 6))
    (tmp_path / "object").write_bytes(BODY)
    (tmp_path / "cert").write_bytes(given)
    (tmp_path / "keys").write_text("\n".join(vkeys_of(ALPHA, BETA)) + "  # beta\n\n# more\n")
    (tmp_path / "alpha").write_text(vkeys_of(ALPHA)[0])
    (tmp_path / "gamma").write_text("\n".join(vkeys_of(GAMMA)))

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("there is no network")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, never)
    return tmp_path


def verify(run: Run, folder: Path, *more: object, file: str = "object", cert: str = "cert") -> Ran:
    if "--keys" not in more:
        more = ("--keys", folder / "keys", *more)
    return run("notary", "verify", folder / file, folder / cert, *more)


URI = "s3://photos/käse/1.jpg"


def test_it_says_what_was_verified(run: Run, offline: Path) -> None:
    version = json.loads(json.loads((offline / "cert").read_bytes())["entry"])["version_id"]
    for more in ((), ("--witnesses", 1), ("--object", URI),
                 ("--object", f"{URI}?versionId={version}")):  # fmt: skip
        done = verify(run, offline, *more)
        assert (done.code, done.err) == (0, "")
        first, *lines = done.out.splitlines()
        assert first == f"verified: {offline / 'object'} is {URI}"
        assert any("entry 1 of 4" in line for line in lines)
        assert f"witnessed by farshore/{BETA.dc_id}/witness at " in done.out
    facts = verify(run, offline, "--json").facts
    assert facts["verified"] and (facts["bucket"], facts["key"]) == ("photos", "käse/1.jpg")
    assert (facts["size"], facts["version_id"], facts["index"]) == (len(BODY), version, 1)
    assert [one["name"] for one in facts["witnesses"]] == [f"farshore/{BETA.dc_id}/witness"]
    assert facts["unknown"] == facts["timestamps"] == []
    unknown = verify(run, offline, "--keys", offline / "alpha")
    assert unknown.code == 0 and "no key was given" in unknown.err
    both = verify(run, offline, "--keys", offline / "alpha", "--keys", offline / "keys", "--json")
    assert both.facts["unknown"] == []


def changed(folder: Path, change: Callable[[Any], None]) -> None:
    """The certificate with something changed, written as the product does."""
    parts = json.loads((folder / "cert").read_bytes())
    change(parts)
    (folder / "cert").write_bytes(written(parts))


def of_entry(name: str, value: object) -> Callable[[Any], None]:
    def change(parts: Any) -> None:
        line = json.loads(parts["entry"])
        assert line[name] != value
        line[name] = value
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        parts["entry"] = text

    return change


def of_statement(name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def apply(parts: Any) -> None:
        parts["statements"][0][name] = change(parts["statements"][0][name])

    return apply


CHANGES: list[tuple[str, Callable[[Any], None]]] = [
    ("proof", of_entry("key", "käse/2.jpg")),
    ("proof", of_entry("size", 1)),
    ("proof", of_entry("sha256", "0" * 64)),
    ("entry", of_entry("v", 2)),
    ("unknown-dc", of_entry("dc_id", "0" * 16)),
    ("proof", lambda parts: parts.update(index=2)),
    ("format", lambda parts: parts.update(farshore_certificate=2)),
    ("damaged", lambda parts: parts.pop("index")),
    ("damaged", lambda parts: parts.update(more=1)),
    ("checkpoint", lambda parts: parts.update(statements=[])),
    ("checkpoint", of_statement("checkpoint", lambda note: note[:-3])),
    ("signature", of_statement("checkpoint", lambda note: note.replace("\n4\n", "\n5\n"))),
    ("proof", of_statement("proof", lambda proof: proof[:-1])),
    ("proof", of_statement("proof", lambda proof: ["A" * 44, *proof[1:]])),
]


@pytest.mark.parametrize(("reason", "change"), CHANGES, ids=range(len(CHANGES)))
def test_changed_certificates(
    run: Run, offline: Path, reason: str, change: Callable[[Any], None]
) -> None:
    changed(offline, change)
    done = verify(run, offline, "--json")
    assert (done.code, done.facts["verified"], done.facts["reason"]) == (1, False, reason)
    said = verify(run, offline)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("farshore: NOT verified: ") and said.err.count("\n") == 1
    assert done.facts["text"] in said.err


def test_what_does_not_fit(run: Run, offline: Path) -> None:
    """The file, the object that is asked for, the witnesses, the keys."""
    (offline / "longer").write_bytes(BODY + b"x")
    (offline / "turned").write_bytes(BODY[::-1])
    (offline / "hole").touch()
    with (offline / "hole").open("r+b") as file:
        file.truncate(1 << 40)
    for reason, more, files in (
        ("file", (), {"file": "longer"}),
        ("file", (), {"file": "turned"}),
        ("damaged", (), {"cert": "object", "file": "cert"}),
        ("damaged", (), {"cert": "hole"}),
        ("witnesses", ("--witnesses", 2), {}),
        ("witnesses", ("--witnesses", 1, "--keys", offline / "alpha"), {}),
        ("unknown-dc", ("--keys", offline / "gamma"), {}),
        ("other-bucket", ("--object", "s3://plain/käse/1.jpg"), {}),
        ("other-key", ("--object", "s3://photos/käse/2.jpg"), {}),
        ("other-version", ("--object", f"{URI}?versionId=null"), {}),
        ("other-key", ("--object", URI), {"cert": "other.cert"}),
    ):
        done = verify(run, offline, *more, "--json", **files)
        assert (done.code, done.facts["reason"]) == (1, reason)
        assert verify(run, offline, *more, **files).code == 1


def test_keys_that_cannot_be_read(run: Run, offline: Path) -> None:
    bad = offline / "bad"
    for data in (b"banana", b"\xff\xfe", vkeys_of(ALPHA)[0].encode()[:-1], b"a+b+c"):
        bad.write_bytes(data)
        done = verify(run, offline, "--keys", offline / "keys", "--keys", bad)
        assert done.code == 1 and "the keys cannot be read" in done.err
    bad.write_bytes(b"# none\n")
    assert verify(run, offline, "--keys", bad, "--json").facts["reason"] == "unknown-dc"


def test_wrong_usage(run: Run, offline: Path) -> None:
    for more in (
        ("--object", "photos/k"),
        ("--object", "s3://photos"),
        ("--object", "s3:///k"),
        ("--object", f"{URI}?versionId="),
        ("--witnesses", "-1"),
        ("--keys", offline / "none"),
        ("--keys", offline),
    ):
        assert verify(run, offline, *more).code == 2
    assert verify(run, offline, file="none").code == 2
    assert verify(run, offline, cert="none").code == 2
    assert run("notary", "verify", offline / "object", offline / "cert").code == 2


def test_timestamps(run: Run, offline: Path) -> None:
    """One that is of something else refuses all; one that nobody here knows does not."""
    done = verify(run, offline, "--json", cert="stamped.cert")
    assert (done.code, done.facts["reason"]) == (1, "timestamp")
    said = verify(run, offline, cert="stamped.cert")
    assert said.code == 1 and "the rfc3161 timestamp" in said.err
    parts = json.loads((offline / "stamped.cert").read_bytes())
    kinds = [one for one in parts["statements"][0]["timestamps"] if one["kind"] == "nobodys"]
    parts["statements"][0]["timestamps"] = kinds
    (offline / "stamped.cert").write_bytes(written(parts))
    done = verify(run, offline, cert="stamped.cert")
    assert done.code == 0
    assert "timestamp: nobodys: the plug-in 'nobodys' is not installed" in done.out
    facts = verify(run, offline, "--json", cert="stamped.cert").facts
    assert facts["unknown"] == [f"farshore/{GAMMA.dc_id}/witness"]


async def _stamp(folder: Path, port: int, head: Checkpoint) -> bytes:
    hook = rfc3161.make(settings(folder, {"url": f"http://127.0.0.1:{port}/tsa/good"}))
    assert hook is not None
    found = await hook.checkpoint(head)
    await hook.close()
    await all_closed()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an object, its certificate, stamped by a real authority, and the roots of that
    and of another one."""
    folder = tmp_path_factory.mktemp("authority")
    for root in ("root", "other"):
        make_ca(folder, root)
    make_certificate(folder, "root", "tsa", "stamps")
    with opened(folder / "log.db") as db, served("tsa_server.py", folder) as port:
        log = sealed(db, ALPHA, begun(db, count=4), 4, BETA)
        head = tables.checkpoint_at(db, log.number, 4)
        assert head is not None
        data = asyncio.run(_stamp(folder, port, head))
        stamped(db, ALPHA, log, 4, "rfc3161", data)
        (folder / "cert").write_bytes(certificate(db, 1))
    (folder / "object").write_bytes(BODY)
    (folder / "keys").write_text("\n".join(vkeys_of(ALPHA, BETA)))
    return folder


def test_an_authority_is_verified_against_its_roots(run: Run, authority: Path) -> None:
    done = verify(run, authority)
    assert done.code == 0 and "verified only in itself" in done.out
    done = verify(run, authority, "--tsa-roots", authority / "root.pem")
    assert done.code == 0 and "by CN=tsa" in done.out
    assert "verified against the roots that are trusted" in done.out
    html = authority / "page.html"
    verify(run, authority, "--tsa-roots", authority / "root.pem", "--html", html)
    assert "verified against the roots that are trusted" in html.read_text()


def test_an_authority_under_other_roots_is_refused(run: Run, authority: Path) -> None:
    roots = ("--tsa-roots", authority / "other.pem")
    done = verify(run, authority, "--json", *roots)
    assert (done.code, done.facts["reason"]) == (1, "timestamp")
    assert "not under the roots that are trusted" in verify(run, authority, *roots).err


def test_roots_want_a_timestamp(run: Run, authority: Path, offline: Path) -> None:
    roots = ("--tsa-roots", authority / "root.pem")
    done = verify(run, offline, "--json", *roots)
    assert (done.code, done.facts["reason"]) == (1, "no-timestamp")
    assert "no authority has stamped it" in verify(run, offline, *roots).err
    for bad in ("object", "tsa.key"):
        done = verify(run, authority, "--tsa-roots", authority / bad)
        assert done.code == 1 and "there is no certificate in it" in done.err
    assert verify(run, authority, "--tsa-roots", authority / "none").code == 2


class Page(HTMLParser):
    """The texts of a page, by the element they are in; elements that do not match are refused."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data


def test_the_page(run: Run, offline: Path) -> None:
    """What a key has in it is text, and nothing comes from elsewhere."""
    path = offline / "page.html"
    done = verify(run, offline, "--html", path, cert="nasty.cert")
    assert done.code == 0 and "\x1b" not in done.out and "\u202e" not in done.out
    text = path.read_text("utf-8")
    page = Page(text)
    assert text.startswith("<!doctype html>") and "script" not in page.seen
    assert not {"src", "href", "style"}.intersection(name for name, _ in page.attributes)
    assert "url(" not in text and "@import" not in text
    cells = dict(zip(page.texts["th"], page.texts["td"], strict=True))
    shown = NASTY.replace("\u202e", "\\u202e").replace("\x1b", "\\u001b")
    shown = shown.replace("\x9b", "\\u009b").replace("\u0000", "\\u0000")
    assert cells["Object"] == f"s3://photos/{shown}"
    assert cells["Log"].endswith("entry 4 of 6") and cells["Size"] == f"{len(BODY):,} bytes"
    assert page.texts["title"] == [f"Certificate of s3://photos/{shown}"]
    assert all(c.isprintable() or c == "\n" for c in text.partition("<details>")[0])
    assert page.texts["pre"][-1] == (offline / "nasty.cert").read_text("utf-8")
    assert verify(run, offline, "--html", offline / "none" / "p.html").code == 1


def test_no_page_is_written_of_what_is_refused(run: Run, offline: Path) -> None:
    path = offline / "page.html"
    assert verify(run, offline, "--html", path, "--witnesses", 9).code == 1
    assert verify(run, offline, "--html", path, file="cert").code == 1
    assert verify(run, offline, "--html", path, cert="stamped.cert").code == 1
    assert not path.exists()


def test_as_a_program_of_its_own(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a datacenter, and where no socket can be made."""
    monkeypatch.undo()
    blocked = offline / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(
        "import socket\n"
        "class Never(socket.socket):\n"
        "    def __init__(self, *_, **__): raise SystemExit('a socket was made')\n"
        "socket.socket = Never\n"
    )
    where = [offline / name for name in ("object", "cert")]
    variables = {"PYTHONPATH": f"{blocked}:{Path(__file__).parents[2]}", "HOME": str(offline)}
    done = farshore("notary", "verify", *where, "--keys", offline / "keys", variables=variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("verified: ")
