"""`farshore notary` with a real datacenter, and the admin API behind it."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config
from notary_checker import verify_certificate
from plugin_kit import make_ca, make_certificate, served

from admin.cli import main
from admin.client import AdminClient
from admin.errors import AdminError
from tests.admin.conftest import Serving, init

COMMANDS = (
    "enable", "disable", "status", "keys", "certificate", "verify", "audit", "forget-alarm",
    "accept-loss", "service set", "service show", "service remove",
)  # fmt: skip
KEY = "good-key-of-ann"
MARK = "x-farshore-notary"


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


class House(NamedTuple):
    """A datacenter that runs, and a client."""

    serving: Serving
    s3: Any

    @property
    def root(self) -> Path:
        return self.serving.root

    def put(self, key: str, body: bytes = b"bytes", bucket: str = "photos") -> Any:
        return self.s3.put_object(Bucket=bucket, Key=key, Body=body)

    def until_notarized(self, key: str, bucket: str = "photos") -> None:
        deadline = time.monotonic() + 20
        while True:
            found = self.s3.head_object(Bucket=bucket, Key=key)
            if found["ResponseMetadata"]["HTTPHeaders"].get(MARK) == "notarized":
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    root = tmp_path_factory.mktemp("notary") / "paris"
    init(root)
    running = Serving(root)
    user = AdminClient(root).post("users", body={"email": "ann@example.com"})
    made = boto3.client(
        "s3",
        endpoint_url=AdminClient(root).get("status")["s3"],
        aws_access_key_id=user["access_key"],
        aws_secret_access_key=user["secret_key"],
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
    )
    made.create_bucket(Bucket="photos")
    AdminClient(root).put("notary", "buckets", "photos", body={"on": True})
    yield House(running, made)
    running.stop()


@pytest.fixture
def run(house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command in this process, for that datacenter."""
    monkeypatch.setenv("FARSHORE_DC", str(house.root))

    def ran(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["farshore", "notary", *map(str, arguments)])
        capsys.readouterr()
        return Ran(main(), *capsys.readouterr())

    return ran


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(run: Run, command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.code == 0
    assert re.search(rf"Examples?:\n +farshore .*notary {command} ?", done.out), done.out


def test_every_command_is_tested_for_that(run: Run) -> None:
    for words, names in (((), COMMANDS), (("service",), ("set", "show", "remove"))):
        listed = run(*words, "--help").out.partition("Commands:")[2]
        found = {line.split()[0] for line in listed.splitlines() if re.match(r"  \S", line)}
        assert found == {name.split()[0] for name in names}


def test_switches(run: Run, house: House) -> None:
    house.s3.create_bucket(Bucket="other")
    before = run("status", "--json").facts["entries"]
    on = run("enable", "other")
    assert (on.code, on.out) == (0, "new versions in other are notarized\n")
    assert run("enable", "other", "--json").facts == {"name": "other", "notarized": True}
    shown = {one["name"]: one["notarized"] for one in run("status", "--json").facts["buckets"]}
    assert shown == {"other": True, "photos": True}
    assert "buckets    other, photos" in run("status").out
    off = run("disable", "other")
    assert (off.code, off.out) == (0, "new versions in other are not notarized\n")
    assert run("disable", "other", "--json").facts == {"name": "other", "notarized": False}
    deadline = time.monotonic() + 10
    while run("status", "--json").facts["entries"] != before + 2:
        assert time.monotonic() < deadline, "an entry for each change, none for what was so"
    for command in ("enable", "disable"):
        none = run(command, "none")
        assert (none.code, none.out) == (1, "") and "there is no bucket 'none'" in none.err
        assert run(command).code == 2


def test_a_certificate(run: Run, house: House, tmp_path: Path) -> None:
    key = "ordner/käse & <b>?x=1#+%41.txt"
    house.put(key, b"what is stored")
    house.until_notarized(key)
    uri, out = f"s3://photos/{key}", tmp_path / "a.cert"
    printed = run("certificate", uri)
    assert (printed.code, printed.err) == (0, "")
    done = run("certificate", uri, "--out", out)
    assert (done.code, done.out) == (0, "") and out.read_text("utf-8") == printed.out
    assert run("certificate", f"{uri}?versionId=null").out == printed.out
    keys = [one["key"] for one in run("keys", "--json").facts]
    entry = verify_certificate(out.read_bytes(), keys)
    assert (entry["key"], entry["version_id"], entry["size"]) == (key, "null", 14)
    page = tmp_path / "a.html"
    assert run("certificate", uri, "--html", page).out == ""
    assert "&lt;b&gt;" in page.read_text("utf-8") and "<b>" not in page.read_text("utf-8")
    file, known = tmp_path / "file", tmp_path / "keys"
    file.write_bytes(b"what is stored")
    known.write_text(run("keys").out)
    verified = run("verify", file, out, "--keys", known, "--object", uri, "--html", page)
    assert verified.code == 0 and f"verified: {file} is {uri}" in verified.out
    assert run("verify", file, out, "--keys", known, "--witnesses", 1).code == 1
    assert run("certificate", uri, "--out", tmp_path / "none" / "a").code == 1


def test_certificates_that_there_are_not(run: Run, house: House, tmp_path: Path) -> None:
    house.s3.create_bucket(Bucket="versions")
    house.s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    plain = house.put("plain", bucket="versions")["VersionId"]
    run("enable", "versions")
    kept = house.put("k", bucket="versions")["VersionId"]
    marker = house.s3.delete_object(Bucket="versions", Key="k")["VersionId"]
    house.s3.head_object(Bucket="versions", Key="k", VersionId=kept)
    out = tmp_path / "none.cert"
    for uri, text in (
        ("s3://none/k", "there is no bucket 'none'"),
        ("s3://versions/none", "there is no object 'none'"),
        ("s3://versions/k", "there is no object 'k': it was deleted"),
        (f"s3://versions/k?versionId={marker}", f"there is no version '{marker}' of 'k'"),
        (f"s3://versions/k?versionId={'0' * 32}", f"there is no version '{'0' * 32}' of 'k'"),
        ("s3://versions/k?versionId=null", "there is no version 'null' of 'k'"),
        ("s3://versions/plain", "'plain' is not notarized: it was written before"),
        (f"s3://versions/plain?versionId={plain}", "'plain' is not notarized"),
    ):
        done = run("certificate", uri, "--out", out)
        assert (done.code, done.out) == (1, "") and text in done.err
        assert done.err.count("\n") == 1 and not out.exists()
    for uri in ("k", "photos/k", "s3://photos", "s3://photos/", "s3://", "s3://photos/k?versionId=",
                "https://photos/k"):  # fmt: skip
        done = run("certificate", uri)
        assert (done.code, done.out) == (2, "") and "s3://BUCKET/KEY" in done.err


def test_pending(run: Run, house: House) -> None:
    """Checkpoints come every five seconds: what is written right after one waits."""
    house.put("first")
    house.until_notarized("first")
    house.put("second")
    done = run("certificate", "s3://photos/second")
    assert done.code == 1
    assert "'second' is not under a published checkpoint yet: try again" in done.err
    house.until_notarized("second")
    assert run("certificate", "s3://photos/second").code == 0


def test_status_and_keys(run: Run, house: House) -> None:
    house.put("k")
    house.until_notarized("k")
    facts = run("status", "--json").facts
    assert facts["entries"] == facts["published"] > 0 == facts["waiting"]
    assert facts["checkpoint"].startswith(f"{facts['origin']}\n{facts['published']}\n")
    assert facts["alarms"] == facts["mirrors"] == facts["witnesses"] == facts["hooks"] == []
    done = run("status")
    assert f"log        {facts['origin']}" in done.out
    assert "served at  nowhere (notary.listen)" in done.out and "ALARM" not in done.out
    keys = run("keys").out.splitlines()
    assert [line.partition("  # ")[2] for line in keys] == ["paris", "paris"]
    assert [line.partition("+")[0] for line in keys] == [
        facts["origin"],
        f"{facts['origin']}/witness",
    ]
    none = run("forget-alarm", 7)
    assert none.code == 1 and "there is no alarm 7" in none.err
    for wrong in (0, "x"):
        assert run("forget-alarm", wrong).code == 2
    for name, reason in (("paris", "waits for nothing"), ("tokyo", "this datacenter is 'paris'")):
        refused = run("accept-loss", "--yes", name)
        assert (refused.code, refused.out) == (1, "") and reason in refused.err
    assert facts["restoring"] == "" and "restoring" not in done.out


def test_the_api_refuses_what_it_does_not_know(house: House) -> None:
    api = AdminClient(house.root)
    for ask in (
        lambda: api.put("notary", "buckets", "photos", body={"on": "yes"}),
        lambda: api.put("notary", "buckets", "photos", body={"on": True, "more": 1}),
        lambda: api.put("notary", "buckets", "photos", body={}),
        lambda: api.put("notary", "buckets", "none", body={"on": True}),
        lambda: api.put("notary", "service", body={"dns": "a.example", "key": "k", "port": "x"}),
        lambda: api.put("notary", "service", body={"dns": "a.example"}),
        lambda: api.get("notary", "certificate"),
        lambda: api.get("notary", "certificate", query={"bucket": "photos"}),
        lambda: api.delete("notary", "alarms", "x"),
    ):
        with pytest.raises(AdminError) as refused:
            ask()
        assert "its log says why" not in str(refused.value)
    assert {"name": "photos", "notarized": True} in api.get("notary", "buckets")["buckets"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """Where its CA is, and its port."""
    folder = tmp_path_factory.mktemp("service")
    make_ca(folder, "root")
    make_certificate(folder, "root", "web", "web")
    with served("notary_service.py", folder / "web.pem", folder / "web.key") as port:
        yield folder / "root.pem", port


def test_a_service_counts_at_once(run: Run, house: House, service: tuple[Path, int]) -> None:
    ca, port = service
    given = ("--dns", "localhost", "--port", port, "--ca", ca)
    path = house.root / "notary" / "service.json"
    assert run("service", "show").out == "no notary service is set\n"
    done = run("service", "set", *given, "--key", KEY)
    assert done.code == 0 and f"https://localhost:{port}" in done.out
    assert path.stat().st_mode & 0o777 == 0o600
    house.put("told", b"told")
    deadline = time.monotonic() + 20

    def hook() -> Any:
        return next(iter(run("status", "--json").facts["hooks"]), None)

    while not hook() or hook()["error"] or hook()["behind"] or not hook()["entries"]:
        assert time.monotonic() < deadline, hook()
    shown = [done, run("service", "show"), run("service", "show", "--json"), run("status"),
             run("status", "--json")]  # fmt: skip
    assert shown[2].facts == {"dns": "localhost", "port": port, "ca": str(ca)}
    assert not any(KEY in one.out + one.err for one in shown)
    assert re.search(r"^service +\d+ +0 ", shown[3].out, re.MULTILINE), shown[3].out
    wrong = ca.with_name("key.txt")
    wrong.write_text("status:403\n")
    assert run("service", "set", *given, "--key-file", wrong).code == 0
    house.put("refused")
    while not hook()["error"]:
        assert time.monotonic() < deadline
    assert hook()["name"] == "service" and "status:403" not in json.dumps(hook())
    # One that cannot be set changes nothing: what the first was not told of is still to come.
    behind = hook()["behind"]
    for bad in (("--dns", "https://localhost"), ("--dns", "a.example", "--ca", wrong)):
        assert run("service", "set", *bad, "--key", KEY).code == 1
        while not hook()["error"]:
            assert time.monotonic() < deadline, hook()
        assert hook()["behind"] == behind > 0
    gone = run("service", "remove")
    assert (gone.code, gone.out) == (0, "no notary service is set\n") and not path.exists()
    assert hook() is None
    assert run("service", "remove").code == 0


def test_services_that_cannot_be_set(run: Run, house: House, tmp_path: Path) -> None:
    path, binary, empty = house.root / "notary" / "service.json", tmp_path / "b", tmp_path / "e"
    binary.write_bytes(b"\xff\xfe")
    empty.write_bytes(b"\n")
    name = ("--dns", "notary.example.com")
    for arguments, code in (
        ((*name,), 2),
        ((*name, "--key", KEY, "--key-file", empty), 2),
        (("--key", KEY), 2),
        ((*name, "--key", KEY, "--port", "0"), 2),
        ((*name, "--key-file", tmp_path / "none"), 2),
        ((*name, "--key-file", binary), 1),
        ((*name, "--key-file", empty), 1),
        ((*name, "--key", f"{KEY} {KEY}"), 1),
        (("--dns", "https://notary.example.com", "--key", KEY), 1),
        (("--dns", "", "--key", KEY), 1),
        ((*name, "--key", KEY, "--ca", tmp_path / "none.pem"), 1),
        ((*name, "--key", KEY, "--ca", binary), 1),
    ):
        done = run("service", "set", *arguments)
        assert (done.code, done.out, path.exists()) == (code, "", False), arguments
        assert KEY not in done.err
    path.write_text(json.dumps({"dns": "a.example", "key": KEY}))
    path.chmod(0o644)
    done = run("service", "show")
    assert done.code == 1 and "chmod 600" in done.err and KEY not in done.err
    assert run("service", "remove").code == 0 and not path.exists()


def test_where_no_datacenter_runs(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    init(tmp_path / "dc")
    monkeypatch.setenv("FARSHORE_DC", str(tmp_path / "dc"))
    for arguments in (
        ("enable", "photos"), ("disable", "photos"), ("status",), ("keys",), ("forget-alarm", 1),
        ("accept-loss", "--yes", "paris"),
        ("certificate", "s3://photos/k"), ("service", "show"), ("service", "remove"),
        ("service", "set", "--dns", "a.example", "--key", KEY),
    ):  # fmt: skip
        done = run(*arguments)
        assert (done.code, done.out) == (1, "") and "farshore serve" in done.err
    monkeypatch.delenv("FARSHORE_DC")
    assert run("status").code == 2
