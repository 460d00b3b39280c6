"""What a node and who asks it must withstand: long silence, many writes, strangers, answers that
never end, and files that change while they are opened."""

import contextlib
import errno
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import cast

import pytest
from test_nodes_wire import AT, NAME, Host, away, host

from dc.objects.nodes import client as client_module
from dc.objects.nodes import server as server_module
from dc.objects.nodes import wire
from dc.objects.nodes.client import RemoteDisk, RemoteFile
from dc.objects.nodes.wire import Answer, Ask
from dc.system import SystemDisk, SystemFile, SystemLine

__all__ = ["host"]


async def test_writes_without_number_need_no_sync_in_between(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repair writes a slot stripe by stripe, and syncs it at its end. Who takes no answers fills
    the buffers of both ends with them, and then neither hears the other."""
    disk, most = RemoteDisk(host.node(), 0), 0
    monkeypatch.setattr(client_module, "UNANSWERED_MAX", 10)

    def work() -> None:
        nonlocal most
        file = disk.create(AT)
        for number in range(100):
            file.writev([b"x"], number)
            most = max(most, file._pending)  # type: ignore[attr-defined]
        file.sync()
        assert file.size() == 100
        file.close()

    await away(work)
    assert most == 10


async def test_a_write_that_failed_is_told_of_by_a_later_one(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "UNANSWERED_MAX", 3)
    file = await away(lambda: RemoteDisk(host.node(), 0).create(AT))
    (host.folders[0] / "containers" / NAME).unlink()
    host.server._files.close()

    def work() -> None:
        with pytest.raises(FileNotFoundError):
            for number in range(10):
                file.writev([b"x"], number)
        with pytest.raises(FileNotFoundError):
            file.sync()
        file.close()

    await away(work)


async def test_a_connection_on_which_nothing_is_said_is_kept(host: Host) -> None:
    """A file that is written has one, and nobody may write for a night."""
    line = await away(host.line)
    assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    await away(lambda: host.node().call(Ask(wire.LIST, 0)))
    assert host.kept == 2
    line.close()


# -- strangers ------------------------------------------------------------------------------------


async def test_who_has_said_nothing_yet_gets_no_memory(host: Host) -> None:
    def work() -> None:
        with contextlib.closing(host.line()) as line:
            line.sendall(wire.LENGTHS.pack(10, 1))
            assert line.recv(1) == b""

    await away(work)


async def test_strangers_without_number_do_not_keep_out_the_datacenter(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "STRANGERS_MAX", 4)
    monkeypatch.setattr(server_module, "CONNECTIONS_MAX", 8)

    def work() -> None:
        lines = []
        node = host.node()
        node.call(Ask(wire.LIST, 0))
        for number in range(20):
            lines.append(host.line())
            if number % 2:
                # To be asked who one is, and not to say it, is no more.
                lines[-1].sendall(wire.frame(wire.Hello()))
        assert node.call(Ask(wire.LIST, 0))[0] == Answer()
        assert host.node().call(Ask(wire.LIST, 0))[0] == Answer()
        with contextlib.suppress(ConnectionError):
            assert lines[0].recv(1) == b""
        for line in lines:
            line.close()

    await away(work)
    # It was the datacenter's connections that stayed.
    assert len(host.server._connections) <= 8


async def test_strangers_at_one_address_end_each_other(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the datacenter at another, which is about to show who it is."""
    monkeypatch.setattr(server_module, "STRANGERS_MAX", 4)

    def elsewhere() -> ssl.SSLSocket:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        at, source = ("127.0.0.1", host.port), ("127.0.0.2", 0)
        return tls.wrap_socket(socket.create_connection(at, 5, source))

    def work() -> None:
        with elsewhere() as slow, contextlib.ExitStack() as others:
            slow.sendall(wire.frame(wire.Hello()))
            assert slow.recv(1)
            lines = [others.enter_context(contextlib.closing(host.line())) for _ in range(8)]
            with contextlib.suppress(ConnectionError):
                assert lines[0].recv(1) == b""
            slow.settimeout(0.3)
            with pytest.raises(TimeoutError):
                while slow.recv(4096):
                    pass

    await away(work)


# -- answers --------------------------------------------------------------------------------------


def test_an_answer_that_comes_by_drops_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.3)
    ended = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not ended.wait(0.05):
                theirs.send(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        SystemLine(cast(ssl.SSLSocket, ours)).receive(1 << 20)
    assert time.monotonic() - began < 3
    ended.set()
    thread.join()
    ours.close()
    theirs.close()


# -- files ----------------------------------------------------------------------------------------


async def test_a_file_that_is_replaced_while_it_is_opened_is_not_kept(host: Host) -> None:
    inner = host.folders[0] / "containers"
    (inner / NAME).write_bytes(b"old")
    files, disk = host.server._files, host.disk
    real = SystemDisk.open

    def replaced(self: SystemDisk, path: Path) -> object:
        file = real(self, path)
        (inner / "new").write_bytes(b"new")
        (inner / "new").replace(path)
        files.drop(path)
        return file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemDisk, "open", replaced)
        with files.use(inner / NAME) as file:
            file.size()
    assert disk.open(inner / NAME).read(3, 0) == b"new"
    with files.use(inner / NAME) as file:
        assert file.read(3, 0) == b"new"


async def test_what_is_opened_is_there_now(host: Host) -> None:
    disk = RemoteDisk(host.node(), 0)

    def work() -> None:
        disk.create(AT).close()
        (host.folders[0] / "containers" / NAME).unlink()
        with pytest.raises(FileNotFoundError):
            disk.open(AT)

    await away(work)


async def test_a_disk_that_cannot_be_used_keeps_no_node_from_starting(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    await host.server.stop()
    real = SystemDisk.make_dirs

    def make_dirs(self: SystemDisk, path: Path, mode: int = 0o755) -> None:
        if host.folders[0] in path.parents:
            raise OSError(errno.EIO, "broken")
        real(self, path, mode)

    monkeypatch.setattr(SystemDisk, "make_dirs", make_dirs)
    await host.up()

    def work() -> None:
        with pytest.raises(OSError):
            host.node().call(Ask(wire.LIST, 0))
        assert host.node().call(Ask(wire.LIST, 1))[0] == Answer()

    await away(work)


# -- what a sync says -----------------------------------------------------------------------------


async def test_a_sync_is_one(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    real, synced = SystemFile.sync, []

    def sync(self: SystemFile) -> None:
        synced.append(self.size())
        real(self)

    monkeypatch.setattr(SystemFile, "sync", sync)

    def work() -> None:
        file = RemoteDisk(host.node(), 0).create(AT)
        file.writev([b"x" * 10], 0)
        file.sync()
        file.close()

    await away(work)
    assert synced == [10]


async def test_a_file_that_failed_is_no_node_that_failed(host: Host) -> None:
    node = host.node()

    def work() -> None:
        file = RemoteDisk(node, 0).create(AT)
        (host.folders[0] / "containers" / NAME).unlink()
        with pytest.raises(OSError):
            file.sync()
        assert node.call(Ask(wire.LIST, 0))[0] == Answer()
        file.close()

    await away(work)


class Stuttering:
    """A connection that breaks one call, and then says that all is well."""

    boot = "1"

    def __init__(self) -> None:
        self.broken = False

    def ask(self, ask: Ask, payload: bytes = b"") -> None: ...

    def receive(self) -> tuple[Answer, bytes]:
        if not self.broken:
            self.broken = True
            raise TimeoutError
        return Answer(), b""


async def test_after_a_call_that_did_not_get_through_nothing_is_durable(host: Host) -> None:
    file = RemoteFile(host.node(), 0, NAME, Stuttering())  # type: ignore[arg-type]
    file.writev([b"x"], 0)
    for _ in range(3):
        with pytest.raises(OSError):
            file.sync()
