"""What is wrong with the slots of a container, without changing anything: `farshore check`.

Also what costs nobody a byte as long as enough other slots are right. All of it blocks.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dc.objects.coded_disks import CodedDisks
from dc.objects.coded_file import CodedFile
from dc.objects.format import HEADER_BYTES
from dc.objects.learning import form_in

WHOLE = -1
"""Instead of a slot: what is said of a container."""


class Fault(NamedTuple):
    """`disk`: the label of the one that the slot is on, "" when it is on none. `offset`: of the
    first damaged fragment in the slot, -1 when it is not one of a fragment."""

    container: int
    slot: int
    disk: str
    problem: str
    offset: int = -1


def inspect(disks: CodedDisks, container: int, read: bool) -> list[Fault]:
    """All that is wrong with a container that nobody writes to; without `read` only what is seen
    without reading: slots that are missing, or there twice."""
    labels = [place.label for place in disks.disks.places]
    places = disks.slots.places.get(container, {})
    faults = [
        Fault(container, slot, labels[number], "it is there twice: this is the second copy")
        for slot, number in sorted(disks.slots.others(container))
    ]
    on = {slot: labels[number] for slot, number in places.items()}
    known, mode = disks.is_known(container), disks.form(container).mode
    if not known or len(places) < mode.k:
        if not any(_is_more_than_header(disks, container, slot) for slot in places):
            return faults  # A crash cut it off before there was anything in it.
        if not known:
            return [*faults, Fault(container, WHOLE, "", "what it is cannot be read")]
    for slot in range(mode.slots):
        if slot not in places:
            faults.append(Fault(container, slot, "", "it is on no disk"))
    for slot in places:
        if slot >= mode.slots:
            faults.append(Fault(container, slot, on[slot], f"{mode} has no such slot"))
    if read and places:
        file = disks.coded(container)
        try:
            faults += _read(disks, file, container, on)
        finally:
            file.close()
    return faults


def _read(
    disks: CodedDisks, file: CodedFile, container: int, on: dict[int, str]
) -> Iterator[Fault]:
    form = disks.form(container)
    slots = {slot for slot in on if slot < form.mode.slots}
    headers: dict[int, set[bool]] = {}
    for slot, raw in file.headers():
        headers.setdefault(slot, set()).add(form_in(raw, container, slot) == form)
    unread = slots - headers.keys()
    for slot in sorted(unread):
        yield Fault(container, slot, on[slot], "its file cannot be read")
    for slot in sorted(slots & headers.keys()):
        if True not in headers[slot]:
            yield Fault(container, slot, on[slot], "its header is damaged", 0)
    wrong: dict[int, list[int]] = {}
    lost, count = [], 0
    for stripe in file.stripes():
        count += 1
        bad = {slot for slot in slots - unread if file.fragment(stripe, slot) is None}
        for slot in bad:
            wrong.setdefault(slot, []).append(stripe.offset)
        if len(slots - unread - bad) < form.mode.k and len(file.good(stripe)) < form.mode.k:
            lost.append((count, stripe.offset))
    # At the end it is what a power cut tore: nobody was told that it is there.
    while lost and lost[-1][0] == count:
        _, offset = lost.pop()
        for offsets in wrong.values():
            offsets[:] = [one for one in offsets if one != offset]
        count -= 1
    for slot, offsets in sorted(wrong.items()):
        if offsets:
            text = f"{len(offsets)} of {count} fragments are damaged, the first at {offsets[0]}"
            yield Fault(container, slot, on[slot], text, offsets[0])
    if lost:
        text = f"{len(lost)} of {count} stripes cannot be decoded, the first at {lost[0][1]}"
        yield Fault(container, WHOLE, "", text, lost[0][1])
    if file.unsure:
        yield Fault(container, WHOLE, "", "where it ends cannot be read")


def _is_more_than_header(disks: CodedDisks, container: int, slot: int) -> bool:
    """Whether there may be anything behind the header of a slot."""
    try:
        first = next(disks.raw(container, slot), (0, b""))
    except OSError:
        return True
    return len(first[1]) > HEADER_BYTES
