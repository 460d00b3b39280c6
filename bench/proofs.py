"""Rows about the notary: how fast entries are made beside writes, certificates of a large log."""

import json
import sqlite3
import time
from pathlib import Path

from bench import wrk
from bench.datacenter import Datacenter
from bench.errors import BenchError
from bench.small import PUTS_PER_SECOND_MAX, Figures, figures
from bench.stats import percentile
from bench.world import World
from dc.stamps import utc_text
from notary import tables
from notary.entries import Entry, encode
from notary.note import origin_of

WRITE_SECONDS, WRITE_SECONDS_QUICK = 30, 5
CATCH_UP_SECONDS_MAX = 120
CONNECTIONS = 64
ENTRIES, ENTRIES_QUICK = 10_000_000, 200_000
BATCH = 20_000
CERTIFICATES = 2000


def notarize(world: World) -> Figures:
    """PUTs as fast as they are answered, into a notarized bucket of one DC of a pair. `rate`:
    entries under a published checkpoint, from the first PUT until the last is."""
    datacenter, _ = world.pair()
    bucket = world.new_bucket(datacenter, "notarized")
    datacenter.cli("notary", "enable", bucket)
    before = _status(datacenter)["published"]
    seconds = world.settings.count(WRITE_SECONDS, WRITE_SECONDS_QUICK)
    keys = world.new_keys(PUTS_PER_SECOND_MAX * seconds)
    targets = datacenter.s3.presigner.paths("PUT", bucket, keys)
    with world.measured(datacenter) as meter:
        load = wrk.run(
            datacenter.address,
            "PUT",
            targets,
            world.folder,
            connections=CONNECTIONS,
            seconds=seconds,
            body=world.small_body,
            once=True,
        )
        put_until = time.time()
        behind = _status(datacenter)
    entries = _published(datacenter, before + load.requests)
    took = time.time() - load.started
    _check_some(world, datacenter, bucket)
    found = figures(load, meter)
    return {
        "rate": (entries - before) / took,
        "put_rate": found["rate"],
        "put_p99_ms": found["p99_ms"],
        "cpu_ms": found["cpu_ms"],
        "behind": load.requests + before - behind["published"],
        "catch_up_seconds": time.time() - put_until,
    }


def certificates(world: World) -> Figures:
    """Certificates of objects in a log of ten million entries, over S3, one after the other."""
    datacenter = world.start("proven")
    datacenter.add_user()
    bucket = world.new_bucket(datacenter, "proven")
    datacenter.cli("notary", "enable", bucket)
    count = world.settings.count(ENTRIES, ENTRIES_QUICK)
    datacenter.stop()
    began = time.time()
    size = _fill(datacenter.folder / "notary" / "log.db", count)
    print(f"    (a log of {count:,} entries: {time.time() - began:.0f} s)", flush=True)
    datacenter.start()
    keys = world.new_keys(CERTIFICATES)
    world.put_all(datacenter, bucket, keys)
    _published(datacenter, count + len(keys))
    times, sizes = [], []
    for key in keys:
        at = time.perf_counter()
        found = datacenter.s3.must("GET", bucket, key, query=(("notary", ""),))
        times.append((time.perf_counter() - at) * 1000)
        sizes.append(len(found))
        if json.loads(found)["index"] < count:
            raise BenchError(f"the certificate of {key} is of another entry")
    return {
        "p50_ms": percentile(times, 50),
        "p99_ms": percentile(times, 99),
        "max_ms": max(times),
        "bytes": sum(sizes) / len(sizes),
        "bytes_per_entry": size / count,
    }


def _status(datacenter: Datacenter) -> dict[str, int]:
    found: dict[str, int] = json.loads(datacenter.cli("notary", "status", "--json"))
    return found


def _published(datacenter: Datacenter, wanted: int) -> int:
    """Wait until so many entries are under a checkpoint."""
    deadline = time.monotonic() + CATCH_UP_SECONDS_MAX
    while (found := _status(datacenter)["published"]) < wanted:
        if time.monotonic() > deadline:
            raise BenchError(f"{found} of {wanted} entries are published")
        time.sleep(0.2)
    return found


def _check_some(world: World, datacenter: Datacenter, bucket: str) -> None:
    keys = datacenter.s3.keys(bucket)
    for key in world.random.sample(keys, min(20, len(keys))):
        certificate = json.loads(datacenter.s3.must("GET", bucket, key, query=(("notary", ""),)))
        if json.loads(certificate["entry"])["key"] != key:
            raise BenchError(f"the certificate of {key} is of another object")


def _fill(path: Path, count: int) -> int:
    """Append so many entries to the log of a DC that does not run; the bytes that they take."""
    before = path.stat().st_size
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous=OFF")
    log = tables.logs(db)[0]
    dc_id = log.origin.removeprefix(origin_of(""))
    now_ms = int(time.time() * 1000) - count
    for first in range(0, count, BATCH):
        some = [_entry(number, dc_id, now_ms + number) for number in range(first, first + BATCH)]
        db.execute("BEGIN")
        log = tables.append(db, log, some[: count - first])
        db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    db.close()
    return path.stat().st_size - before


def _entry(number: int, dc_id: str, at_ms: int) -> bytes:
    return encode(
        Entry(
            v=1,
            type="version",
            dc="proven",
            dc_id=dc_id,
            bucket="filled",
            bucket_id="0123456789abcdef",
            key=f"folder-{number % 1000:03d}/object-{number:08d}",
            version_id="null",
            stamp=f"{at_ms:012x}0000{dc_id}",
            size=4096,
            sha256=f"{number:064x}",
            of="object",
            time=utc_text(at_ms),
        )
    )
