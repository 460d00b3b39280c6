"""Requests of S3 clients."""

from admin.metrics.page import Page
from gateway.counts import CLASSES, Counts

_CLASSES = ("none", *(f"{number}xx" for number in range(1, CLASSES)))


def show(page: Page, counts: Counts, connections: int) -> None:
    """All of it is in memory."""
    tallies = sorted(counts.operations.items())
    page.counters(
        "s3_requests",
        "Requests that have ended, by operation and status",
        ("operation", "status"),
        [
            ((operation, status), count)
            for operation, tally in tallies
            for status, count in zip(_CLASSES, tally.answers, strict=True)
        ],
    )
    page.histograms(
        "s3_request_seconds",
        "From the head of a request to the end of its answer",
        ("operation",),
        [((operation,), tally.seconds) for operation, tally in tallies],
    )
    for name, what in (("received", "received"), ("sent", "sent")):
        page.counters(
            f"s3_{name}_bytes",
            f"Bytes of bodies that were {what}",
            ("operation",),
            [((operation,), getattr(tally, name)) for operation, tally in tallies],
        )
    page.counters(
        "s3_errors",
        "Answers by the code of their error",
        ("code",),
        [((code,), count) for code, count in sorted(counts.codes.items())],
    )
    page.counter("s3_malformed", "What came and was no HTTP", counts.malformed)
    page.gauge("s3_requests_in_flight", "Requests that have not ended", counts.begun - counts.ended)
    page.gauge("s3_connections", "Open connections of S3 clients", connections)
