"""The real clock, randomness, disk, databases and network (see `dc/ports.py`)."""

import asyncio
import contextlib
import errno
import functools
import hashlib
import os
import random
import select
import socket
import sqlite3
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import aiosqlite
from aiohttp.client_proto import ResponseHandler

from dc.ports import Buffer, Database, File, Listener

T = TypeVar("T")
_IOV_MAX = 1000
_DISK_THREADS = 8
_SIDE_THREADS = 16
_KEEPALIVE_SECONDS = 60
_IDLE_SECONDS = 11
"""Of connections to other DCs: streams say something every ten seconds, so while all is well the
kernel asks nothing."""
_PROBE_SECONDS = 2
_PROBES = 4
GONE_SECONDS = _IDLE_SECONDS + _PROBE_SECONDS * _PROBES
"""After this long a machine that is gone, or a line that swallows everything, ends a connection."""
_SO_BUF_LOCK = 72
_TLS_AHEAD_BYTES = 16 << 10


@functools.cache
def _buffer_bytes_max() -> int:
    """The largest receive buffer that may be asked for."""
    try:
        return int(Path("/proc/sys/net/core/rmem_max").read_text())
    except (OSError, ValueError):
        return 212_992


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        # Which goes on while the machine is suspended: leases must not outlive that.
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemRandomness:
    """The kernel's random numbers; jitter need not be secret."""

    def token(self, count: int) -> bytes:
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)


class SystemFile:
    """A file by its descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        # Some filesystems in user space count no names.
        self._counted = os.fstat(fd).st_nlink > 0

    def writev(self, buffers: Sequence[Buffer], offset: int) -> None:
        pending = [memoryview(buffer) for buffer in buffers if len(buffer)]
        while pending:
            written = os.pwritev(self._fd, pending[:_IOV_MAX], offset)
            if written == 0:
                raise OSError(errno.EIO, "the disk took no bytes")
            offset += written
            while written and written >= len(pending[0]):
                written -= len(pending.pop(0))
            if written:
                pending[0] = pending[0][written:]

    def read(self, length: int, offset: int) -> bytes:
        data = os.pread(self._fd, length, offset)
        if len(data) == length or not data:
            return data
        parts = [data]
        got = len(data)
        while got < length and (data := os.pread(self._fd, length - got, offset + got)):
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def read_cached(self, length: int, offset: int) -> bytes | None:
        data = bytearray(length)
        try:
            got = os.preadv(self._fd, [data], offset, os.RWF_NOWAIT)
        except OSError:
            return None
        return bytes(data) if got == length else None

    def sync(self) -> None:
        os.fdatasync(self._fd)
        if self._counted and not os.fstat(self._fd).st_nlink:
            raise OSError(errno.ESTALE, "somebody has deleted the file")

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        os.close(self._fd)


class SystemDisk:
    """The machine's filesystem, worked by a few threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_DISK_THREADS, thread_name_prefix="disk")

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def create(self, path: Path, mode: int = 0o644) -> File:
        return SystemFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))

    def open(self, path: Path) -> File:
        try:
            return SystemFile(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            # The kernel made the filesystem read-only after an error: reads go on.
            return SystemFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def read_bytes(self, path: Path) -> bytes:
        return path.read_bytes()

    def write_atomic(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            try:
                os.fchmod(fd, mode)
                SystemFile(fd).writev([data], 0)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(temporary, path)  # noqa: PTH105
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self.sync_dir(path.parent)

    def list_dir(self, path: Path) -> list[str]:
        return sorted(entry.name for entry in path.iterdir())

    def make_dirs(self, path: Path, mode: int = 0o755) -> None:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=mode, exist_ok=True)
        # Those that were there, too: who made them may have been killed before their sync.
        device = path.stat().st_dev
        for parent in path.parents:
            if parent.stat().st_dev != device:
                break
            try:
                self.sync_dir(parent)
            except PermissionError:
                # A folder that this user may not read is not one that he made.
                break

    def remove(self, path: Path) -> None:
        path.unlink()

    def rename(self, path: Path, to: Path) -> None:
        os.replace(path, to)  # noqa: PTH105

    def sync_dir(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def room(self, path: Path) -> int:
        found = os.statvfs(path)
        return max(0, found.f_bavail - found.f_blocks // 20) * found.f_frsize


class SideBySide:
    """Does work on several disks at once, in threads: they sync in the time of the slowest."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_SIDE_THREADS, thread_name_prefix="slots")

    def __call__(self, work: Sequence[Callable[[], None]], /) -> list[OSError | None]:
        waiting = [self._threads.submit(_attempt, one) for one in work[1:]]
        return [*map(_attempt, work[:1]), *(one.result() for one in waiting)]


def _attempt(work: Callable[[], None]) -> OSError | None:
    try:
        work()
    except OSError as error:
        return error
    return None


class SystemLine:
    """A TLS connection by its socket."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._socket = connection
        self._seconds = connection.gettimeout() or 0.0

    def send(self, data: bytes) -> None:
        self._socket.settimeout(self._seconds)
        self._socket.sendall(data)

    def receive(self, length: int) -> bytes:
        data = bytearray(length)
        view, got = memoryview(data), 0
        deadline = time.monotonic() + self._seconds
        while got < length:
            # For all of it: who sends a byte now and then must not keep a thread for ever.
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            count = self._socket.recv_into(view[got:])
            if not count:
                raise ConnectionResetError(errno.ECONNRESET, "the other end closed the connection")
            got += count
        return bytes(data)

    def is_quiet(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()


def dial(
    endpoints: Sequence[tuple[str, int]],
    fingerprint: str,
    connect_seconds: float,
    call_seconds: float,
) -> SystemLine:
    """See `dc.ports.Dial`."""
    return SystemLine(pinned(endpoints, fingerprint, connect_seconds, call_seconds))


def keep_alive(
    connection: socket.socket,
    idle: int = _KEEPALIVE_SECONDS,
    each: int = _KEEPALIVE_SECONDS,
) -> None:
    """Let the kernel ask for the other end when nothing came for `idle` seconds, then `each` so
    many: so one that is gone is found, and nobody on the way forgets a connection on which nothing
    is said for hours."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, each)


def _pinning() -> ssl.SSLContext:
    """For who is recognised by the fingerprint of a certificate, and by nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def connect(
    endpoints: Sequence[tuple[str, int]], fingerprint: str, seconds: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """TLS to the first (host, port) that answers within so many seconds, with the certificate of
    that fingerprint (SHA-256 of its DER, hex). OSError."""
    problem: OSError = ConnectionError(errno.ECONNREFUSED, "it has no address")
    for host, port in endpoints:
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(host, port, ssl=_pinning(), limit=1 << 20), seconds
            )
        except (OSError, TimeoutError) as error:
            problem = error if isinstance(error, OSError) else TimeoutError(errno.ETIMEDOUT, "late")
            continue
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        found = hashlib.sha256(shown or b"").hexdigest()
        if found == fingerprint:
            keep_alive(writer.get_extra_info("socket"))
            return reader, writer
        writer.transport.abort()
        problem = ConnectionError(errno.EACCES, "its certificate is another one's")
    raise problem


def pinned(
    endpoints: Sequence[tuple[str, int]],
    fingerprint: str,
    connect_seconds: float,
    call_seconds: float,
) -> ssl.SSLSocket:
    """The socket of such a line."""
    context = _pinning()
    problem: OSError = ConnectionError(errno.ECONNREFUSED, "it has no address")
    for endpoint in endpoints:
        try:
            plain = socket.create_connection(endpoint, connect_seconds)
        except OSError as error:
            problem = error
            continue
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(plain)
            secure = context.wrap_socket(plain)
        except OSError as error:
            plain.close()
            problem = error
            continue
        found = hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()
        if found == fingerprint:
            secure.settimeout(call_seconds)
            return secure
        secure.close()
        problem = ConnectionError(errno.EACCES, "its certificate is another one's")
    raise problem


class SystemDatabase:
    """An aiosqlite connection. `run` hands a whole unit of work to its thread in one hop: a hop
    for every statement would cost more than the statements."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        raw = self._connection._conn
        result: T = await self._connection._execute(work, raw)  # type: ignore[no-untyped-call]
        return result

    async def close(self) -> None:
        await self._connection.close()


class SystemDatabases:
    """SQLite files."""

    async def open(self, path: Path) -> Database:
        connection = await aiosqlite.connect(path, isolation_level=None, cached_statements=256)
        return SystemDatabase(connection)


class SystemListener:
    """A listening socket of the running event loop."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        self._server.close()


class _Connector(aiohttp.TCPConnector):
    """Tells of each connection that it has made, and has the kernel find out when the other end is
    gone: who only takes has nothing to send that would not arrive."""

    def __init__(self, opened: Callable[[ResponseHandler], None]) -> None:
        super().__init__(limit=0, enable_cleanup_closed=False)
        self._opened = opened

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        protocol = await super()._create_connection(req, traces, timeout)
        transport = protocol.transport
        found = None if transport is None else transport.get_extra_info("socket")
        if found is not None:
            with contextlib.suppress(OSError):
                keep_alive(found, _IDLE_SECONDS, _PROBE_SECONDS)
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        self._opened(protocol)
        return protocol


class SystemNetwork:
    """TCP."""

    async def listen(
        self, server: Callable[[], asyncio.Protocol], host: str, port: int, tls: ssl.SSLContext
    ) -> Listener:
        loop = asyncio.get_running_loop()
        return SystemListener(await loop.create_server(server, host, port, ssl=tls))

    def connector(self, opened: Callable[[ResponseHandler], None]) -> aiohttp.BaseConnector:
        return _Connector(opened)

    def narrow(self, transport: asyncio.BaseTransport, size: int) -> None:
        if isinstance(transport, asyncio.Transport) and transport.is_closing():
            return
        if size > _buffer_bytes_max():
            # The kernel would give less, for good: and one connection could not have all of a rate.
            size = 0
        if hasattr(transport, "set_read_buffer_limits"):
            transport.set_read_buffer_limits((size and _TLS_AHEAD_BYTES) or None)
        connection = transport.get_extra_info("socket")
        if connection is None:
            return
        with contextlib.suppress(OSError):
            if size:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            else:
                # Or it would never grow again. Linux before 5.14 does not know this.
                connection.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, 0)
