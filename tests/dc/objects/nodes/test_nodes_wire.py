"""A node and who asks it, over real TLS on loopback: what works, what is refused, what is slow."""

import asyncio
import contextlib
import datetime
import errno
import hashlib
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from structlog.testing import capture_logs

from dc.objects import pace as pace_module
from dc.objects.marks import MARK, mark_of
from dc.objects.nodes import client as client_module
from dc.objects.nodes import wire
from dc.objects.nodes.client import NodeAddress, Prove, RemoteDisk, RemoteNode
from dc.objects.nodes.server import NodeServer
from dc.objects.nodes.wire import Answer, Ask, Challenge, Hello, Proof
from dc.objects.pace import PacedFile, Paces
from dc.objects.stripes import slot_name
from dc.ports import File
from dc.system import SystemClock, SystemDisk, dial, keep_alive, pinned
from replicator.channel import server_context
from tokens.certificate import make_certificate
from tokens.errors import TokenAltered
from tokens.hello import check_answer, sign_answer
from tokens.identity import Identity

T = TypeVar("T")
NAME = slot_name(1 << 16, 0)
AT = Path("/0/containers") / NAME
PARIS, TOKYO = Identity(b"a" * 32, b"b" * 32), Identity(b"c" * 32, b"d" * 32)
NODE, OTHER = "1" * 16, "2" * 16


class Host:
    """A node on a folder, started and stopped as often as is needed."""

    def __init__(self, root: Path) -> None:
        self.folders = [root / f"disk{number}" for number in range(2)]
        for folder in self.folders:
            folder.mkdir()
            (folder / MARK).write_bytes(mark_of("dc"))
        certificate, key = make_certificate(NODE, datetime.datetime.now(datetime.UTC))
        (root / "crt").write_bytes(certificate)
        (root / "key").write_bytes(key)
        self.tls = server_context(root / "crt", root / "key")
        self.fingerprint = hashlib.sha256(
            ssl.PEM_cert_to_DER_cert(certificate.decode())
        ).hexdigest()
        self.disk = SlowDisk()
        self.port = self.kept = 0
        self.server: NodeServer
        self.nodes: list[RemoteNode] = []

    async def up(self) -> None:
        self.server = NodeServer(self.disk, self.folders, self.check, os.urandom, self.keep)
        self.port = await self.server.start("127.0.0.1", self.port, self.tls)

    def check(self, nonce: bytes, signature: bytes) -> bool:
        try:
            check_answer(PARIS.public.signing_key, nonce, signature, NODE, self.fingerprint)
        except TokenAltered:
            return False
        return True

    def prove(self, nonce: bytes) -> bytes:
        return sign_answer(PARIS, nonce, NODE, self.fingerprint)

    def keep(self, connection: socket.socket) -> None:
        keep_alive(connection)
        self.kept += bool(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def address(self) -> NodeAddress:
        return NodeAddress("os1", (("127.0.0.1", self.port),), self.fingerprint)

    def line(self) -> ssl.SSLSocket:
        return pinned((("127.0.0.1", self.port),), self.fingerprint, 5, 5)

    def node(self, prove: Prove | None = None) -> RemoteNode:
        made = RemoteNode(self.address(), prove or self.prove, SystemClock(), dial)
        self.nodes.append(made)
        return self.nodes[-1]


class SlowDisk(SystemDisk):
    """Lets reads wait, if a test says so."""

    wait_s = 0.0

    def open(self, path: Path) -> File:
        file, disk = super().open(path), self
        read = file.read

        def slow(length: int, offset: int) -> bytes:
            time.sleep(disk.wait_s)
            return read(length, offset)

        file.read = slow  # type: ignore[method-assign]
        return file


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    made = Host(tmp_path)
    await made.up()
    yield made
    for node in made.nodes:
        node.close()
    await made.server.stop()


async def away(work: Callable[[], T]) -> T:
    """As it is done in a disk thread."""
    return await asyncio.to_thread(work)


async def test_a_file_of_a_node_is_like_any_other(host: Host) -> None:
    disk = RemoteDisk(host.node(), 1)

    def work() -> None:
        assert disk.read_bytes(Path("/1") / MARK) == mark_of("dc")
        file = disk.create(AT)
        with pytest.raises(FileExistsError):
            disk.create(AT)
        file.writev([b"ab", memoryview(b"cd")], 0)
        file.writev([b"e" * 3_000_000], 4)
        file.sync()
        disk.sync_dir(AT.parent)
        assert file.size() == 3_000_004
        assert file.read(6, 0) == b"abcdee" and file.read_cached(6, 0) is None
        again = disk.open(AT)
        assert again.read(10, 3_000_000) == b"eeee"
        assert disk.list_dir(AT.parent) == [NAME]
        new = f".{slot_name(1 << 16, 0)}.new"
        other = disk.create(AT.with_name(new))
        other.writev([b"new"], 0)
        other.sync()
        disk.rename(AT.with_name(new), AT)
        # Who has it open reads what it is now.
        assert again.read(10, 0) == b"new"
        for one in (file, again, other):
            one.close()
        disk.remove(AT)
        with pytest.raises(FileNotFoundError):
            disk.open(AT)
        with pytest.raises(FileNotFoundError):
            again.read(1, 0)
        assert disk.list_dir(AT.parent) == []

    await away(work)
    assert not list((host.folders[1] / "containers").iterdir())


async def test_what_is_no_file_of_a_container_cannot_be_touched(host: Host) -> None:
    node = host.node()
    (host.folders[0] / "secret").write_text("x")

    def refused(ask: Ask) -> int:
        with pytest.raises(OSError) as caught:
            node.call(ask)
        return caught.value.errno or 0

    def work() -> None:
        for what in (wire.CREATE, wire.OPEN, wire.READ, wire.WRITE, wire.REMOVE, wire.SIZE):
            for name in ("", "..", "../secret", "/etc/passwd", MARK, "a.fss", NAME + "x", "."):
                assert refused(Ask(what, 0, name, length=1)) == errno.EINVAL
        node.call(Ask(wire.CREATE, 0, NAME))
        for to in ("../moved", MARK, ""):
            assert refused(Ask(wire.RENAME, 0, NAME, to=to)) == errno.EINVAL
        assert refused(Ask(wire.LIST, 2)) == errno.ENODEV
        assert refused(Ask("format", 0, NAME)) == errno.ENOSYS

    await away(work)
    assert (host.folders[0] / "secret").read_text() == "x"


async def test_a_sync_after_a_restart_says_that_it_does_not_know(host: Host) -> None:
    """What was written before it may be gone with the machine's memory."""
    disk = RemoteDisk(host.node(), 0)
    file = await away(lambda: disk.create(AT))
    await away(lambda: file.writev([b"x" * 100], 0))
    await away(file.sync)
    await away(lambda: file.writev([b"y" * 100], 100))
    await host.server.stop()
    await host.up()

    def sync() -> None:
        with pytest.raises(OSError):
            file.sync()
        # And so it stays.
        with pytest.raises(OSError):
            file.writev([b"z"], 200)
        file.close()

    await away(sync)

    def stale() -> None:
        node = host.node()
        with pytest.raises(OSError) as caught:
            node.call(Ask(wire.SYNC, 0, NAME, boot="another"))
        assert caught.value.errno == errno.ESTALE
        with pytest.raises(OSError) as caught:
            node.call(Ask(wire.WRITE, 0, NAME, boot="another"), b"x")
        assert caught.value.errno == errno.ESTALE

    await away(stale)
    # What asks nothing of before goes on, by new connections.
    assert await away(lambda: RemoteDisk(host.node(), 0).list_dir(AT.parent)) == [NAME]


async def test_failures_there_are_failures_here(host: Host) -> None:
    disk = RemoteDisk(host.node(), 0)
    file = await away(lambda: disk.create(AT))

    def writev(buffers: object, offset: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    [held] = host.server._files._held.values()
    held.file.writev = writev  # type: ignore[method-assign,assignment]

    def work() -> None:
        file.writev([b"x"], 0)
        with pytest.raises(OSError) as caught:
            file.sync()
        assert caught.value.errno == errno.ENOSPC

    await away(work)
    del held.file.writev
    # A write that failed is never followed by a sync that says all is well.
    with pytest.raises(OSError):
        await away(file.sync)
    file.close()


async def test_who_is_not_let_in(host: Host) -> None:
    def work() -> None:
        mark = host.fingerprint
        for prove in (
            lambda nonce: sign_answer(TOKYO, nonce, NODE, mark),
            lambda nonce: sign_answer(PARIS, nonce, OTHER, mark),
            lambda nonce: sign_answer(PARIS, nonce, NODE, "0" * 64),
            lambda _: sign_answer(PARIS, b"n" * 32, NODE, mark),
        ):
            with pytest.raises(OSError):
                host.node(prove).call(Ask(wire.LIST, 0))
        wrong = RemoteNode(
            host.address()._replace(fingerprint="0" * 64), host.prove, SystemClock(), dial
        )
        with pytest.raises(OSError) as caught:
            wrong.call(Ask(wire.LIST, 0))
        assert "certificate" in str(caught.value)

    await away(work)


async def test_what_was_answered_on_one_connection_is_no_answer_on_another(host: Host) -> None:
    said: list[bytes] = []

    def recorded(nonce: bytes) -> bytes:
        said.append(host.prove(nonce))
        return said[-1]

    def work() -> None:
        host.node(recorded).call(Ask(wire.LIST, 0))
        with pytest.raises(OSError):
            host.node(lambda _: said[0]).call(Ask(wire.LIST, 0))
        with contextlib.closing(host.line()) as line:
            line.sendall(wire.frame(Hello()) + wire.frame(Proof(said[0])))
            heard = b""
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while data := line.recv(1000):
                    heard += data
            assert len(heard) == len(wire.frame(Challenge(b"n" * 32))), (
                "it heard the challenge only"
            )

    await away(work)


async def test_a_node_of_another_version_says_so(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        monkeypatch.setattr(client_module.wire, "Hello", lambda: Hello(wire.VERSION + 1))
        with pytest.raises(OSError) as caught:
            host.node().call(Ask(wire.LIST, 0))
        assert "speaks version 2, and is asked in 3: upgrade the older one" in str(caught.value)
        monkeypatch.setattr(client_module.wire, "Hello", lambda: Ask("a token", 0))
        with pytest.raises(OSError) as caught:
            host.node().call(Ask(wire.LIST, 0))
        # What a node of version 1 does: it knows no hello of this kind.
        assert "node os1" in str(caught.value) and "upgrade the node" in str(caught.value)
        assert "upgrade the node" in host.nodes[-1].problem

    await away(work)


async def test_it_is_told_once_why_a_node_is_not_connected(host: Host) -> None:
    now = [0.0]

    class Clock(SystemClock):
        def monotonic(self) -> float:
            return now[0]

    node, port = host.node(), host.port
    node._clock = Clock()

    def work() -> None:
        with capture_logs() as logs:
            node.address = node.address._replace(endpoints=(("127.0.0.1", 1),))
            for _ in range(3):
                with pytest.raises(OSError):
                    node.call(Ask(wire.LIST, 0))
                now[0] += client_module.AWAY_SECONDS
            assert "refused" in node.problem
            node.address = node.address._replace(endpoints=(("127.0.0.1", port),))
            node.call(Ask(wire.LIST, 0))
            assert node.problem == ""
        events = [(one["event"], one["node"]) for one in logs]
        assert events == [("a node is not connected", "os1"), ("a node is connected again", "os1")]

    await away(work)


FRAMES = [
    wire.LENGTHS.pack(0, 0),
    wire.LENGTHS.pack(wire.HEADER_BYTES_MAX + 1, 0),
    wire.LENGTHS.pack(10, wire.PAYLOAD_BYTES_MAX + 1),
    wire.LENGTHS.pack(2, 0) + b"\xc1\xc1",
    wire.frame(Answer(text="nothing like that")),
    wire.LENGTHS.pack(3, 0) + b"\x92\xc0\x02",
]


@pytest.mark.parametrize("number", range(len(FRAMES)))
async def test_bad_frames_end_the_connection(host: Host, number: int) -> None:
    def work() -> None:
        for met in (0, 1, 2):
            with contextlib.closing(host.line()) as connection:
                if met:
                    connection.sendall(wire.frame(Hello()))
                    nonce = wire.nonce_of(connection.recv(1000)[wire.LENGTHS.size :])
                if met == 2:
                    connection.sendall(wire.frame(Proof(host.prove(nonce))))
                    assert connection.recv(1000)
                connection.sendall(FRAMES[number])
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    assert connection.recv(1000) == b""
        assert host.node().call(Ask(wire.LIST, 0))[0] == Answer()

    await away(work)


async def test_a_slow_read_is_given_up_and_the_node_is_no_disk_that_fails(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace_module, "LIMIT_SECONDS_MIN", 0.3)
    paces = Paces(SystemClock())
    disk = RemoteDisk(host.node(), 0)

    def work() -> None:
        file = disk.create(AT)
        file.writev([b"x" * 1000], 0)
        file.sync()
        file.close()
        host.server._files.close()
        fast, slow = (
            PacedFile(disk.open(AT), paces.of("standard", number, str(number)))
            for number in range(2)
        )
        for _ in range(20):
            assert fast.read_soon(10, 0) == b"x" * 10
        host.disk.wait_s = 0.9
        began = time.monotonic()
        assert slow.read_soon(10, 0) is None
        assert time.monotonic() - began < 0.8
        # Who must have it waits for it.
        assert slow.read(10, 0) == b"x" * 10
        host.disk.wait_s = 0.0
        assert slow.read_soon(10, 0) == b"x" * 10

    await away(work)


async def test_a_node_that_never_answers_is_a_disk_that_fails(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "CALL_SECONDS_MAX", 0.3)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        node = RemoteNode(
            host.address()._replace(endpoints=(deaf.getsockname(),)),
            host.prove,
            SystemClock(),
            dial,
        )
        monkeypatch.setattr(client_module, "CONNECT_SECONDS_MAX", 0.3)

        def work() -> None:
            for limit in (1.0, 0.05):
                began = time.monotonic()
                with pytest.raises(OSError):
                    node.call(Ask(wire.LIST, 0))
                assert time.monotonic() - began < limit

        await away(work)


async def test_many_at_once(host: Host) -> None:
    """Threads share connections; none gets another's answer."""
    node = host.node()
    disk = RemoteDisk(node, 0)
    names = [slot_name((1 << 16) + number, 0) for number in range(8)]

    def one(number: int) -> None:
        at = AT.with_name(names[number])
        file = disk.create(at)
        for turn in range(20):
            file.writev([bytes([number]) * 1000], turn * 1000)
            file.sync()
            assert file.read(1000, turn * 1000) == bytes([number]) * 1000
        file.close()

    def work() -> None:
        failed: list[BaseException] = []

        def run(number: int) -> None:
            try:
                one(number)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed, failed
        assert disk.list_dir(AT.parent) == names

    await away(work)
    node.close()
    assert len(node._kept) == 0
