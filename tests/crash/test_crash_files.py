"""Files that are replaced whole, and what `farshore init` makes, after every power cut."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
from crash_kit import FixedClock, Report, SeededRandomness, explore, recorded, scratch
from crash_os import DropSync, InlineDisk
from crash_states import PowerCuts, State
from crash_trace import Image, Trace, lay_out

from admin import initialize as initializing
from admin.errors import AdminError
from admin.initialize import initialize
from admin.lab.setup import LabFile, load_lab, save_lab
from admin.layout import PRIVATE, Layout, existing
from admin.parts import read_files
from dc.config import Config, render
from dc.system import SystemDisk
from tokens.certificate import make_certificate

SIZES = (5, 700, 60, 5000, 1500)


class Replaced:
    """A file was replaced by its n-th content."""

    def __init__(self, number: int) -> None:
        self.number = number


class WholeFile:
    """The file is one of its contents, whole, and not older than what was acknowledged."""

    def __init__(self, path: str, contents: Sequence[bytes]) -> None:
        self.path = path
        self.contents = contents

    def problems(self, state: State, acked: Sequence[object]) -> list[str]:
        least = max((fact.number for fact in acked if isinstance(fact, Replaced)), default=0)
        found = state.image.get(self.path)
        if found is None:
            return ["the file is gone"]
        if found not in self.contents:
            return ["the file is neither old nor new"]
        return [] if found in self.contents[least:] else ["an old file is back"]


def replace_some(drop: DropSync = lambda path, number: False) -> Report:
    contents = [b"first", *(bytes([65 + at]) * size for at, size in enumerate(SIZES))]
    trace = Trace({"file": b"first"})
    with recorded(trace, drop) as root:
        for number, content in enumerate(contents[1:], 1):
            InlineDisk().write_atomic(root / "file", content, 0o600)
            trace.ack(Replaced(number))
    return explore(trace, WholeFile("file", contents))


def test_a_file_is_the_old_one_or_the_new_one() -> None:
    report = replace_some()
    assert report.losses == []
    assert report.tally.sampled == 0
    assert report.tally.acks == len(SIZES)
    assert report.tally.states > 20
    assert report.tally.torn > 5


def test_finds_a_file_that_is_not_synced_before_the_rename() -> None:
    report = replace_some(lambda path, _: path.endswith(".tmp"))
    assert "neither old nor new" in report.losses[0]


def test_finds_a_directory_that_is_not_synced() -> None:
    report = replace_some(lambda path, _: path == "")
    assert "an old file is back" in report.losses[0]


def test_finds_a_file_that_is_written_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_place(self: SystemDisk, path: Path, data: bytes, mode: int = 0o644) -> None:
        file = self.open(path)
        file.writev([data], 0)
        file.sync()
        file.close()

    monkeypatch.setattr(SystemDisk, "write_atomic", in_place)
    assert "neither old nor new" in replace_some().losses[0]


def test_lab_json_can_always_be_read() -> None:
    trace = Trace()
    labs = [LabFile(names=[f"dc{at}" for at in range(count)]) for count in range(4)]
    with recorded(trace) as root:
        for lab in labs:
            save_lab(root, lab, InlineDisk())
            trace.ack(lab)

    class Oracle:
        def problems(self, state: State, acked: Sequence[object]) -> list[str]:
            with scratch() as folder:
                lay_out(state.image, folder)
                found = load_lab(folder)
            return [] if found in labs[max(len(acked) - 1, 0) :] else [f"{found} after {acked}"]

    report = explore(trace, Oracle())
    assert report.losses == []
    assert report.tally.states > 10


def test_a_folder_is_durable_also_when_somebody_else_made_it() -> None:
    """He may have been killed before his sync."""
    trace = Trace()
    for path in ("a", "a/b"):
        trace.mkdir(path)
    with recorded(trace) as root:
        InlineDisk().make_dirs(root / "a" / "b")
    trace.ack("made")

    class Oracle:
        def problems(self, state: State, acked: Sequence[object]) -> list[str]:
            return ["the folder is gone"] if acked and "a/b" not in state.image else []

    report = explore(trace, Oracle())
    assert report.losses == []
    assert report.tally.states == 3


# -- init -----------------------------------------------------------------------------------------

CONFIG = Config(name="paris", region="eu")
DIR = "srv/paris"


@cache
def certificate(dc_id: str) -> tuple[bytes, bytes]:
    return make_certificate(dc_id, datetime(2026, 1, 1, tzinfo=UTC))


def init(root: Path, seed: str) -> str:
    with mock.patch("tokens.certificate.make_certificate", lambda dc_id, _: certificate(dc_id)):
        made = initialize(root, CONFIG, FixedClock(), InlineDisk(), SeededRandomness(seed))
    return made.dc_id


class InitOracle:
    """The folder is the whole datacenter that was made, or `init` makes one of it now. `complete`
    and `repeated` count the two."""

    def __init__(self) -> None:
        self.complete = 0
        self.repeated = 0
        self._known: dict[object, tuple[str, list[str]]] = {}

    def problems(self, state: State, acked: Sequence[object]) -> list[str]:
        known = self._known.get(state.key)
        if known is None:
            known = self._known[state.key] = self._look(state.image)
        dc_id, problems = known
        if acked and dc_id != acked[-1]:
            return [*problems, f"the datacenter that was made is gone, it is {dc_id!r} now"]
        return problems

    def _look(self, image: Image) -> tuple[str, list[str]]:
        """The id of the datacenter that is there, and what is wrong."""
        with scratch() as root:
            lay_out(image, root)
            folder = root / DIR
            try:
                existing(folder)
            except AdminError:
                self.repeated += 1
                try:
                    init(folder, "again")
                except AdminError as error:
                    return "", [f"init cannot be repeated: {error}"]
                return "", self._whole(folder)[1]
            self.complete += 1
            return self._whole(folder)

    def _whole(self, folder: Path) -> tuple[str, list[str]]:
        layout = Layout(folder)
        for path in layout.secrets:
            if path.exists():
                # Rights are not simulated.
                path.chmod(PRIVATE)
        try:
            files = read_files(layout)
        except AdminError as error:
            return "", [f"the datacenter cannot be read: {error}"]
        dc_id = files.identity.dc_id
        pair = (layout.certificate.read_bytes(), layout.certificate_key.read_bytes())
        if pair != certificate(dc_id):
            return dc_id, ["the certificate is not whole, or of another identity"]
        if len(layout.admin_token.read_bytes()) != 65 or files.config != CONFIG:
            return dc_id, ["a file is not whole"]
        folders = (layout.names, layout.containers)
        return dc_id, [f"{one.name} is not there" for one in folders if not one.is_dir()]


def record_init(trace: Trace, seed: str = "first", drop: DropSync = lambda _, __: False) -> Trace:
    with recorded(trace, drop) as root:
        trace.ack(init(root / DIR, seed))
    return trace


def test_init_is_complete_or_can_be_repeated() -> None:
    trace, oracle = record_init(Trace()), InitOracle()
    report = explore(trace, oracle)
    assert report.losses == []
    assert report.tally.sampled == 0
    assert report.tally.states > 50
    assert oracle.complete > 0
    assert oracle.repeated > 50


def test_init_that_was_cut_is_repeated_and_cut_again() -> None:
    first = record_init(Trace())
    states = [state for state in PowerCuts(first) if f"{DIR}/farshore.toml" not in state.image]
    whole, oracle = Report(), InitOracle()
    for number in range(0, len(states), len(states) // 6):
        trace = record_init(Trace(states[number].image), "second")
        whole.add(explore(trace, oracle))
    assert whole.losses == []
    assert whole.tally.states > 300


def test_init_that_was_killed_is_repeated_and_then_the_power_goes() -> None:
    """What the killed one had not synced is loose until the second one does."""
    first = record_init(Trace())
    whole, oracle = Report(), InitOracle()
    for after in [*range(10), *range(10, len(first.ops), 4)]:
        trace = first.killed(after)
        if f"{DIR}/farshore.toml" not in trace.names:
            record_init(trace, "second")
            whole.add(explore(trace, oracle, first_cut=after, torn_max=4))
    assert whole.losses == []
    assert whole.tally.states > 500


BREAK: list[Callable[[str, int], bool]] = [
    lambda path, _: path == "",
    lambda path, _: path == "srv",
    lambda path, _: path == DIR,
    lambda path, _: path.endswith(".tmp"),
    lambda path, _: ".identity." in path,
]


@pytest.mark.parametrize("drop", BREAK)
def test_finds_any_sync_that_init_leaves_out(drop: DropSync) -> None:
    trace = record_init(Trace(), drop=drop)
    report = explore(trace, InitOracle(), bad_max=1, samples=2, loose_max=3)
    assert report.bad


def test_finds_a_configuration_that_is_written_first(monkeypatch: pytest.MonkeyPatch) -> None:
    write_files = initializing._write_files

    def hasty(layout: Layout, config: Config, clock: FixedClock, disk: SystemDisk, *rest):  # type: ignore[no-untyped-def]
        disk.write_atomic(layout.config, render(config).encode())
        return write_files(layout, config, clock, disk, *rest)

    monkeypatch.setattr(initializing, "_write_files", hasty)
    report = explore(record_init(Trace()), InitOracle(), bad_max=1)
    assert "cannot be read" in report.losses[0]
