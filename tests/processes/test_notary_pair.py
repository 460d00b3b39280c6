"""The notary of two datacenters, as processes: what one has stored is proven by the other, too; and
a log that is rewritten or put back is caught."""

import hashlib
import json
import re
import shutil
import threading
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from process_kit import Dc, eventually, farshore, s3_client
from proofs_kit import Two, certificate, got, mark, rewrite, serve_log, two_of, until_notarized
from tools_kit import Tools

pytestmark = pytest.mark.process
WRITERS = 4


def test_a_certificate_holds_wherever_it_is_had(tmp_path: Path) -> None:
    """From the origin, from its replica, from its replica alone; for the product and for the
    second reader, which reads the logs over HTTP, too. Then the log is rewritten."""
    from notary_checker import verify_certificate
    from notary_log_checker import verify_log

    body = b"a contract"
    file, cert, known = (tmp_path / name for name in ("contract.pdf", "contract.cert", "keys"))
    file.write_bytes(body)
    with two_of(tmp_path) as two:
        paris, tokyo = two.paris, two.tokyo
        Tools(tmp_path, two.keys).aws(paris, "s3", "cp", file, "s3://photos/contract.pdf")
        two.put("käse.txt", b"brie")
        keys = ("contract.pdf", "käse.txt")
        until_notarized(two.at_paris, *keys)
        until_notarized(two.at_tokyo, *keys)
        two.until_mirrored("the log")
        given = [certificate(client, "contract.pdf") for client in (two.at_paris, two.at_tokyo)]
        assert given[0] == given[1]
        paris.cli("notary", "certificate", "s3://photos/contract.pdf", "--out", cert)
        assert cert.read_bytes() == given[0]
        known.write_text(tokyo.cli("notary", "keys").stdout)
        vkeys = [line.partition("  #")[0] for line in known.read_text().splitlines()]
        assert sorted(vkeys) == sorted(one["key"] for one in paris.facts("notary", "keys"))
        entry = verify_certificate(given[0], vkeys, witnesses=1)
        assert entry["sha256"] == hashlib.sha256(body).hexdigest()
        origin = json.loads(paris.cli("notary", "status", "--json").stdout)["origin"]
        for served in two.logs.values():
            log = verify_log(lambda path, at=served: got(f"{at}/{origin}/{path}"), vkeys, 1)
            found = [json.loads(one) for one in log.entries]
            assert [(one["type"], one.get("key")) for one in found] == [
                ("enabled", None),
                ("version", "contract.pdf"),
                ("version", "käse.txt"),
            ]
            assert f"{origin}/checkpoint\n".encode() in (got(served + "/") or b"")
        assert paris.stop() == 0
        assert certificate(two.at_tokyo, "contract.pdf") == given[0]
        assert mark(two.at_tokyo, "käse.txt") == "notarized"
        page = tmp_path / "page.html"
        tokyo.cli("notary", "certificate", "s3://photos/contract.pdf", "--html", page)
        assert "s3://photos/contract.pdf" in page.read_text()
        log_that_was_put_back_comes_back(two, tmp_path / "copy")
        seen = tmp_path / "seen"
        audit = ("notary", "audit", f"{two.logs['paris']}/{origin}", "--keys", known)
        assert "whole" in farshore(*audit, "--checkpoint", seen).stdout
        rewritten_log_is_caught(two, "contract.pdf", given[0])
        done = farshore(*audit, "--checkpoint", seen, check=False)
        assert done.returncode == 1 and "the log was rewritten" in done.stderr
    done = farshore("notary", "verify", file, cert, "--keys", known, "--witnesses", 1)
    assert done.stdout.startswith(f"verified: {file} is s3://photos/contract.pdf\n")
    file.write_bytes(body + b"!")
    assert farshore("notary", "verify", file, cert, "--keys", known, check=False).returncode == 1


def log_that_was_put_back_comes_back(two: Two, copy: Path) -> None:
    """From its peer, before anything is added to it: so it contradicts nothing."""
    paris, folder = two.paris, two.paris.folder / "notary"
    shutil.copytree(folder, copy)
    paris.start()
    two.put("forgotten")
    until_notarized(two.at_paris, "forgotten")
    two.until_mirrored("what is forgotten then")
    before = certificate(two.at_paris, "forgotten")
    assert paris.stop() == 0
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    paris.start()
    two.put("more")
    until_notarized(two.at_paris, "forgotten", "more")
    two.until_mirrored("what came after")
    assert certificate(two.at_paris, "forgotten") == before
    assert not two.tokyo.ask("notary")["alarms"]


def test_what_nobody_gives_back_is_accepted_as_lost(tmp_path: Path) -> None:
    """A log that was put back from a copy, and the peer that has the rest does not answer."""
    with two_of(tmp_path) as two:
        paris, tokyo = two.paris, two.tokyo
        two.put("kept")
        until_notarized(two.at_paris, "kept")
        done = paris.cli("notary", "accept-loss", "--yes", "paris", check=False)
        assert done.returncode == 1 and "waits for nothing" in done.stderr
        assert paris.stop() == 0
        folder, copy = paris.folder / "notary", tmp_path / "copy"
        shutil.copytree(folder, copy)
        paris.start()
        two.put("lost")
        until_notarized(two.at_paris, "lost")
        two.until_mirrored("what is lost then")
        entries = paris.ask("notary")["entries"]
        given = certificate(two.at_paris, "lost")
        assert (paris.stop(), tokyo.stop()) == (0, 0)
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
        paris.start()
        eventually("paris knows what it lacks", lambda: bool(paris.ask("notary")["restoring"]))
        assert f"{entries}" in paris.ask("notary")["restoring"]
        two.put("later")
        assert mark(two.at_paris, "later") == "pending"
        for name in ("tokyo", ""):
            done = paris.cli("notary", "accept-loss", "--yes", name, check=False)
            assert done.returncode == 1 and "this datacenter is 'paris', not" in done.stderr
        assert paris.ask("notary")["restoring"]
        assert paris.cli("notary", "accept-loss", "--yes", "paris").returncode == 0
        until_notarized(two.at_paris, "later", "lost")
        tokyo.start()
        eventually("tokyo alarms", lambda: bool(tokyo.ask("notary")["alarms"]))
        assert tokyo.ask("notary")["alarms"][0]["reason"] in ("fork", "rollback")
        vkeys = [one["key"] for one in tokyo.ask("notary", "keys")["keys"]]
        from notary_checker import verify_certificate

        assert verify_certificate(given, vkeys, witnesses=1)["key"] == "lost"


def rewritten_log_is_caught(two: Two, key: str, before: bytes) -> None:
    """By whom its datacenter is paired with, though whoever did it has its key; and what was given
    out before holds."""
    paris, tokyo = two.paris, two.tokyo
    assert "ALARM" not in tokyo.cli("notary", "status").stdout
    assert paris.stop() == 0
    rewrite(paris, key)
    paris.start()
    two.put("later")
    eventually("the rewritten log alarms", lambda: bool(tokyo.ask("notary")["alarms"]))
    status = tokyo.cli("notary", "status").stdout
    assert re.search(r"^ALARM 1: paris: the log was rewritten: its \d+ entries ", status, re.M)
    alarm = tokyo.ask("notary")["alarms"][0]
    assert alarm["reason"] == "fork" and alarm["known"] != alarm["shown"]
    eventually("paris is told", lambda: bool(paris.ask("notary")["witnesses"][0]["reason"]))
    assert re.search(
        r"^tokyo +no +it refuses \(422\): ", paris.cli("notary", "status").stdout, re.M
    )
    assert certificate(two.at_tokyo, key) == before != certificate(two.at_paris, key)
    tokyo.cli("notary", "forget-alarm", alarm["id"])
    assert alarm["id"] not in [one["id"] for one in tokyo.ask("notary")["alarms"]]


def test_no_entry_of_what_was_acknowledged_is_lost(tmp_path: Path) -> None:
    """kill -9 while four writers put."""
    paris = Dc(tmp_path / "paris", "paris")
    url = serve_log(paris)
    try:
        paris.start()
        keys = paris.facts("user", "add", "ann@example.org")
        client = s3_client(paris.s3_port, keys)
        client.create_bucket(Bucket="photos")
        paris.cli("notary", "enable", "photos")
        acknowledged: dict[str, str] = {}
        stop = threading.Event()

        def write(label: int) -> None:
            s3, number = s3_client(paris.s3_port, keys), 0
            while not stop.is_set():
                key, body = f"{label}/{number}", f"{label} {number}".encode() * 100
                try:
                    s3.put_object(Bucket="photos", Key=key, Body=body)
                except (BotoCoreError, ClientError):
                    return
                acknowledged[key] = hashlib.sha256(body).hexdigest()
                number += 1

        threads = [threading.Thread(target=write, args=(label,)) for label in range(WRITERS)]
        for thread in threads:
            thread.start()
        for kill_at in (60, 200):
            eventually("there is a load", lambda n=kill_at: len(acknowledged) >= n)
            if kill_at == 60:
                eventually("some are entries", lambda: paris.ask("notary")["entries"] > 1)
        paris.kill()
        stop.set()
        for thread in threads:
            thread.join()
        paris.start()

        def done() -> bool:
            if paris.ask("notary")["waiting"]:
                return False
            status = paris.ask("notary")
            return bool(status["entries"] == status["published"])

        eventually("all is in the log", done)
        from notary_log_checker import verify_log

        status = paris.ask("notary")
        vkeys = [one["key"] for one in paris.ask("notary", "keys")["keys"]]
        log = verify_log(lambda path: got(f"{url}/{status['origin']}/{path}"), vkeys)
        found = [json.loads(one) for one in log.entries[1:]]
        assert len({one["stamp"] for one in found}) == len(found), "none twice"
        shown = {one["key"]: one["sha256"] for one in found}
        assert acknowledged.items() <= shown.items()
        assert len(shown) <= len(acknowledged) + WRITERS
    finally:
        paris.end()
