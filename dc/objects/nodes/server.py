"""A node: gives the datacenter that it belongs to the disks of its machine.

It keeps no state but files. Files stay open between calls, a bounded number of them, for all
connections together; a file that is removed or replaced is closed at once, so nobody reads what it
was before. Who is not the datacenter is told nothing.
"""

import asyncio
import errno
import ssl
import threading
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog

from dc.objects.marks import MARK
from dc.objects.nodes import wire
from dc.objects.nodes.wire import Answer, Ask
from dc.ports import Disk, File
from dc.worker import spawn
from tokens.hello import NONCE_BYTES

log = structlog.get_logger("node")

FILES_MAX = 512
HELLO_SECONDS = 10.0
_BOOT_BYTES = 16
CONNECTIONS_MAX = 256
STRANGERS_MAX = 32
"""Connections that have not shown yet who they are. With one more the oldest of the address that
has most of them is ended: so they take little, and nobody at another address can keep out the
datacenter by being many."""
Check = Callable[[bytes, bytes], bool]
"""Whether a signature over a nonce is the datacenter's for this node (`tokens/hello.py`)."""
Gateway = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Ask], Awaitable[None]]
"""Makes what it can of a connection that is meant for a gateway; returns when it has ended."""
Keep = Callable[[Any], None]
Done = tuple[Answer, bytes]


class _Held:
    """An open file, with how many use it now."""

    __slots__ = ("dropped", "file", "users")

    def __init__(self, file: File) -> None:
        self.file = file
        self.users = 0
        self.dropped = False


class _Files:
    """Open files by path. Used from all threads."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._held: OrderedDict[Path, _Held] = OrderedDict()
        self._changes = 0
        self._lock = threading.Lock()

    @contextmanager
    def use(self, path: Path, anew: bool = False) -> Iterator[File]:
        """`anew`: it must be there now."""
        with self._lock:
            held = None if anew else self._held.get(path)
            if held is not None:
                self._held.move_to_end(path)
                held.users += 1
            changes = self._changes
        if held is None:
            held = self._add(path, self._disk.open(path), changes)
        try:
            yield held.file
        finally:
            self._let_go(held)

    def created(self, path: Path, file: File) -> None:
        self._let_go(self._add(path, file, self._changes))

    def drop(self, path: Path) -> None:
        """The file is not at that path any more."""
        with self._lock:
            self._changes += 1
            held = self._held.pop(path, None)
            if held is None:
                return
            held.users += 1
            held.dropped = True
        self._let_go(held)

    def close(self) -> None:
        for path in list(self._held):
            self.drop(path)

    def _add(self, path: Path, file: File, changes: int) -> _Held:
        """Keep a file, in use. Where some file was dropped since `changes` it may have been this
        one, while it was opened: it is closed after use."""
        held, unused = _Held(file), []
        held.users = 1
        with self._lock:
            if changes != self._changes:
                held.dropped = True
                return held
            before = self._held.pop(path, None)
            if before is not None:
                unused.append(before)
            self._held[path] = held
            while len(self._held) > FILES_MAX:
                unused.append(self._held.popitem(last=False)[1])
            for one in unused:
                one.dropped = True
                one.users += 1
        for one in unused:
            self._let_go(one)
        return held

    def _let_go(self, held: _Held) -> None:
        with self._lock:
            held.users -= 1
            unused = held.dropped and not held.users
        if unused:
            with suppress(OSError):
                held.file.close()


class NodeServer:
    """`folders` are the disks; `check` says whether it is the datacenter that calls; `token` gives
    so many random bytes; `keep` makes a socket one that stays, however long nothing is said. All
    of `disk` is done in its threads."""

    def __init__(
        self,
        disk: Disk,
        folders: Sequence[Path],
        check: Check,
        token: Callable[[int], bytes],
        keep: Keep,
        gateways: Mapping[str, Gateway] = {},
    ) -> None:
        self._disk = disk
        self._folders = list(folders)
        self._check = check
        self._token = token
        self._boot = token(_BOOT_BYTES).hex()
        self._keep = keep
        self._gateways = gateways
        self._files = _Files(disk)
        self._connections: set[asyncio.Task[None]] = set()
        self._strangers: dict[asyncio.Task[None], str] = {}
        """Those of them that have not shown who they are, the oldest first, with their address."""
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext) -> int:
        """Listen; returns the port. OSError."""
        await self._disk.run(self._prepare_all)
        self._server = await asyncio.start_server(
            self._connected, host, port, ssl=tls, limit=1 << 20, ssl_handshake_timeout=HELLO_SECONDS
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    def _prepare_all(self) -> None:
        for folder in self._folders:
            try:
                self._prepare(folder)
            except OSError as error:
                # It is looked at again whenever the datacenter asks what is on it.
                log.error("a disk cannot be used", disk=str(folder), error=str(error))

    def _prepare(self, folder: Path) -> None:
        """The folder of the slots, where the disk is there."""
        if (folder / MARK).exists():
            self._disk.make_dirs(folder / "containers")

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._disk.run(self._files.close)

    # -- connections ----------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= CONNECTIONS_MAX:
            writer.close()
            return
        with suppress(OSError):
            self._keep(writer.get_extra_info("socket"))
        task = spawn(self._serve(reader, writer), "a connection of the datacenter")
        self._connections.add(task)
        peer = writer.get_extra_info("peername")
        self._strangers[task] = peer[0] if peer else ""
        task.add_done_callback(self._ended)
        if len(self._strangers) > STRANGERS_MAX:
            ((most, _),) = Counter(self._strangers.values()).most_common(1)
            oldest = next(one for one, at in self._strangers.items() if at == most)
            del self._strangers[oldest]
            oldest.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        self._strangers.pop(task, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                known = await self._meet(reader, writer)
            if not known:
                return
            task = asyncio.current_task()
            assert task is not None
            self._strangers.pop(task, None)
            writer.write(wire.frame(Answer(boot=self._boot, value=len(self._folders))))
            while True:
                header, payload = await _read(reader)
                ask = wire.decode_ask(header)
                if (adopt := self._gateways.get(ask.what)) is not None:
                    writer.write(wire.frame(Answer()))
                    await adopt(reader, writer, ask)
                    return
                answer, data = await self._disk.run(lambda: self._do(ask, payload))  # noqa: B023
                writer.write(wire.frame(answer, data))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ssl.SSLError):
            return
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("a connection was ended", reason=f"{type(error).__name__}: {error}")
        finally:
            writer.transport.abort()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether it is the datacenter that calls."""
        said = wire.decode_hello((await _read(reader, payload_max=0))[0])
        if said.version != wire.VERSION:
            what = f"this node speaks version {wire.VERSION}, and is asked in {said.version}"
            log.warning("a caller was refused", reason=what)
            refusal = wire.Challenge(error=errno.EPROTO, text=f"{what}: upgrade the older one")
            writer.write(wire.frame(refusal))
            # All of it goes out before the connection is ended.
            writer.close()
            await writer.wait_closed()
            return False
        nonce = self._token(NONCE_BYTES)
        writer.write(wire.frame(wire.Challenge(nonce)))
        proof = wire.decode_proof((await _read(reader, payload_max=0))[0])
        return self._check(nonce, proof.signature)

    # -- in disk threads --------------------------------------------------------------------------

    def _do(self, ask: Ask, payload: bytes) -> Done:
        try:
            return self._done(ask, payload)
        except OSError as error:
            return wire.failure(error), b""

    def _done(self, ask: Ask, payload: bytes) -> Done:
        if ask.what.startswith(wire.GATEWAYS):
            raise OSError(errno.ENOSYS, "it is no gateway now, or one of another version")
        if ask.disk >= len(self._folders):
            raise OSError(errno.ENODEV, "there is no such disk")
        folder = self._folders[ask.disk]
        if ask.what == wire.READ_MARK:
            return Answer(), self._disk.read_bytes(folder / MARK)
        inner = folder / "containers"
        if ask.what == wire.LIST:
            self._prepare(folder)
            names = [name for name in self._disk.list_dir(inner) if wire.NAME.fullmatch(name)]
            return Answer(), wire.encode_names(names)
        if ask.what == wire.SYNC_DIR:
            self._disk.sync_dir(inner)
            return Answer(), b""
        if ask.what == wire.ROOM:
            return Answer(value=self._disk.room(inner)), b""
        if not wire.NAME.fullmatch(ask.name):
            raise OSError(errno.EINVAL, "there are no files of such a name here")
        return self._of_file(ask, payload, inner)

    def _of_file(self, ask: Ask, payload: bytes, inner: Path) -> Done:
        path = inner / ask.name
        if ask.what in (wire.WRITE, wire.SYNC) and ask.boot != self._boot:
            raise OSError(errno.ESTALE, "the node was started again since the file was begun")
        match ask.what:
            case wire.CREATE:
                self._files.created(path, self._disk.create(path))
            case wire.WRITE:
                with self._files.use(path) as file:
                    file.writev([payload], ask.offset)
            case wire.SYNC:
                with self._files.use(path) as file:
                    file.sync()
            case wire.READ:
                with self._files.use(path) as file:
                    return Answer(), file.read(min(ask.length, wire.READ_BYTES_MAX), ask.offset)
            case wire.OPEN | wire.SIZE:
                with self._files.use(path, anew=ask.what == wire.OPEN) as file:
                    return Answer(value=file.size()), b""
            case wire.REMOVE:
                self._disk.remove(path)
                self._files.drop(path)
            case wire.RENAME:
                if not wire.NAME.fullmatch(ask.to):
                    raise OSError(errno.EINVAL, "there are no files of such a name here")
                self._disk.rename(path, inner / ask.to)
                self._files.drop(inner / ask.to)
                self._files.drop(path)
            case _:
                raise OSError(errno.ENOSYS, "nothing like that can be asked")
        return Answer(), b""


async def _read(
    reader: asyncio.StreamReader, payload_max: int = wire.PAYLOAD_BYTES_MAX
) -> tuple[bytes, bytes]:
    """Header and payload of the next frame."""
    header, payload = wire.lengths(await reader.readexactly(wire.LENGTHS.size), payload_max)
    return await reader.readexactly(header), await reader.readexactly(payload) if payload else b""
