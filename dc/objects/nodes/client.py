"""A disk of a node as a `dc.ports.Disk`: every call goes over the network, from the disk threads.

Calls block, like those of a local disk, so what is above need not know the difference. Connections
are kept and used again; a file that is written has one of its own, on which writes are sent without
waiting for their answers: `sync` waits for all of them, and tells of what failed.

A node that cannot be reached, or lets a call wait for too long, is a disk that fails: OSError. It
is left alone for some seconds then, so that what can be decoded without it need not wait.
"""

import errno
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from dc.objects.marks import MARK
from dc.objects.nodes import wire
from dc.objects.nodes.wire import Answer, Ask
from dc.ports import Buffer, Clock, Dial, File, Line

log = structlog.get_logger("nodes")

CONNECT_SECONDS_MAX = 3.0
CALL_SECONDS_MAX = 6.0
"""What a disk may take for one call. A write waits for the slowest of its disks."""
AWAY_SECONDS = 5.0
"""How long a node that did not answer is not asked."""
CONNECTIONS_KEPT = 16
UNANSWERED_MAX = 256
"""Writes whose answers were not taken yet: a node that cannot get rid of its answers takes no
more writes."""
Prove = Callable[[bytes], bytes]
"""The datacenter's signature over what a node has drawn (`tokens/hello.py`)."""


class NodeAddress(NamedTuple):
    """How to reach a node, and what it is recognised by."""

    name: str
    endpoints: tuple[tuple[str, int], ...]
    fingerprint: str
    """SHA-256 of its certificate (DER), hex."""


class _Connection:
    """One connection, used by one thread at a time."""

    def __init__(self, line: Line, prove: Prove) -> None:
        self._line = line
        try:
            line.send(wire.frame(wire.Hello()))
            line.send(wire.frame(wire.Proof(prove(self._challenged()))))
            answer, _ = self.receive()
            if answer.error:
                raise wire.raised(answer)
        except BaseException:
            self.close()
            raise
        self.boot = answer.boot

    def _challenged(self) -> bytes:
        try:
            raw = self._line.receive(wire.LENGTHS.size)
        except ConnectionError:
            raise wire.ended_at_once() from None
        return wire.nonce_of(self._line.receive(wire.lengths(raw, payload_max=0)[0]))

    def ask(self, ask: Ask, payload: Buffer = b"") -> None:
        self._line.send(wire.frame(ask, payload))

    def receive(self) -> tuple[Answer, bytes]:
        receive = self._line.receive
        header, payload = wire.lengths(receive(wire.LENGTHS.size))
        try:
            answer = wire.decode_answer(receive(header))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise wire.WireError(f"no answer: {error}") from None
        return answer, receive(payload)

    def is_open(self) -> bool:
        """Whether the node has not ended it: when nothing was asked, nothing can be read."""
        return self._line.is_quiet()

    def close(self) -> None:
        self._line.close()


class RemoteNode:
    """The connections to one node. `prove` shows it who asks; used from all threads."""

    def __init__(self, address: NodeAddress, prove: Prove, clock: Clock, dial: Dial) -> None:
        self.address = address
        self._dial = dial
        self.prove = prove
        self._clock = clock
        self._kept: deque[_Connection] = deque()
        self._lock = threading.Lock()
        self._away_until = 0.0
        self._closed = False
        self.problem = ""
        """Why the last try to connect failed, if it did."""

    def call(self, ask: Ask, payload: Buffer = b"") -> tuple[Answer, bytes]:
        """The answer to one call; OSError when it fails there or on the way."""
        with self.connection() as connection:
            connection.ask(ask, payload)
            answer, data = connection.receive()
        if answer.error:
            raise wire.raised(answer)
        return answer, data

    @contextmanager
    def connection(self) -> Iterator[_Connection]:
        """A connection for some calls, all of whose answers are taken. What breaks it is told as
        an OSError, and the node is left alone for a while."""
        connection = self.begin()
        try:
            yield connection
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                self.failed()
                raise self._named(error) from error
            raise
        self._keep(connection)

    def begin(self) -> _Connection:
        """A connection of one's own, to be closed."""
        if self._clock.monotonic() < self._away_until:
            raise self._named(ConnectionError(errno.EHOSTDOWN, "it did not answer just now"))
        while (connection := self._kept_one()) is not None:
            if connection.is_open():
                return connection
            connection.close()
        try:
            at = self.address
            line = self._dial(at.endpoints, at.fingerprint, CONNECT_SECONDS_MAX, CALL_SECONDS_MAX)
            connection = _Connection(line, self.prove)
        except OSError as error:
            self.failed()
            self._tell(str(error.strerror or error))
            raise self._named(error) from error
        self._tell("")
        return connection

    def _tell(self, problem: str) -> None:
        """In the log, once; while the datacenter runs it is asked again and again."""
        before, self.problem = self.problem, problem
        if problem and problem != before:
            log.warning("a node is not connected", node=self.address.name, reason=problem)
        elif before and not problem:
            log.info("a node is connected again", node=self.address.name)

    def _kept_one(self) -> _Connection | None:
        with self._lock:
            return self._kept.pop() if self._kept else None

    def failed(self) -> None:
        """It broke a call, or let it wait."""
        self._away_until = self._clock.monotonic() + AWAY_SECONDS
        with self._lock:
            kept, self._kept = self._kept, deque()
        for connection in kept:
            connection.close()

    def _keep(self, connection: _Connection) -> None:
        with self._lock:
            if len(self._kept) < CONNECTIONS_KEPT and not self._closed:
                self._kept.append(connection)
                return
        connection.close()

    def close(self) -> None:
        self._closed = True
        with self._lock:
            kept, self._kept = self._kept, deque()
        for connection in kept:
            connection.close()

    def _named(self, error: OSError) -> OSError:
        number = error.errno or (errno.ETIMEDOUT if isinstance(error, TimeoutError) else errno.EIO)
        return OSError(number, f"node {self.address.name}: {error.strerror or error}")


class RemoteFile:
    """A file on a disk of a node (`dc.ports.File`). `writer`: it was created here and now."""

    is_elsewhere = True
    """Reads can take long, and are not to be waited for (`dc/objects/pace.py`)."""

    def __init__(
        self, node: RemoteNode, disk: int, name: str, writer: _Connection | None = None
    ) -> None:
        self._node = node
        self._disk = disk
        self._name = name
        self._writer = writer
        self._pending = 0
        self._error: OSError | None = None
        self._lock = threading.Lock()

    def _ask(self, what: str, **more: int | str) -> Ask:
        return Ask(what, self._disk, self._name, **more)  # type: ignore[arg-type]

    def writev(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Sent, and not waited for: `sync` tells what became of it."""
        data = b"".join(buffers)
        with self._lock:
            writer = self._open_writer()
            with self._breaking():
                writer.ask(self._ask(wire.WRITE, boot=writer.boot, offset=offset), data)
                self._pending += 1
                self._take_answers(writer, UNANSWERED_MAX)

    def sync(self) -> None:
        with self._lock:
            writer = self._open_writer()
            with self._breaking():
                writer.ask(self._ask(wire.SYNC, boot=writer.boot))
                self._pending += 1
                self._take_answers(writer, 0)
            if self._error is not None:
                raise self._error

    def _take_answers(self, writer: _Connection, left: int) -> None:
        """Until no more than so many are to come."""
        while self._pending > left:
            answer, _ = writer.receive()
            self._pending -= 1
            if answer.error and self._error is None:
                self._error = wire.raised(answer)

    def _open_writer(self) -> _Connection:
        if self._error is not None:
            raise self._error
        if self._writer is None:
            raise OSError(errno.EBADF, "the file was not begun here")
        return self._writer

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        """Once a call did not get through it is not known what was written: nothing more is."""
        try:
            yield
        except OSError as error:
            self._error = OSError(
                error.errno or errno.ETIMEDOUT,
                f"node {self._node.address.name}: {error.strerror or error}",
            )
            self._node.failed()
            raise self._error from error

    def read(self, length: int, offset: int) -> bytes:
        return self._node.call(self._ask(wire.READ, length=length, offset=offset))[1]

    def read_cached(self, length: int, offset: int) -> bytes | None:
        return None

    def size(self) -> int:
        return self._node.call(self._ask(wire.SIZE))[0].value

    def close(self) -> None:
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


class RemoteDisk:
    """One disk of a node (`dc.ports.Disk`, as far as containers need one). Of a path only the name
    counts."""

    def __init__(self, node: RemoteNode, number: int) -> None:
        self._node = node
        self._number = number

    def _call(self, what: str, path: Path | None = None, to: str = "") -> tuple[Answer, bytes]:
        return self._node.call(Ask(what, self._number, "" if path is None else path.name, to=to))

    def create(self, path: Path, mode: int = 0o644) -> File:
        connection = self._node.begin()
        try:
            connection.ask(Ask(wire.CREATE, self._number, path.name))
            answer, _ = connection.receive()
        except BaseException:
            connection.close()
            self._node.failed()
            raise
        if answer.error:
            connection.close()
            raise wire.raised(answer)
        return RemoteFile(self._node, self._number, path.name, connection)

    def open(self, path: Path) -> File:
        self._call(wire.OPEN, path)
        return RemoteFile(self._node, self._number, path.name)

    def read_bytes(self, path: Path) -> bytes:
        if path.name != MARK:
            raise OSError(errno.EINVAL, "only marks are read whole")
        return self._call(wire.READ_MARK)[1]

    def list_dir(self, path: Path) -> list[str]:
        try:
            return sorted(wire.decode_names(self._call(wire.LIST)[1]))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise wire.WireError(f"no list of names: {error}") from None

    def make_dirs(self, path: Path, mode: int = 0o755) -> None:
        """The node has made them."""

    def remove(self, path: Path) -> None:
        self._call(wire.REMOVE, path)

    def rename(self, path: Path, to: Path) -> None:
        self._call(wire.RENAME, path, to.name)

    def sync_dir(self, path: Path) -> None:
        self._call(wire.SYNC_DIR)

    def room(self, path: Path) -> int:
        return self._call(wire.ROOM)[0].value
