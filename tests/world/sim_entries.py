"""What must stand in the log of each DC: what its clients were told that it wrote and removed, each
once, in their order, and nothing else. Entries are read as what they are, lines of JSON.
"""

import json
from collections.abc import Iterator
from typing import Any

from sim_clients import OWNERS, Fail
from sim_dc import Dc
from sim_model import REFUSED, Attempt, Item, Model, Switch

from dc.names.model import Kind, Version, bucket_id
from dc.notary import NOTARY
from dc.stamps import stamp_ms, stamp_origin, utc_text
from notary.note import origin_of

Entry = dict[str, Any]
_MEMBERS = {
    "version": "v type dc dc_id bucket bucket_id key version_id stamp size sha256 of time",
    "removed": "v type dc dc_id bucket bucket_id key version_id stamp time",
    "enabled": "v type dc dc_id bucket bucket_id stamp time",
    "disabled": "v type dc dc_id bucket bucket_id stamp time",
}
_NAMES = {
    bucket_id(owner, name): name for owner in OWNERS for name in map("bucket-{}".format, range(9))
}


def entries_of(dc: Dc, origin: str = "") -> list[bytes]:
    """Of a log that a DC has, its own if no other is named."""
    assert dc.proving is not None
    rows = dc.proving.tables.execute(
        "SELECT data FROM entries JOIN logs ON log = number WHERE origin = ? ORDER BY idx",
        (origin or origin_of(dc.dc_id),),
    )
    return [bytes(row[0]) for row in rows]


def notarized(attempt: Attempt | None) -> Version | None:
    """The object of a write that is notarized."""
    version = attempt.version if attempt is not None else None
    if version is None or version.kind != Kind.OBJECT or NOTARY not in version.registers:
        return None
    return version


class Ledger:
    """The log of one DC, against what its clients did."""

    def __init__(self, dc: Dc, model: Model, fail: Fail) -> None:
        assert dc.proving is not None
        self._dc = dc
        self._proving = dc.proving
        self._model = model
        self._fail = fail
        self._entries: list[Entry] = [json.loads(one) for one in entries_of(dc)]
        self._places: dict[tuple[str, str], int] = {}
        """Where the entry of a type and stamp is."""

    def check(self) -> None:
        for place, entry in enumerate(self._entries):
            named = entry["type"], entry["stamp"]
            if named in self._places:
                self._say(f"two entries of {named}: {self._places[named]} and {place}")
            self._places[named] = place
            self._check_form(entry)
        switches = {(one.value, one.bucket) for one in self._mine()}
        for entry in self._entries:
            if entry["type"] in ("enabled", "disabled"):
                value = "on" if entry["type"] == "enabled" else "off"
                life = self._model.bucket(entry["bucket_id"])
                # Making a bucket anew switches it off.
                is_anew = value == "off" and len(life.creates) > 1
                if (value, entry["bucket_id"]) not in switches and not is_anew:
                    self._say(f"nobody did that: {entry}")
        for one in self._mine():
            self._check_switch(one)
        for item, attempts in self._model.items.items():
            self._check_item(item, attempts)
        self._check_made()

    def _say(self, text: str) -> None:
        self._fail("notary", f"{self._dc.name}: {text}")

    def _mine(self) -> Iterator[Switch]:
        return (one for one in self._model.switches if one.dc == self._dc.name)

    def _check_form(self, entry: Entry) -> None:
        """Its members, and that they are of this DC and the bucket."""
        name = _NAMES.get(entry["bucket_id"], "?")
        if (
            list(entry) != _MEMBERS[entry["type"]].split()
            or (entry["v"], entry["dc"], entry["dc_id"]) != (1, self._dc.name, self._dc.dc_id)
            or not (entry["bucket"] == name or entry["bucket"].startswith(f"{name}--conflict-"))
        ):
            self._say(f"not as an entry is to be: {entry}")

    def _check_switch(self, one: Switch) -> None:
        """A switch that changed something has an entry. What another DC said at the same time may
        have come first."""
        alike = [
            other
            for other in self._model.switches
            if other is not one and (other.bucket, other.value) == (one.bucket, one.value)
        ]
        if (
            one.told >= 0
            and one.changes
            and stamp_origin(one.stamp) == self._dc.dc_id
            and not self._proving.was_lost(one.told)
            and not any(other.begun <= one.told for other in alike)
        ):
            kind = "enabled" if one.value == "on" else "disabled"
            if (kind, one.stamp) not in self._places:
                self._say(f"there is no entry of {one}")

    def _check_item(self, item: Item, attempts: list[Attempt]) -> None:
        mine = [one for one in attempts if one.dc == self._dc.name]
        for one in mine:
            version = notarized(one)
            if version is not None:
                self._check_version(item, one, version)
            self._check_removed(item, one, attempts)
        placed = [
            (one, self._places["version", one.stamp])
            for one in mine
            if ("version", one.stamp) in self._places
        ]
        for one, place in placed:
            for other, later in placed:
                if 0 <= one.told < other.begun and later < place:
                    self._say(f"{item}: the {other} comes before the {one}")
            gone = self._places.get(("removed", one.stamp), place)
            if gone < place:
                self._say(f"{item}: the {one} is removed before it is written")

    def _check_version(self, item: Item, one: Attempt, version: Version) -> None:
        place = self._places.get(("version", one.stamp))
        if place is None:
            if one.told >= 0 and not self._proving.was_lost(one.told):
                self._say(f"there is no entry of {item}, the {one}")
            return
        entry = self._entries[place]
        expected = {
            "bucket_id": item[0],
            "key": item[1],
            "version_id": item[2] or "null",
            "size": version.size,
            "sha256": one.sha256 or entry["sha256"],
            "of": "object",
            "time": utc_text(stamp_ms(one.stamp)),
        }
        if entry | expected != entry or one.fate == REFUSED:
            self._say(f"the {one} of {item} has the entry {entry}, expected is {expected}")

    def _check_removed(self, item: Item, one: Attempt, attempts: list[Attempt]) -> None:
        """What was replaced in this DC has an entry of that, unless another DC's write may have
        come in between."""
        there = self._model.find(item, one.replaces) if one.replaces else None
        if notarized(there) is None or one.told < 0 or self._proving.was_lost(one.told):
            return
        between = any(
            other.dc != one.dc and one.replaces < other.stamp < one.stamp for other in attempts
        )
        is_there = ("removed", one.replaces) in self._places
        if not (between or is_there or item in self._model.unclear):
            self._say(f"{item}: the {one} removed the {there}, and there is no entry of that")

    def _check_made(self) -> None:
        """Of every entry that there was such a write."""
        by_stamp = {
            one.stamp: (item, one)
            for item, attempts in self._model.items.items()
            for one in attempts
            if one.version is not None
        }
        for entry in self._entries:
            if entry["type"] not in ("version", "removed"):
                continue
            vid = entry["version_id"] if entry["version_id"] != "null" else ""
            named = (entry["bucket_id"], entry["key"], vid)
            if named in self._model.unclear:
                continue
            item, one = by_stamp.get(entry["stamp"], (None, None))
            if item != named or notarized(one) is None:
                self._say(f"nobody wrote that: {entry}")
            elif entry["type"] == "removed" and not any(
                other.dc == self._dc.name and other.fate != REFUSED and other is not one
                for other in self._model.items[named]
            ):
                self._say(f"nobody removed that: {entry}")
