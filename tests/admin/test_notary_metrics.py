"""The notary's numbers for Prometheus, of a notary that has all kinds of trouble."""

from typing import Any

from prometheus_client import generate_latest

from admin.metrics import notary
from admin.metrics.page import Page

STATUS: dict[str, Any] = {
    "entries": 12,
    "published": 10,
    "waiting": 3,
    "lost": 1,
    "alarms": [{"id": 1, "name": "a secret name"}, {"id": 2}],
    "errors": {"notary log": "disk", "notary hook service": "refused"},
    "witnesses": [{"name": "tokyo", "signed": True}, {"name": "rome", "signed": False}],
    "hooks": [
        {"name": "service", "error": "refused", "behind": 7},
        {"name": "rfc3161", "error": "", "behind": 0},
    ],
}


def test_what_is_shown() -> None:
    page = Page()
    notary.show(page, STATUS)
    text = generate_latest(page).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == [
        "farshore_notary_entries 12.0",
        "farshore_notary_published 10.0",
        "farshore_notary_waiting 3.0",
        "farshore_notary_lost_total 1.0",
        "farshore_notary_alarms 2.0",
        "farshore_notary_failing 2.0",
        'farshore_notary_witnessed{peer="tokyo"} 1.0',
        'farshore_notary_witnessed{peer="rome"} 0.0',
        'farshore_notary_hook_failing{hook="service"} 1.0',
        'farshore_notary_hook_failing{hook="rfc3161"} 0.0',
        'farshore_notary_hook_behind{hook="service"} 7.0',
        'farshore_notary_hook_behind{hook="rfc3161"} 0.0',
    ]
    assert "secret" not in text
