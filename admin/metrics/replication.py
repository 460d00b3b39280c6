"""Names, their journal, and other datacenters."""

from collections.abc import Callable

from admin.metrics.page import Page, Value
from dc.names.service import SqliteNames
from dc.objects.journal import Journal
from replicator import status
from replicator.status import PeerStatus, ReplicationStatus, Waiting

_WORDS = (
    status.CONNECTING,
    status.SEEDING,
    status.STREAMING,
    status.BEHIND,
    status.IDENTICAL,
    status.IDLE,
    status.UNREACHABLE,
    status.OFFLINE,
    status.REFUSED,
    status.PAUSED,
    status.FAILED,
)


def show_names(page: Page, names: SqliteNames, journal: Journal) -> None:
    """All of it is in memory."""
    behind = journal.status()
    page.gauge("users", "S3 users", len(names.directory.users()))
    page.gauge("feed_end", "The last position of the change feed", names.feed_end)
    page.counter("names_commits", "Transactions that changed names", names.commits)
    page.gauge("journal_behind", "Positions not yet in the journal", behind["journal_behind"])
    page.gauge("journal_segments", "Segments of the journal", behind["journal_segments"])


def show(page: Page, now: ReplicationStatus) -> None:
    page.gauge("conflicts", "Losers of concurrent writes that are kept", now.conflicts)
    page.gauge("absent_objects", "Objects whose bytes are elsewhere", now.absent.objects)
    page.gauge("absent_bytes", "Their bytes", now.absent.bytes)
    page.gauge("absent_to_come_objects", "Those that belong here", now.absent.to_come)
    page.gauge("absent_to_come_bytes", "Their bytes", now.absent.to_come_bytes)
    peers = sorted(now.peers, key=lambda peer: peer.name)
    page.gauges(
        "replication_state",
        "The state of a peer",
        ("peer", "state"),
        [((peer.name, word), word == peer.state) for peer in peers for word in _WORDS],
    )

    def gauge(name: str, text: str, value: Callable[[PeerStatus], Value]) -> None:
        values = [((peer.name,), value(peer)) for peer in peers]
        page.gauges(f"replication_{name}", text, ("peer",), values)

    def counter(name: str, text: str, value: Callable[[PeerStatus], Value]) -> None:
        values = [((peer.name,), value(peer)) for peer in peers]
        page.counters(f"replication_{name}", text, ("peer",), values)

    gauge("lag_seconds", "The age of our oldest change that it lacks", lambda p: p.lag_seconds)
    for name, text in (("give", "Our changes that it lacks"), ("take", "Its changes that we lack")):
        lacking: list[tuple[tuple[str, ...], Waiting]] = [
            ((peer.name,), found)
            for peer in peers
            if (found := getattr(peer, f"to_{name}")) is not None
        ]
        changes = [(of, found.changes) for of, found in lacking]
        sizes = [(of, found.bytes) for of, found in lacking]
        page.gauges(f"replication_to_{name}_changes", text, ("peer",), changes)
        page.gauges(f"replication_to_{name}_bytes", "Bytes of these", ("peer",), sizes)
    gauge("behind", "Positions and inbox still to be finished here", lambda p: p.behind)
    gauge("our_behind", "Positions of ours that it has not acknowledged", lambda p: p.our_behind)
    gauge("inbox", "Changes of it that are not finished", lambda p: p.inbox)
    gauge("inbox_failing", "Those that were tried in vain", lambda p: p.failing)
    gauge("streaming_to", "Whether it has our feed open", lambda p: p.streaming_to)
    gauge(
        "last_contact_timestamp_seconds",
        "When it said something last",
        lambda p: p.heard_ms / 1000 if p.heard_ms else None,
    )
    gauge("identical", "Whether both hold the same", lambda p: p.state == status.IDENTICAL)
    gauge("differs", "Whether both have all, and not the same", lambda p: p.differs)
    gauge(
        "verified_timestamp_seconds",
        "When both were last compared",
        lambda p: p.verified.at_ms / 1000 if p.verified else None,
    )
    gauge(
        "verified_identical",
        "Whether they were the same then",
        lambda p: p.verified.identical if p.verified else None,
    )
    _show_terms(gauge)
    counter("taken_changes", "Changes that came", lambda p: p.changes_in)
    counter("taken_bytes", "Bytes that came", lambda p: p.bytes_in)
    counter("given_changes", "Changes that went", lambda p: p.changes_out)
    counter("given_bytes", "Bytes that went", lambda p: p.bytes_out)


def _show_terms(gauge: Callable[[str, str, Callable[[PeerStatus], Value]], None]) -> None:
    """What was agreed on with a peer: limits, and when its feed is drawn."""
    gauge("limit_in_bytes", "The most that may come a second", lambda p: p.pace.limit_in or None)
    gauge("limit_out_bytes", "The most that may go a second", lambda p: p.pace.limit_out or None)
    gauge("rate_in_bytes", "What comes a second", lambda p: p.pace.rate_in)
    gauge("rate_out_bytes", "What goes a second", lambda p: p.pace.rate_out)
    gauge("paused", "Whether it is paused here", lambda p: p.pace.paused_ms > 0)
    gauge("poll_seconds", "How often its feed is drawn at least", lambda p: p.poll_seconds)
    gauge(
        "drawn_timestamp_seconds",
        "When its feed was drawn last",
        lambda p: p.drawn_ms / 1000 if p.drawn_ms else None,
    )
    gauge("doorbell", "Whether it can ring", lambda p: p.doorbell == "live")
