"""What `farshore failover report` prints."""

from typing import Any, cast

import pytest
import typer

from admin.commands import failover

ABSENCE: dict[str, Any] = {
    "name": "tokyo",
    "since_ms": 1_796_052_739_000,
    "back_ms": 1_796_052_745_000,
    "exact": True,
    "at_least": False,
    "replaced": False,
    "writes": 1,
    "bytes": 6,
}


class Api:
    """An admin API that knows of one absence, in which nothing was written lately."""

    def get(self, *_: str, query: dict[str, str]) -> dict[str, Any]:
        replaced = ABSENCE | {"exact": False, "replaced": True}
        known = [] if query["peer"] == "oslo" else [ABSENCE, ABSENCE | {"writes": 2}, replaced]
        return {"absences": known, "writes": [], "next": ""}


def test_what_is_said_when_nothing_was_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(failover, "client", lambda _: Api())
    failover.report(cast(typer.Context, None), "oslo", "")
    assert capsys.readouterr().out == "nothing was acknowledged here that others lacked\n"
    failover.report(cast(typer.Context, None), "", "2026-12-01T08:00")
    away = "tokyo was away from 2026-11-30T15:32:19Z to 2026-11-30T15:32:25Z, and lacked"
    assert capsys.readouterr().out.splitlines() == [
        f"{away} 1 write (6 B)",
        f"{away} 2 writes (6 B)",
        f"{away} 1 write (6 B), and perhaps some that later writes here had replaced",
        "nothing was acknowledged here since 2026-12-01T08:00 that others lacked",
    ]
