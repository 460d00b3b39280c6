"""The process behind `farshore serve`: an event loop around a `Node`, ended by a signal.

SIGTERM and Ctrl-C stop it in order. When that is not over after 9.5 seconds, for instance because
the disk hangs, the process ends all the same; so it does at a second Ctrl-C.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from admin.errors import AdminError, exit_code

NODE_FILE = "node.json"
"""With it a folder is a node's (`admin/os_node.py`)."""
STOP_SECONDS_MAX = 9.5
GC_THRESHOLDS = (50_000, 20, 20)
"""Requests make few cycles: the default of 700 objects looks for them far too often."""


class Served(Protocol):
    """A datacenter or a node."""

    async def start(self) -> None:
        """AdminError."""
        ...

    async def stop(self) -> None: ...


DC_ROLES = ("gateway", "os", "ns", "replicator")
"""What the process of a datacenter does; all but the first go together."""


def run(root: Path, roles: Sequence[str] = ()) -> None:
    """Serve until a signal, with these roles or with all there are; AdminError when it cannot
    start."""
    from admin import logs
    from admin.layout import existing
    from dc import config as configuration

    if (root / NODE_FILE).is_file():
        logs.configure(configuration.Log())
        _serve(lambda: _node(root, roles))
        return
    if not root.exists():
        raise AdminError(
            f"{root} does not exist: make it with `farshore init {root} --name X`, or for a node"
            f" with `farshore node join TOKEN {root} --name X`"
        )
    layout = existing(root)
    try:
        config = configuration.load(layout.config)
    except configuration.ConfigError as error:
        raise AdminError(str(error)) from None
    logs.configure(config.log)

    is_gateway = _is_gateway(roles)

    def datacenter() -> Served:
        from admin.node import Node
        from dc.system import SystemClock, SystemDisk, SystemNetwork, SystemRandomness

        return Node(
            layout,
            SystemClock(),
            SystemDisk(),
            SystemRandomness(),
            SystemNetwork(),
            is_gateway=is_gateway,
        )

    _serve(datacenter)


def _is_gateway(roles: Sequence[str]) -> bool:
    """Whether a datacenter serves S3 clients. AdminError for what it cannot be."""
    wanted = set(roles or DC_ROLES)
    if strange := sorted(wanted - set(DC_ROLES)):
        raise AdminError(f"there is no role {strange[0][:40]!r}: there are {', '.join(DC_ROLES)}")
    if missing := [role for role in DC_ROLES[1:] if role not in wanted]:
        raise AdminError(
            f"the datacenter's own process is ns, os and replicator at once: {missing[0]} is"
            " missing. Gateways and disks can be on other machines (`farshore node add`)"
        )
    return "gateway" in wanted


def _node(root: Path, roles: Sequence[str]) -> Served:
    from admin.os_node import OsNode
    from dc.system import SystemClock, SystemDisk, SystemRandomness

    return OsNode(root, SystemClock(), SystemDisk(), SystemRandomness(), roles)


def _serve(make: Callable[[], Served]) -> None:
    """Serve what `make` gives until a signal."""
    import uvloop

    from dc.memory import keep_freed

    keep_freed()

    async def serve() -> None:
        node = make()
        ended = _Ended()
        await node.start()
        _tune_memory()
        await ended.wait()
        await node.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        with contextlib.suppress(asyncio.CancelledError):
            runner.run(serve())


def _tune_memory() -> None:
    """What is there now stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class _Ended:
    """Waits for a signal. Until somebody waits, that is during the start, one cancels the task."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._starting = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)

    async def wait(self) -> None:
        self._starting = None
        await self._event.wait()

    def _signalled(self, number: signal.Signals) -> None:
        if self._event.is_set():
            if number == signal.SIGINT:
                os._exit(1)
            return
        self._event.set()
        last_resort = threading.Timer(STOP_SECONDS_MAX, os._exit, (1,))
        last_resort.daemon = True
        last_resort.start()
        if self._starting is not None:
            self._starting.cancel()


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(Path(sys.argv[1]), sys.argv[2:])))
