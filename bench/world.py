"""What the rows of a bench share: its folder, its settings, and the datacenters, started when a row
first asks for them and ended with the bench."""

import contextlib
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import wrk
from bench.client import PAGE
from bench.datacenter import Datacenter, end
from bench.errors import BenchError
from bench.meter import Meter, metered
from bench.profiling import profiled

SMALL_BYTES = 4096
LARGE_BYTES = 64 * 1024 * 1024
FILL_SECONDS_MAX = 300
FILL_CONNECTIONS = 16


@dataclass(frozen=True)
class Settings:
    """How much of everything."""

    seconds: int
    quick: bool
    profile: frozenset[str]
    """Names of the rows to be profiled."""
    profile_folder: Path

    def count(self, full: int, quick: int) -> int:
        return quick if self.quick else full


class World:
    """Use as a context manager."""

    def __init__(self, parent: Path, settings: Settings) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
        self.settings = settings
        self.random = random.Random(1)
        self.row = ""
        """The name of the row being measured."""
        self.small_body = self._file("small.bin", SMALL_BYTES)
        self._large_body: Path | None = None
        self._solo: Datacenter | None = None
        self._coded: Datacenter | None = None
        self._spread: Datacenter | None = None
        self._fronted: Datacenter | None = None
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._pair: tuple[Datacenter, Datacenter] | None = None
        self._paired = False
        self._filled: dict[tuple[str, str], list[str]] = {}
        self.datacenters: list[Datacenter] = []
        self.leftover: list[tuple[str, str]] = []
        """Buckets and keys that the PUT rows have put, to be deleted."""

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        for datacenter in self.datacenters:
            datacenter.stop()
        for node in self.nodes:
            end(node)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def large_body(self) -> Path:
        self._large_body = self._large_body or self._file("large.bin", LARGE_BYTES)
        return self._large_body

    def solo(self) -> Datacenter:
        """A DC that is paired with none."""
        if not self._solo:
            alone = self.start("alone")
            alone.add_user()
            alone.settle()
            self._solo = alone
        return self._solo

    def coded(self) -> Datacenter:
        """A DC with 4+2 over six folders, which are on one disk here."""
        if not self._coded:
            options = [part for disk in self.coded_disks for part in ("--disk", str(disk))]
            coded = self.start("coded", "--redundancy", "4+2", *options)
            coded.add_user()
            coded.settle()
            self._coded = coded
        return self._coded

    def spread(self) -> Datacenter:
        """A DC with 4+2 over six nodes of one disk each, all on this machine."""
        if not self._spread:
            spread = self.start("spread", "--redundancy", "4+2")
            for number in range(6):
                self.nodes.append(spread.add_node(self.folder / f"node{number}"))
            spread.add_user()
            spread.settle()
            spread.until_nodes_answer()
            self._spread = spread
        return self._spread

    def fronted(self) -> Datacenter:
        """A DC whose clients ask a gateway that is a process of its own."""
        if not self._fronted:
            fronted = self.start("fronted")
            self.nodes.append(fronted.add_gateway(self.folder / "gateway"))
            fronted.add_user()
            fronted.settle()
            fronted.until_nodes_answer()
            self._fronted = fronted
        return self._fronted

    @property
    def coded_disks(self) -> list[Path]:
        return [self.folder / f"disk{number}" for number in range(6)]

    def pair(self) -> tuple[Datacenter, Datacenter]:
        """Two DCs that ship each other their changes, with the same user."""
        north, south = self.unpaired()
        if not self._paired:
            south.pair_with(north)
            self._paired = True
        return north, south

    def unpaired(self) -> tuple[Datacenter, Datacenter]:
        """The same two, perhaps before their pairing; the user is the first one's."""
        if not self._pair:
            north, south = self.start("north"), self.start("south")
            south.sign_for(*north.add_user())
            north.settle()
            south.settle()
            self._pair = north, south
        return self._pair

    def pair_up(self, token: str) -> None:
        """Pair the two, which must not be paired yet."""
        _, south = self.unpaired()
        if self._paired:
            raise BenchError("they are paired already")
        south.join(token)
        self._paired = True

    def new_bucket(self, datacenter: Datacenter, name: str) -> str:
        datacenter.s3.must("PUT", name)
        return name

    def new_keys(self, count: int) -> list[str]:
        """Keys in an order that is not theirs, since users' keys do not come sorted either."""
        numbers = list(range(count))
        self.random.shuffle(numbers)
        return [f"object-{number:08d}" for number in numbers]

    def filled(self, datacenter: Datacenter, bucket: str, count: int) -> list[str]:
        """The keys of a bucket with `count` objects of 4 KiB, filled when first asked for."""
        known = self._filled.get((datacenter.name, bucket))
        if known is None:
            self.new_bucket(datacenter, bucket)
            known = self.new_keys(count)
            print(f"    (first {count:,} objects are put into {datacenter.name})", flush=True)
            self.put_all(datacenter, bucket, known)
            self._filled[datacenter.name, bucket] = known
        return known

    def put_all(
        self,
        datacenter: Datacenter,
        bucket: str,
        keys: list[str],
        connections: int = FILL_CONNECTIONS,
    ) -> wrk.Load:
        """Put each key once, 4 KiB, and see that all are answered 200."""
        load = wrk.run(
            datacenter.address,
            "PUT",
            datacenter.s3.presigner.paths("PUT", bucket, keys),
            self.folder,
            connections=min(connections, len(keys)),
            seconds=FILL_SECONDS_MAX,
            body=self.small_body,
            once=True,
        )
        if load.requests != len(keys):
            raise BenchError(f"{load.requests} of {len(keys)} objects put in {load.seconds:.0f} s")
        return load

    def check_readable(self, datacenter: Datacenter, bucket: str, keys: list[str]) -> None:
        """Some of the objects, byte for byte."""
        wanted = self.small_body.read_bytes()
        for key in self.random.sample(keys, min(20, len(keys))):
            if datacenter.s3.must("GET", bucket, key) != wanted:
                raise BenchError(f"/{bucket}/{key} has other bytes than were put")

    @contextlib.contextmanager
    def measured(self, *datacenters: Datacenter) -> Iterator[Meter]:
        """Measure what the datacenters use meanwhile, and profile them if that is asked for."""
        profile = self.row in self.settings.profile
        with profiled(datacenters if profile else (), self.row, self.settings.profile_folder):
            with metered(datacenters) as meter:
                yield meter
        for datacenter in datacenters:
            datacenter.check()

    def start(self, name: str, *options: str) -> Datacenter:
        """A new DC, ended with the bench."""
        datacenter = Datacenter(self.folder, name, *options)
        self.datacenters.append(datacenter)
        return datacenter

    def _file(self, name: str, size: int) -> Path:
        path = self.folder / name
        path.write_bytes(self.random.randbytes(size))
        return path


def pages(count: int) -> int:
    """How many pages a listing of so many keys has."""
    return -(-count // PAGE)
