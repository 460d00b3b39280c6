"""Datacenters whose logs are served, and who looks into them: the reader of `tests/notary`."""

import contextlib
import re
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from process_kit import Dc, eventually, free_port, pair, s3_client

from notary import note, tables, tree
from notary.entries import encode, read_entry
from tokens.identity import Identity

MARK = "x-farshore-notary"


def serve_log(dc: Dc) -> str:
    """Set `notary.listen`, before the start; the address."""
    config, address = dc.folder / "farshore.toml", f"127.0.0.1:{free_port()}"
    text, count = re.subn(
        r'(\[notary\][^\[]*?listen = )""', rf'\g<1>"{address}"', config.read_text()
    )
    assert count == 1
    config.write_text(text)
    return f"http://{address}"


def got(url: str) -> bytes | None:
    """None for what is not served."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: bytes = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            assert error.code == 404, error
        return None
    return found


def mark(client: Any, key: str, bucket: str = "photos") -> str:
    found = client.head_object(Bucket=bucket, Key=key)["ResponseMetadata"]["HTTPHeaders"]
    return str(found.get(MARK, ""))


def until_notarized(client: Any, *keys: str) -> None:
    for key in keys:
        eventually(f"{key} is notarized", lambda key=key: _quiet_mark(client, key) == "notarized")  # type: ignore[misc]


def _quiet_mark(client: Any, key: str) -> str:
    from botocore.exceptions import ClientError

    with contextlib.suppress(ClientError):
        return mark(client, key)
    return ""


def certificate(client: Any, key: str, bucket: str = "photos") -> bytes:
    """GET /bucket/key?notary, which boto3 does not know."""
    event = "before-sign.s3.GetObject"

    def add(request: Any, **_: Any) -> None:
        request.url += ("&" if "?" in request.url else "?") + "notary="

    client.meta.events.register_first(event, add)
    try:
        found = client.get_object(Bucket=bucket, Key=key)
        data: bytes = found["Body"].read()
    finally:
        client.meta.events.unregister(event, add)
    assert found["ContentType"] == "application/vnd.farshore.certificate+json", data[:200]
    return data


class Two:
    """paris and tokyo, paired, and each with the other's bucket `photos`, which is notarized."""

    def __init__(self, folder: Path) -> None:
        self.paris, self.tokyo = (Dc(folder / name, name) for name in ("paris", "tokyo"))
        self.logs = {dc.name: serve_log(dc) for dc in (self.paris, self.tokyo)}
        self.paris.start()
        self.tokyo.start()
        pair(self.paris, self.tokyo)
        self.keys = self.paris.facts("user", "add", "ann@example.org")
        self.at_paris, self.at_tokyo = (
            s3_client(dc.s3_port, self.keys, signature_version="s3v4")
            for dc in (self.paris, self.tokyo)
        )
        self.at_paris.create_bucket(Bucket="photos")
        self.paris.cli("notary", "enable", "photos")

        def there() -> bool:
            return self.tokyo.ask("notary", "buckets")["buckets"] == [
                {"name": "photos", "notarized": True}
            ]

        eventually("the switch is at tokyo", there)

    def put(self, key: str, body: bytes = b"bytes") -> None:
        self.at_paris.put_object(Bucket="photos", Key=key, Body=body)

    def until_mirrored(self, what: str) -> None:
        """Tokyo has all of the log of paris, and has signed it."""

        def mirrored() -> bool:
            own = self.paris.ask("notary")
            (found,) = self.tokyo.ask("notary")["mirrors"] or [{"published": 0}]
            signed = [one["signed"] for one in own["witnesses"]]
            return signed == [True] and found["published"] == own["published"] == own["entries"]

        eventually(f"tokyo has {what}", mirrored)

    def end(self) -> None:
        self.paris.end()
        self.tokyo.end()


@contextlib.contextmanager
def two_of(folder: Path) -> Iterator[Two]:
    made = Two(folder)
    try:
        yield made
    finally:
        made.end()


def rewrite(dc: Dc, key: str) -> None:
    """What somebody does who has the disk and the key of a datacenter that stands still: another
    SHA-256 for an object; all tiles anew, and each checkpoint signed again."""
    identity = Identity.load((dc.folder / "identity").read_bytes())
    db = sqlite3.connect(dc.folder / "notary" / "log.db", isolation_level=None)
    with contextlib.closing(db):
        db.execute("BEGIN IMMEDIATE")
        own = tables.logs(db)[0]
        entries = tables.page(db, own.number, 0, own.size)
        at = next(n for n, one in enumerate(entries) if read_entry(one).key == key)
        forged = read_entry(entries[at]).__replace__(sha256="0" * 64)
        entries[at] = encode(forged)
        sizes = [
            size
            for (size,) in db.execute("SELECT size FROM checkpoints WHERE log = ?", (own.number,))
        ]
        for table in ("entries", "tiles", "checkpoints"):
            db.execute(f"DELETE FROM {table} WHERE log = ?", (own.number,))
        db.execute("UPDATE logs SET size = 0, sealed = 0 WHERE number = ?", (own.number,))
        log = tables.append(db, own._replace(size=0, sealed=0), entries)
        for size in sorted(sizes):
            root = tree.root(tables.tiles_of(db, log.number), size)
            log = tables.put_checkpoint(db, log, note.sign(identity, size, root))
        db.execute("COMMIT")
