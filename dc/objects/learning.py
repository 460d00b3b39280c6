"""What the containers on several disks are: read from the headers of their slots.

Each container is asked for once, of one of the disks that it is on; each disk gets a share of them,
side by side. What a disk does not tell (it fails, or the header is damaged) is asked of others. A
disk that fails is not asked for the rest of its share: each call to a machine that does not answer
may take seconds.
"""

from collections.abc import Callable, Sequence
from functools import partial

from dc.objects.api import CorruptData
from dc.objects.coded_file import Side
from dc.objects.disk_place import DiskPlace
from dc.objects.disk_set import DiskSet
from dc.objects.format import HEADER_BYTES, decode_header
from dc.objects.redundancy import Mode
from dc.objects.slot_map import SlotMap
from dc.objects.stripes import slot_name
from dc.objects.tiers import Form

Share = list[tuple[int, int]]
"""Containers and slots to be read from one disk."""


def learn(
    slots: SlotMap, disks: DiskSet, side: Side, wanted: Callable[[], Sequence[int]] | None = None
) -> set[int]:
    """Find out what the `wanted` containers are, or all of which it is not known. Returns those of
    which it is now."""
    ask = wanted or slots.unknown
    learned: set[int] = set()
    tried: set[tuple[int, int]] = set()
    while shares := _shares(slots, disks, ask(), tried):
        side(
            [
                partial(_read, slots, disks.places[number], share, learned)
                for number, share in shares.items()
            ]
        )
    return learned


def _shares(
    slots: SlotMap, disks: DiskSet, wanted: Sequence[int], tried: set[tuple[int, int]]
) -> dict[int, Share]:
    """What to ask of which disk: none of it was asked of that disk before."""
    shares: dict[int, Share] = {}
    for container in wanted:
        if slots.is_known(container):
            continue
        known = [*slots.places.get(container, {}).items(), *slots.others(container)]
        free = [
            (slot, number)
            for slot, number in known
            if (container, number) not in tried and number not in disks.absent
        ]
        if free:
            slot, number = min(free, key=lambda one: len(shares.get(one[1], ())))
            tried.add((container, number))
            shares.setdefault(number, []).append((container, slot))
    return shares


def _read(slots: SlotMap, place: DiskPlace, share: Share, learned: set[int]) -> None:
    """In a thread: ask a disk. Raises OSError when it fails."""
    for container, slot in share:
        try:
            file = place.disk.open(place.containers / slot_name(container, slot))
        except FileNotFoundError:
            continue
        try:
            raw = file.read(HEADER_BYTES, 0)
        finally:
            file.close()
        form = form_in(raw, container, slot)
        if form is not None:
            slots.learned(container, form)
            learned.add(container)


def form_in(raw: bytes, container: int, slot: int) -> Form | None:
    """What a slot's header says; None when it is not that of the slot."""
    try:
        header = decode_header(raw)
    except CorruptData:
        return None
    if (header.container, header.slot) != (container, slot) or not header.k:
        return None
    return Form(Mode(header.k, header.m), header.tier)
