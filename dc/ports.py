"""What the datacenter takes from outside itself: time, chance, the disk, databases, the network.

Everything in `dc`, `replicator` and `tokens` is handed these instead of reaching for the real ones,
so that a test can run the same code on a simulated clock, disk and network. The real ones are in
`dc/system.py`.
"""

import asyncio
import sqlite3
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    # Commands that read the configuration are to start without it.
    import aiohttp
    from aiohttp.client_proto import ResponseHandler

T = TypeVar("T")
Buffer = bytes | bytearray | memoryview


class Clock(Protocol):
    """Wall time, for stamps and dates; monotonic time, for everything that is a duration."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970 by this machine's clock, which may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Randomness(Protocol):
    """Chance: keys and ids (`token`), jitter (`uniform`)."""

    def token(self, count: int) -> bytes: ...

    def uniform(self, low: float, high: float) -> float: ...


class File(Protocol):
    """An open file. All calls block but `read_cached`; make them inside `Disk.run`."""

    def writev(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all buffers one after the other at `offset`, or raise OSError."""
        ...

    def read(self, length: int, offset: int) -> bytes:
        """Up to `length` bytes at `offset`; fewer only at the end of the file."""
        ...

    def read_cached(self, length: int, offset: int) -> bytes | None:
        """The same without ever waiting for the disk; None when it would have to."""
        ...

    def sync(self) -> None:
        """Return when everything written is durable (fdatasync)."""
        ...

    def size(self) -> int: ...

    def close(self) -> None: ...


class Disk(Protocol):
    """One filesystem. All calls but `run` block; make them inside `run`."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do blocking `work` away from the event loop."""
        ...

    def create(self, path: Path, mode: int = 0o644) -> File:
        """A new file, open for reading and writing; FileExistsError when it is there already."""
        ...

    def open(self, path: Path) -> File:
        """An existing file, open for reading and writing."""
        ...

    def read_bytes(self, path: Path) -> bytes: ...

    def write_atomic(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        """Replace `path` durably and all at once: temporary file, fsync, rename, fsync of the
        directory. A power cut leaves the old content or the new."""
        ...

    def list_dir(self, path: Path) -> list[str]:
        """The names in a directory, sorted."""
        ...

    def make_dirs(self, path: Path, mode: int = 0o755) -> None:
        """Make a directory and its parents, durably; no error when it is there."""
        ...

    def remove(self, path: Path) -> None: ...

    def rename(self, path: Path, to: Path) -> None:
        """Give a file another name, in place of the file that has it."""
        ...

    def sync_dir(self, path: Path) -> None:
        """Make the names in a directory durable."""
        ...

    def room(self, path: Path) -> int:
        """The bytes that may still be written to the filesystem of a directory, if a twentieth of
        it is to stay free."""
        ...


class Line(Protocol):
    """A connection for threads: all calls block, and raise OSError."""

    def send(self, data: bytes) -> None: ...

    def receive(self, length: int) -> bytes:
        """Exactly so many bytes."""
        ...

    def is_quiet(self) -> bool:
        """Whether nothing can be read: neither bytes nor an end."""
        ...

    def close(self) -> None:
        """Raises nothing."""
        ...


class Dial(Protocol):
    """Opens lines."""

    def __call__(
        self,
        endpoints: Sequence[tuple[str, int]],
        fingerprint: str,
        connect_seconds: float,
        call_seconds: float,
        /,
    ) -> Line:
        """TLS to the first (host, port) that answers with the certificate of that fingerprint
        (SHA-256 of its DER, hex). A call on the line takes `call_seconds` at most. OSError."""
        ...


class Database(Protocol):
    """One SQLite connection with a thread of its own."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call `work` with the connection, in its thread, one call at a time, in order."""
        ...

    async def close(self) -> None: ...


class Databases(Protocol):
    """Opens SQLite databases."""

    async def open(self, path: Path) -> Database: ...


class Listener(Protocol):
    """A listening socket."""

    @property
    def port(self) -> int: ...

    async def close(self) -> None: ...


class Network(Protocol):
    """The network between datacenters."""

    async def listen(
        self, server: Callable[[], asyncio.Protocol], host: str, port: int, tls: ssl.SSLContext
    ) -> Listener:
        """Serve over TLS, each connection by a protocol of its own; port 0 takes a free one."""
        ...

    def connector(self, opened: "Callable[[ResponseHandler], None]") -> "aiohttp.BaseConnector":
        """A connector for one client session to a peer. `opened` is told of each connection before
        anything goes over it, and may put itself in between (`dc/metered.py`)."""
        ...

    def narrow(self, transport: asyncio.BaseTransport, size: int) -> None:
        """Let the other end of a connection send about so many bytes more than have been read
        here, at most; 0: as many as is usual."""
        ...
