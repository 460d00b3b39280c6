"""The notary (`notary/`)."""

from typing import Any

from admin.metrics.page import Page


def show(page: Page, status: dict[str, Any]) -> None:
    page.gauge("notary_entries", "Entries of this datacenter's log", status["entries"])
    page.gauge("notary_published", "Those under a published checkpoint", status["published"])
    page.gauge("notary_waiting", "Writes that are no entries yet", status["waiting"])
    page.counter("notary_lost", "Writes whose bytes had gone before they were read", status["lost"])
    page.gauge("notary_alarms", "Logs that contradicted themselves", len(status["alarms"]))
    page.gauge("notary_failing", "Works whose last try failed", len(status["errors"]))
    signed = [((one["name"],), one["signed"]) for one in status["witnesses"]]
    page.gauges("notary_witnessed", "Whether it signed the last checkpoint", ("peer",), signed)
    failing = [((one["name"],), bool(one["error"])) for one in status["hooks"]]
    page.gauges("notary_hook_failing", "Whether its last try failed", ("hook",), failing)
    behind = [((one["name"],), one["behind"]) for one in status["hooks"]]
    page.gauges("notary_hook_behind", "Entries that it was not told of", ("hook",), behind)
