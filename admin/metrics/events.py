"""Events of all changes (`dc/events`)."""

from typing import Any

from admin.metrics.page import Page


def show(page: Page, status: dict[str, Any]) -> None:
    on = status["state"] not in ("none", "off")
    page.gauge("events_on", "Whether changes are told as events", on)
    page.gauge("events_connected", "Whether the broker is", status["state"] == "connected")
    page.gauge("events_position", "All up to here is told", status["position"])
    page.gauge("events_behind", "Positions still to be told", status["behind"])
    page.gauge("events_lag_seconds", "The oldest change still to be told", status["lag_seconds"])
    page.counter("events_published", "Events that were acknowledged", status["published"])
