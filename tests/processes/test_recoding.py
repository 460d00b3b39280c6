"""Another redundancy, disks instead of one, and tiers, in a real datacenter: all is re-coded in the
background, while others write, also when it is killed again and again and disks are lost."""

import json
import random
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from process_kit import Dc, eventually, farshore, pair, s3_client
from test_disks import folders, load_for, remove
from test_kills import check_unknown, missing
from test_reclaiming import fill, user, wrong

from dc.objects.format import HEADER_BYTES, Header, decode_header

pytestmark = pytest.mark.process


@pytest.fixture
def dc(tmp_path: Path) -> Iterator[Dc]:
    """A datacenter with one disk that does not run yet."""
    made = Dc(tmp_path / "dc", "dc")
    configure(made, compaction_every="1s", compaction_grace="1s")
    yield made
    made.end()


def configure(dc: Dc, more: str = "", **fields: object) -> None:
    """Change fields of the configuration; `more` are tables."""
    path = dc.folder / "farshore.toml"
    text = path.read_text().partition("# more\n")[0]
    for name, value in fields.items():
        written = re.sub(r"'", '"', f"{name} = {value!r}")
        text, found = re.subn(rf"(?m)^{name} = .*$", written, text)
        assert found == 1, name
    path.write_text(f"{text}# more\n{more}")


def on_disks(dc: Dc, redundancy: str, count: int, more: str = "") -> None:
    """Say that objects are on so many disks, and prepare those that are new."""
    disks = folders(dc.folder.parent, count)
    configure(dc, more, disks=[str(one) for one in disks], redundancy=redundancy)
    for one in disks:
        if not one.exists():
            dc.cli("disk", "prepare", one)


def headers(root: Path) -> list[Header]:
    found = []
    for path in root.rglob("*.fss"):
        try:
            raw = path.read_bytes()[:HEADER_BYTES]
        except FileNotFoundError:
            continue  # It was emptied and removed meanwhile.
        if len(raw) == HEADER_BYTES:
            found.append(decode_header(raw))
    return found


def recoded(dc: Dc, seconds: float = 60) -> None:
    def ready() -> bool:
        left = dc.facts("objects", "status")["recoding"]
        return left is not None and left["bytes_left"] == 0

    eventually("all is re-coded", ready, seconds)


def test_one_disk_becomes_several_and_their_mode_changes(tmp_path: Path, dc: Dc) -> None:
    """Under load, with kills; then as many disks are lost as may be, and the names as well."""
    dc.start()
    keys = user(dc)
    client = s3_client(dc.s3_port, keys)
    kept = fill(client)
    loads = []
    refused = dc.cli("disk", "add", tmp_path / "x", check=False)
    assert refused.returncode == 1 and "objects.redundancy in farshore.toml" in refused.stderr
    for turn, (mode, count) in enumerate((("2+1", 3), ("4+2", 6))):
        on_disks(dc, mode, count)
        dc.stop()
        dc.start()
        for number in range(3):
            load = load_for(dc, keys, f"{turn}/{number}", 0.7)
            dc.kill()
            load.end()
            loads.append(load)
            dc.start()
        recoded(dc)
        assert wrong(client, kept) == []

        def only(mode: str = mode) -> bool:
            tiers = dc.facts("tier", "list")
            kinds = {f"{one.k}+{one.m}" for one in headers(tmp_path)}
            return kinds == {mode} and [one["name"] for one in tiers] == ["standard"]

        eventually("nothing of another mode is left", only, 90)
    assert not list((dc.folder / "containers").glob("*.fsc"))
    status = dc.facts("status")
    assert (status["redundancy"], status["bytes_to_recode"]) == ("4+2", 0)
    dc.stop()
    for folder in folders(tmp_path, 6)[2:4]:
        remove(folder)
    found = json.loads(farshore("check", dc.folder, "--json", check=False).stdout)
    assert found["defects"] == 0
    # A container that lacks the two slots, and nothing else.
    assert found["damages"] and {one["problem"] for one in found["damages"]} == {"it is on no disk"}
    shutil.rmtree(dc.folder / "names")
    made = farshore("names", "rebuild", dc.folder, "--json")
    assert made.returncode == 0, made.stderr
    dc.start()
    assert wrong(client, kept) == []
    for load in loads:
        assert load.acknowledged and missing(client, load) == []
        check_unknown(client, load)
    dc.stop()
    configure(dc, redundancy="1+0", disks=[])
    back = farshore("serve", dc.folder, check=False)
    assert back.returncode == 1 and "cannot go back to one" in back.stderr


TIERS = """
[objects.tiers.archive]
redundancy = "2+1"
disks = ["*/disk2", "*/disk3", "*/disk4"]
[objects.tiers.standard]
disks = ["*/disk0", "*/disk1", "*/disk5"]
"""


def test_a_tier_for_a_bucket(tmp_path: Path, dc: Dc) -> None:
    """Whatever writes into the bucket; and the tier is changed under load, with kills and without
    one disk of each tier."""
    on_disks(dc, "1+1", 6, TIERS)
    dc.start()
    keys = user(dc)
    client = s3_client(dc.s3_port, keys)
    assert dc.facts("bucket", "tier", "shared") == {
        "name": "shared", "tier": "standard", "here": "standard", "redundancy": "1+1"
    }  # fmt: skip
    bad = dc.cli("bucket", "tier", "shared", "glacier", check=False)
    assert bad.returncode == 1
    assert "no tier 'glacier' here: there are standard, archive" in bad.stderr
    dc.cli("bucket", "tier", "shared", "archive")
    assert "archive" in dc.cli("bucket", "list").stdout
    kept = fill(client)
    copied = max(kept, key=lambda key: len(kept[key]))
    client.copy_object(Bucket="shared", Key="copy", CopySource={"Bucket": "shared", "Key": copied})
    kept["copy"] = kept[copied]
    seen = {(one.tier, one.k, one.m) for one in headers(tmp_path)}
    # The journal is in `standard`; nothing else is.
    assert seen == {("standard", 1, 1), ("archive", 2, 1)}
    size = sum(map(len, kept.values()))

    def counted(archive: bool) -> bool:
        live = {one["name"]: one["bytes_live"] for one in dc.facts("tier", "list")}
        return live["archive" if archive else "standard"] >= size

    eventually("it is in the archive", lambda: counted(True))
    assert wrong(client, kept) == []
    loads = []
    for turn, name in enumerate(["standard", "archive", "standard"]):
        dc.cli("bucket", "tier", "shared", name)
        load = load_for(dc, keys, f"load {turn}", 1)
        dc.kill()
        load.end()
        loads.append(load)
        if turn == 1:
            remove(tmp_path / "disk0")
            remove(tmp_path / "disk2")
        dc.start()
        assert wrong(client, kept) == []
    recoded(dc)
    eventually("it is back", lambda: counted(False))
    assert wrong(client, kept) == []
    for load in loads:
        assert load.acknowledged and missing(client, load) == []
        check_unknown(client, load)
    disks = {path.parent.parent.name for path in tmp_path.rglob("*.fss")}
    assert disks <= {"disk1", "disk3", "disk4", "disk5"}


def test_a_tier_reaches_the_other_datacenter(tmp_path: Path, dc: Dc) -> None:
    """It keeps what it takes in its own tier of that name; without one in `standard`."""
    other = Dc(tmp_path / "other", "other")
    chance = random.Random(3)
    try:
        on_disks(dc, "1+1", 6, TIERS)
        dc.start()
        other.start()
        pair(dc, other)
        keys = user(other)
        eventually("the bucket is there", lambda: "shared" in dc.cli("bucket", "list").stdout)
        dc.cli("bucket", "tier", "shared", "archive")

        def told() -> bool:
            return bool(other.facts("bucket", "tier", "shared")["tier"] == "archive")

        eventually("the tier is known", told)
        assert "is kept as standard (1+0)" in other.cli("bucket", "tier", "shared").stdout
        kept = {f"{size}": chance.randbytes(size) for size in (100, 300_000, 20_000_000)}
        far = s3_client(other.s3_port, keys)
        for key, data in kept.items():
            far.put_object(Bucket="shared", Key=key, Body=data)
        client = s3_client(dc.s3_port, keys)

        def all_there() -> bool:
            found: list[Any] = client.list_objects_v2(Bucket="shared").get("Contents", [])
            return len(found) == len(kept)

        eventually("all is there", all_there)
        assert wrong(client, kept) == []
        time.sleep(1.5)
        live = {one["name"]: one["bytes_live"] for one in dc.facts("tier", "list")}
        eventually(
            "all is in the archive",
            lambda: (
                {one["name"]: one for one in dc.facts("tier", "list")}["archive"]["bytes_live"]
                == sum(map(len, kept.values()))
            ),
        )
        assert live["standard"] == 0
    finally:
        other.end()
