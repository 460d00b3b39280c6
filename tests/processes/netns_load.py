"""What tests with networks do meanwhile: writes at one datacenter that are looked for at another,
and what the status says all the time."""

import hashlib
import http.client
import queue
import threading
import time
from random import Random
from typing import NamedTuple

from netns_kit import NetDc
from process_kit import eventually

LOOK_S = 0.02
WORDS_S = 0.2


class Load:
    """Small objects written at a datacenter, one after the other with a pause, and looked for at
    another one in the same order; `size` is from and to. Begins at once; in a `with`, it ends
    with it."""

    def __init__(
        self,
        at: NetDc,
        seen_at: NetDc,
        label: str,
        *,
        pause_s: float = 0.2,
        size: tuple[int, int] = (0, 2000),
    ) -> None:
        self.acknowledged: dict[str, str] = {}
        """Keys, and the SHA-256 of what was written."""
        self.given_bytes = 0
        self.lags: list[float] = []
        """Of each that was seen: seconds since it was acknowledged."""
        self.slowest_s = 0.0
        """Of the writes."""
        self._at, self._seen_at = at, seen_at
        self._label, self._pause_s, self._size = label, pause_s, size
        self._written: queue.Queue[tuple[str, float] | None] = queue.Queue()
        self._stop, self._hurry = threading.Event(), threading.Event()
        self._writer = at.space.begin(self._write)
        self._watcher = seen_at.space.begin(self._watch)

    def _write(self) -> None:
        chance = Random(self._label)
        try:
            while not self._stop.is_set():
                key = f"{self._label}/{len(self.acknowledged)}"
                body = chance.randbytes(chance.randint(*self._size))
                began = time.monotonic()
                self._at.s3().must("PUT", self._at.bucket, key, body=body)
                now = time.monotonic()
                self.slowest_s = max(self.slowest_s, now - began)
                self.acknowledged[key] = _digest(body)
                self.given_bytes += len(body)
                self._written.put((key, now))
                self._stop.wait(self._pause_s)
        finally:
            self._written.put(None)

    def _watch(self) -> None:
        while (one := self._written.get()) is not None:
            key, written = one
            while not self._is_there(key):
                if self._hurry.wait(LOOK_S):
                    return
            self.lags.append(time.monotonic() - written)

    def _is_there(self, key: str) -> bool:
        """A datacenter that stands still, or does not run, has nothing."""
        s3 = self._seen_at.s3()
        try:
            return s3.call("HEAD", self._seen_at.bucket, key)[0] == 200
        except (OSError, http.client.HTTPException):
            s3.close()
            return False

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._hurry.set()

    def end(self) -> None:
        """Write no more."""
        self._stop.set()
        self._writer.result(60)
        assert self.acknowledged, "the test tried too little"

    def arrive(self, seconds: float) -> None:
        """Wait until all of it was seen, and is as it was written."""
        self.end()
        what = f"all of {self._label} at {self._seen_at.name}"
        eventually(what, self._watcher.done, seconds)
        self._watcher.result()
        for key, digest in self.acknowledged.items():
            assert _digest(self._seen_at.get(key) or b"") == digest, key


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class Said(NamedTuple):
    """What a datacenter said of a peer, and how long after the beginning."""

    seconds: float
    state: str
    lag_seconds: float | None

    @property
    def is_fine(self) -> bool:
        """Whether it claims that nothing is outstanding."""
        return self.state == "IDENTICAL" or (self.state == "STREAMING" and self.lag_seconds == 0)


class Words:
    """What a datacenter says of a peer, noted all the time; in a `with`, it ends with it."""

    def __init__(self, at: NetDc, of: NetDc) -> None:
        self.said: list[Said] = []
        self._at, self._of = at, of
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._noting = at.space.begin(self._note)

    def _note(self) -> None:
        while not self._stop.wait(WORDS_S):
            peer = self._at.peer(self._of.name)
            now = time.monotonic() - self._began
            self.said.append(Said(now, peer["state"], peer["lag_seconds"]))

    def __enter__(self) -> "Words":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def __str__(self) -> str:
        return f"{self._at.name} of {self._of.name}"

    def until(self, state: str, seconds: float) -> float:
        """Wait for a state; how long after the beginning it was said first."""
        what = f"{self._at.name} says {state} of {self._of.name}"
        eventually(what, lambda: any(one.state == state for one in self.said), seconds)
        return next(one.seconds for one in self.said if one.state == state)

    def check_honest(self, after: float) -> None:
        """Nothing fine was said from so many seconds on; waits until some more was said."""
        what = f"{self} was looked at for {after:g} seconds"
        eventually(what, lambda: len([one for one in self.said if one.seconds > after]) > 5, after)
        self._stop.set()
        self._noting.result(10)
        fine = [one for one in self.said if one.seconds > after and one.is_fine]
        assert not fine, f"{self}: {fine[:3]}"
