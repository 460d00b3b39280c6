"""The bytes of objects: containers, how they are looked after, disks and nodes."""

from collections import Counter
from typing import Any

from admin.fleet import Fleet
from admin.metrics.page import Page
from dc.objects.compaction import Compactor
from dc.objects.store import ContainerStore

_REPAIR = ("idle", "scrubbing", "rebalancing", "repairing")
_COMPACTION = ("idle", "counting", "moving", "waiting")
_DISKS = ("ok", "missing", "failing", "slow", "draining", "drained")
_NODES = ("ok", "degraded", "leaving", "unreachable")


def show(page: Page, store: ContainerStore, compactor: Compactor, fleet: Fleet) -> None:
    """All of it is in memory."""
    _space(page, store, compactor.space() or {})
    _repair(page, store.status(), store.repair_progress(compactor.sizes()) or {})
    _compaction(page, compactor.progress())
    _disks(page, fleet)


def _space(page: Page, store: ContainerStore, space: dict[str, Any]) -> None:
    get, stats = space.get, store.stats()
    page.gauge("objects", "Objects, as counted last", get("objects"))
    page.gauge("objects_whole", "Those at full redundancy, at least", get("objects_whole"))
    page.gauge("objects_live_bytes", "Bytes of objects, as counted last", get("bytes_live"))
    page.gauge("objects_garbage_bytes", "Bytes in containers of nothing", get("bytes_garbage"))
    page.gauge("objects_raw_bytes", "Bytes on disks, redundancy included", get("bytes_raw"))
    page.gauge("objects_count_age_seconds", "How old the count is", get("counted_seconds_ago"))
    page.gauge("containers", "Containers", stats.containers)
    page.counter("records_appended", "Records written to containers", stats.appends)
    page.counter("container_syncs", "Syncs of containers", stats.syncs)


def _repair(page: Page, status: dict[str, Any], progress: dict[str, Any]) -> None:
    """With one disk there is nothing to repair with: all containers are whole, as far as known."""
    containers = status.get("containers")
    whole = status.get("containers_whole")
    lacking = None if containers is None else containers - whole
    page.gauge("containers_lacking", "Containers with less than all of their slots", lacking)
    doing = progress.get("doing", "")
    page.states("repair_doing", "What scrub and repair do", "doing", _REPAIR, doing)
    page.gauge("repair_containers_left", "Still to be looked at", progress.get("containers_left"))
    page.gauge("repair_seconds_left", "How long that will take", progress.get("seconds_left"))
    page.counter("containers_checked", "By scrub and repair", status.get("containers_checked"))
    page.counter("slots_mended", "Slots written anew", status.get("slots_mended"))
    page.gauge("stripes_lost", "Stripes that cannot be decoded", status.get("stripes_lost"))
    page.gauge("stripes_torn", "The same at ends of containers", status.get("stripes_torn"))


def _compaction(page: Page, progress: dict[str, Any]) -> None:
    page.states("compaction_doing", "What compaction does", "doing", _COMPACTION, progress["doing"])
    page.gauge("compaction_done", "Rows counted, or bytes moved, of this step", progress["done"])
    page.gauge("compaction_of", "Of so many", progress["of"])
    page.gauge("compaction_seconds_left", "How long this step will take", progress["seconds_left"])
    page.gauge("compaction_containers_empty", "Soon to be removed", progress["to_remove"])
    page.counter("compaction_moved_bytes", "Bytes alive that were moved", progress["moved_bytes"])
    page.counter(
        "compaction_removed_containers", "Containers removed", progress["removed_containers"]
    )
    page.gauge("compaction_freed_bytes", "Bytes given back", progress["freed_bytes"])
    damaged = len(progress["damaged_containers"])
    page.gauge("containers_damaged", "Containers with bytes that cannot be read", damaged)


def _disks(page: Page, fleet: Fleet) -> None:
    disks, nodes = fleet.shown_disks(), fleet.shown_nodes()
    # That of a datacenter which was made with one disk is not asked how it is: it serves.
    states = Counter(one["state"] for one in disks) if fleet.disks else Counter(ok=1)
    page.counts("disks", "Disks by state", "state", states, _DISKS)
    page.gauges(
        "disk_slots",
        "Slots on each disk",
        ("disk", "host"),
        [((one["disk"], one["host"]), one["slots"]) for one in disks],
    )
    states = Counter(one["state"] for one in nodes)
    page.counts("nodes", "Nodes by state", "state", states, _NODES)
