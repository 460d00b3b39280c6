"""Where the slots of containers are, and what each container is: what is known of the disks.

Whoever changes it holds the lock. Others read without it: a dictionary of places that is in use is
never changed.
"""

import threading
from collections.abc import Collection, Iterable

from dc.objects.disk_set import DiskSet
from dc.objects.stripes import slot_name
from dc.objects.tiers import Form, Tier, Tiers


class SlotMap:
    """See the head of the file."""

    def __init__(self, disks: DiskSet, tiers: Tiers) -> None:
        self._disks = disks
        self._tiers = tiers
        self.lock = threading.Lock()
        self.places: dict[int, dict[int, int]] = {}
        """Of each container: the disk of each slot."""
        self.doubles: dict[int, frozenset[tuple[int, int]]] = {}
        """Of containers: slots that are on a second disk as well, with that disk."""
        self.writing: set[int] = set()
        self.unfinished: dict[int, set[int]] = {}
        """Of containers: the slots whose disk failed while they were written."""
        self.moves: dict[int, tuple[int, int]] = {}
        """Of containers: a slot that is to go to another disk, and to which."""
        self._forms: dict[int, Form] = {}

    # -- what containers are ----------------------------------------------------------------------

    def form(self, container: int) -> Form:
        """As long as it is not known: that of a container of `standard`."""
        return self._forms.get(container) or self._tiers.standard.form

    def tier_of(self, container: int) -> Tier | None:
        """The tier that it is of; None when it is of none as they are now, or that is not known."""
        form = self._forms.get(container)
        return self._tiers.of(form.tier) if form is not None and self._tiers.has(form) else None

    def learned(self, container: int, form: Form) -> None:
        self._forms[container] = form

    def unknown(self) -> list[int]:
        """The containers of which it is not known what they are."""
        return sorted(self.places.keys() - self._forms.keys())

    def is_known(self, container: int) -> bool:
        return container in self._forms

    # -- what is where ----------------------------------------------------------------------------

    def count(self) -> int:
        """Of containers."""
        return len(self.places)

    def containers(self) -> list[int]:
        return sorted(self.places)

    def sealed(self) -> list[int]:
        """Those that nobody writes to."""
        return sorted(self.places.keys() - self.writing)

    def missing(self, container: int) -> frozenset[int]:
        """The slots that are on no disk, or whose disk failed while they were written. All, as long
        as it is not known what the container is."""
        if container not in self._forms:
            return frozenset(range(self._tiers.standard.mode.slots))
        slots = self.form(container).mode.slots
        places, unfinished = self.places.get(container, {}), self.unfinished.get(container, ())
        if len(places) == slots and not unfinished:
            return frozenset()  # Nearly always, and the status page asks of all containers.
        return frozenset(range(slots)).difference(places).union(unfinished)

    def leaving(self, container: int) -> frozenset[int]:
        """The slots on disks that are to become empty, or that are none of its tier's."""
        places, tier = self.places.get(container, {}), self.tier_of(container)
        away = set(self._disks.draining)
        if tier is not None and tier.disks:
            away |= {one for one in places.values() if not tier.takes(self._disks.places[one])}
        leaving = {slot for slot, number in places.items() if number in away}
        move = self.moves.get(container)
        if move is not None and places.get(move[0], move[1]) != move[1]:
            leaving.add(move[0])
        return frozenset(leaving)

    def place_of(self, container: int, slot: int) -> int | None:
        return self.places.get(container, {}).get(slot)

    def others(self, container: int) -> frozenset[tuple[int, int]]:
        """Slots that are on a second disk as well, with that disk: what is there is not needed
        when the container is whole."""
        return self.doubles.get(container, frozenset())

    def slots_on(self, number: int) -> set[tuple[int, int]]:
        """The slots that are known to be on a disk, with their containers."""
        with self.lock:
            return {
                (container, slot)
                for container, places in self.places.items()
                for slot, place in places.items()
                if place == number
            }

    def on(self, numbers: Collection[int]) -> set[int]:
        """The containers that have slots on any of these disks."""
        return {container for number in numbers for container, _ in self.slots_on(number)}

    def left_on(self, number: int) -> int:
        """How many slots are on a disk, second ones as well."""
        others = sum(other[1] == number for some in self.doubles.copy().values() for other in some)
        return self._disks.used[number] + others

    def gone_from(
        self, number: int, known: Iterable[tuple[int, int]], names: Collection[str]
    ) -> set[tuple[int, int]]:
        """Those of the slots that were known to be on a disk when it was listed and had `names`."""
        return {one for one in known if slot_name(*one) not in names} & self.slots_on(number)

    # -- changes ----------------------------------------------------------------------------------

    def note(self, container: int, slot: int, number: int) -> None:
        """A slot is on a disk. With the lock."""
        places = self.places.get(container, {})
        if slot in places:
            self._disks.used[places[slot]] -= 1
        self.places[container] = {**places, slot: number}
        self._disks.used[number] += 1

    def keep_other(self, container: int, slot: int, number: int) -> None:
        """A slot is on a second disk as well. With the lock."""
        self.doubles[container] = self.others(container) | {(slot, number)}

    def drop_other(self, container: int, slot: int, number: int) -> None:
        """It is no more. With the lock."""
        left = self.others(container) - {(slot, number)}
        if left:
            self.doubles[container] = left
        else:
            self.doubles.pop(container, None)

    def drop(self, number: int, gone: Iterable[tuple[int, int]], absent: bool = True) -> set[int]:
        """Forget slots on a disk, or all of the disk. Returns their containers."""
        gone = list(gone)
        with self.lock:
            for container, slot in gone:
                places = self.places.get(container, {})
                if places.get(slot) == number:
                    left = {one: place for one, place in places.items() if one != slot}
                    self.places[container] = left
                    self._disks.used[number] -= 1
            if absent:
                self._disks.absent.add(number)
                for container, others in list(self.doubles.items()):
                    self.doubles[container] = frozenset(
                        other for other in others if other[1] != number
                    )
        return {container for container, _ in gone}

    def remove(self, container: int) -> set[tuple[int, int]]:
        """Forget a container: the slots that it had, with their disks."""
        with self.lock:
            places = self.places.pop(container, {})
            others = self.doubles.pop(container, frozenset())
            self.unfinished.pop(container, None)
            self._forms.pop(container, None)
            for number in places.values():
                self._disks.used[number] -= 1
        return {*places.items(), *others}
