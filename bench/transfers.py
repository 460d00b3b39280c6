"""A load client for large bodies that costs next to no CPU: PUT by sendfile from the page cache,
GET with MSG_TRUNC, which has the kernel drop what arrives instead of copying it. A thread for each
connection.

    python -m bench.transfers HOST:PORT METHOD TARGETS_FILE CONNECTIONS SECONDS BODY_FILE

Whole transfers only: what runs when the time is over is finished and counted, with the time it
took. PUT takes each target once, GET begins again at the end; a GET must bring as many bytes as
BODY_FILE has. Prints one line of JSON: transfers, bytes, seconds, cpu_seconds, slowest_seconds,
`done` (the targets' numbers, in order), and `bad`: what was wrong first, if anything.
"""

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

WAIT_SECONDS_MAX = 60
RECEIVE_BYTES = 4 * 1024 * 1024
HEAD_BYTES_MAX = 64 * 1024


class TransferError(Exception):
    """The server answered something else than it should."""


class _Connection:
    """One keep-alive connection."""

    def __init__(self, address: str, body: Path) -> None:
        host, _, port = address.rpartition(":")
        self._address = address
        self._size = body.stat().st_size
        self._file = body.open("rb")
        self._socket = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS_MAX)
        self._buffer = bytearray(RECEIVE_BYTES)

    def close(self) -> None:
        self._socket.close()
        self._file.close()

    def put(self, target: str) -> int:
        head = f"PUT {target} HTTP/1.1\r\nHost: {self._address}\r\n"
        self._socket.sendall(f"{head}Content-Length: {self._size}\r\n\r\n".encode())
        sent = self._socket.sendfile(self._file, 0, self._size)
        self._drop(self._answer())
        return sent

    def get(self, target: str) -> int:
        self._socket.sendall(f"GET {target} HTTP/1.1\r\nHost: {self._address}\r\n\r\n".encode())
        length = self._answer()
        if length != self._size:
            raise TransferError(f"{length} bytes announced, not {self._size}")
        self._drop(length)
        return length

    def _answer(self) -> int:
        """Take the head of an answer and nothing after it; the length of its body."""
        while True:
            seen = self._socket.recv(HEAD_BYTES_MAX, socket.MSG_PEEK)
            head, end, _ = seen.partition(b"\r\n\r\n")
            if end:
                break
            if not seen or len(seen) == HEAD_BYTES_MAX:
                raise TransferError(f"no answer but {seen[:200]!r}")
            time.sleep(0.0002)
        self._socket.recv(len(head) + len(end))
        status, *headers = head.decode("latin-1").split("\r\n")
        if status.split()[1] != "200":
            raise TransferError(status)
        lengths = [line for line in headers if line.lower().startswith("content-length:")]
        return int(lengths[0].partition(":")[2]) if lengths else 0

    def _drop(self, length: int) -> None:
        while length:
            count = self._socket.recv_into(
                self._buffer, min(length, RECEIVE_BYTES), socket.MSG_TRUNC
            )
            if not count:
                raise TransferError(f"closed by the server with {length} bytes to come")
            length -= count


class _Run:
    """What the connections share."""

    def __init__(self, method: str, targets: list[str], seconds: float) -> None:
        self._lock = threading.Lock()
        self._method, self._targets = method, targets
        self._at = 0
        self.started = self.ended = time.perf_counter()
        self._deadline = self.started + seconds
        self.bytes = 0
        self.slowest = 0.0
        self.done: list[int] = []
        self.bad = ""

    def _next(self) -> int:
        """The number of the next target, -1 at the end."""
        with self._lock:
            over = self._method == "PUT" and self._at == len(self._targets)
            if over or self.bad or time.perf_counter() >= self._deadline:
                return -1
            self._at += 1
            return (self._at - 1) % len(self._targets)

    def work(self, address: str, body: Path) -> None:
        connection = _Connection(address, body)
        transfer = connection.put if self._method == "PUT" else connection.get
        try:
            while (number := self._next()) >= 0:
                began = time.perf_counter()
                count = transfer(self._targets[number])
                with self._lock:
                    self.ended = time.perf_counter()
                    self.slowest = max(self.slowest, self.ended - began)
                    self.bytes += count
                    self.done.append(number)
        except (OSError, TransferError) as error:
            self.bad = self.bad or f"{type(error).__name__}: {error}"
        finally:
            connection.close()


def main() -> None:
    address, method, listed, connections, seconds, body = sys.argv[1:]
    run = _Run(method, Path(listed).read_text().splitlines(), float(seconds))
    threads = [
        threading.Thread(target=run.work, args=(address, Path(body)))
        for _ in range(int(connections))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    used = os.times()
    result = {
        "transfers": len(run.done),
        "bytes": run.bytes,
        "seconds": run.ended - run.started,
        "slowest_seconds": run.slowest,
        "cpu_seconds": used.user + used.system,
        "done": run.done,
        "bad": run.bad,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
