"""One datacenter of the lab, or a node: a child process that runs `farshore serve`, kept alive.

The child has a session of its own, so that Ctrl-C reaches the lab only, which then ends its
children in order. Should the lab itself be killed, the kernel sends its children SIGTERM
(prctl PR_SET_PDEATHSIG). What a child writes goes to a log file beside its folder.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import cached_property
from pathlib import Path

from admin.client import AdminClient
from admin.errors import AdminError
from admin.layout import Layout, read_run
from dc.ports import Clock

READY_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05
STOP_SECONDS_MAX = 9.0
RESTART_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1


class Child:
    """`farshore serve` of one folder."""

    def __init__(self, name: str, root: Path, clock: Clock) -> None:
        self.name = name
        self.layout = Layout(root)
        self._clock = clock
        self._log = root.with_name(f"{root.name}.log")
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._may_run = asyncio.Event()
        self._may_run.set()

    @cached_property
    def client(self) -> AdminClient:
        """Of a datacenter."""
        return AdminClient(self.layout.root)

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    def address(self, what: str) -> str:
        """The bound host:port of s3 or admin."""
        at = read_run(self.layout)[what]
        return f"{at['host']}:{at['port']}"

    async def start(self) -> None:
        """Start it and wait until it serves; AdminError with its last words when it ends."""
        command = [sys.executable, "-P", "-m", "admin.serve", str(self.layout.root)]
        libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        parent = os.getpid()

        def tie_to_parent() -> None:
            if libc is not None:
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=tie_to_parent,
            )
        deadline = self._clock.monotonic() + READY_SECONDS_MAX
        while read_run(self.layout).get("pid") != self._process.pid:
            if self._process.returncode is not None:
                raise AdminError(f"{self.name} did not start: {self._last_words()}")
            if self._clock.monotonic() > deadline:
                raise AdminError(f"{self.name} was not ready within {READY_SECONDS_MAX:.0f} s")
            await self._clock.sleep(POLL_SECONDS)

    async def keep(self, say: Callable[[str], None], again: Callable[[], Awaitable[None]]) -> None:
        """Start it again whenever it ends, until `stop`; `again` is awaited when it serves."""
        while not self._stopping:
            assert self._process is not None
            code = await self._process.wait()
            if self._stopping:
                return
            if not self._may_run.is_set():
                await self._may_run.wait()
            else:
                say(f"{self.name} (pid {self.pid}) {_how(code)}; starting it again")
                await self._clock.sleep(RESTART_SECONDS)
            try:
                await self.start()
            except AdminError as error:
                say(str(error))
            else:
                say(f"{self.name} serves again (pid {self.pid})")
                await again()

    async def kill(self) -> None:
        """Kill it (SIGKILL), and leave it so until `revive`."""
        self._may_run.clear()
        self._signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    def revive(self) -> None:
        self._may_run.set()

    def end(self) -> None:
        """Ask it to stop."""
        self._stopping = True
        self._signal(signal.SIGTERM)

    async def ended(self) -> None:
        """Wait until it has stopped; it is killed when that takes too long."""
        if self._process is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await self._process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:
                pass

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return said.removeprefix("farshore: ")


def _how(code: int) -> str:
    return f"ended with code {code}" if code >= 0 else f"was ended by signal {-code}"
