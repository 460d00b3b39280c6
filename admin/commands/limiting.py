"""How `farshore dc limit` shows what was set, and what holds."""

from datetime import UTC, datetime
from typing import Any

from admin.output import print_fields, print_json
from dc.rate_text import measured_rate, shown_rate

DIRECTIONS = {"in": "from", "out": "to"}


def show_limits(facts: dict[str, Any], as_json: bool) -> None:
    """The answer of the admin API (`admin/limits.py`)."""
    if as_json:
        print_json(facts)
        return
    fields: dict[str, str] = {}
    for direction, word in DIRECTIONS.items():
        found = facts[direction]
        where = f"{word} {facts['name']}"
        fields[where] = f"{_now(found)}, {measured_rate(found['measured'])} measured"
        if found["windows"]:
            for window in found["windows"]:
                holds = ", holds now" if window["holds"] else ""
                fields[f"  {window['between']} {word}"] = f"{window['text']}{holds}"
            fields[f"  else {word}"] = found["text"]
    print_fields(fields)
    if facts["paused"]:
        print(f"{facts['name']} is paused since {facts['paused']}: `farshore dc resume` ends that")


def _now(found: dict[str, Any]) -> str:
    """What holds now in a direction, and who says so."""
    now: int = found["now"]
    if not now:
        return "no limit"
    whose = " (the other side's)" if now == found["theirs"] else ""
    return f"{shown_rate(now)} at most{whose}"


def pace_remarks(peer: dict[str, Any]) -> list[str]:
    """What `farshore replication status` says of a peer whose rate is limited."""
    pace, name = peer["pace"], peer["name"]
    return [
        f"{word} {name}: {shown_rate(pace[f'limit_{direction}'])} at most,"
        f" {measured_rate(pace[f'rate_{direction}'])} measured"
        for direction, word in DIRECTIONS.items()
        if pace[f"limit_{direction}"]
    ]


def paused_since(pace: dict[str, Any]) -> str:
    """Who has paused, and since when."""
    here, there = pace["paused_ms"], pace["paused_there_ms"]
    since = datetime.fromtimestamp((here or there) // 1000, UTC)
    return f"{'here' if here else 'there'} since {since:%Y-%m-%dT%H:%M:%SZ}"
