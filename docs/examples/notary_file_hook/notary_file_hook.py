"""A plug-in for Farshore: appends each entry of the notary's log to a file (docs/notary-hooks.md).

    [notary.hooks.file]
    path = "entries.jsonl"

A line is {"index":4711,"entry":{...}}. A call may repeat what an earlier one told, so the file is
the hook's memory: what is in it is left out. A call returns when its lines are durable, as Farshore
then goes on behind them. A crash can leave half a line: it is cut off before the next one.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

from notary.entries import Entry, encode
from notary.errors import NotaryRefused
from notary.hooks import Hook, Settings

_TAIL_BYTES = 1 << 20
"""More than any line has."""


class FileHook(Hook):
    """The hook."""

    name = "file"
    entries_max = 500

    def __init__(self, path: Path) -> None:
        self._path = path

    async def entries(self, first: int, entries: Sequence[Entry]) -> None:
        # In a thread: a slow disk is not to hold up the event loop of the whole datacenter.
        await asyncio.to_thread(self._append, first, entries)

    def _append(self, first: int, entries: Sequence[Entry]) -> None:
        with self._path.open("a+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - _TAIL_BYTES))
            tail = file.read()
            whole, _, torn = tail.rpartition(b"\n")
            if torn:
                file.truncate(end - len(torn))
            next_index = json.loads(whole.rpartition(b"\n")[2])["index"] + 1 if whole else 0
            for index, entry in enumerate(entries, first):
                if index >= next_index:
                    file.write(b'{"index":%d,"entry":%s}\n' % (index, encode(entry)))
            file.flush()
            os.fsync(file.fileno())


def make(settings: Settings) -> FileHook | None:
    """What the entry point names; None when farshore.toml has no [notary.hooks.file]."""
    if settings.options is None:
        return None
    path = settings.options.get("path")
    if not isinstance(path, str) or not path or set(settings.options) != {"path"}:
        raise NotaryRefused("farshore.toml: [notary.hooks.file] has one option: path = FILE")
    return FileHook(settings.folder.parent / path)
