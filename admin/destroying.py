"""The end of a datacenter whose last node was released: its process ends, its files are deleted."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

from admin.errors import AdminError, os_reason
from admin.layout import Layout, running_pid
from dc.ports import Clock

END_SECONDS_MAX = 15.0


async def destroy(root: Path, clock: Clock) -> None:
    """End who serves the datacenter, and delete it. AdminError when it does not end."""
    layout = Layout(root)
    pid = running_pid(layout)
    if pid > 0:
        os.kill(pid, signal.SIGTERM)
    deadline = clock.monotonic() + END_SECONDS_MAX
    while running_pid(layout):
        if clock.monotonic() > deadline:
            raise AdminError(
                f"the datacenter in {root} (pid {pid}) does not end: end it, then delete the folder"
            )
        await clock.sleep(0.05)
    try:
        await asyncio.to_thread(_delete, layout)
    except OSError as error:
        raise AdminError(os_reason(error, root)) from None


def _delete(layout: Layout) -> None:
    """First what makes it a datacenter: so nobody takes what is left for one."""
    for path in (layout.config, *(one for one in layout.all if one != layout.config)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if not any(layout.root.iterdir()):
        layout.root.rmdir()
