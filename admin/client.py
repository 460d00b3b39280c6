"""The command line's side of the admin API (`admin/api.py`): one request to the process that
serves DIR, over HTTP with the token in DIR/admin.token.

The address comes from DIR/run.json, which that process wrote, and is used only while a process
holds DIR's lock: the token is never sent to a program that took the port afterwards. Only the
standard library is used, so that a command starts quickly. Redirects and proxies are not followed.
"""

import http.client
import json
import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from admin.errors import AdminError, os_reason
from admin.layout import Layout, existing, read_run, running_pid
from tokens.errors import PrivateFileError
from tokens.private_file import check_private_mode

TIMEOUT_SECONDS = 60.0
TRANSFER_SECONDS = 600.0
"""How long a file may stand still: another one of the same datacenter may be before it."""
PIECE_BYTES = 1 << 20
ANSWER_BYTES_MAX = 64 * 1024 * 1024


class AdminClient:
    """Asks the datacenter in one DIR."""

    def __init__(self, root: Path) -> None:
        self._layout = existing(root)

    def get(self, *path: str, query: Mapping[str, str] | None = None) -> Any:
        return self.request("GET", path, query=query)

    def post(self, *path: str, body: Any = None, timeout_seconds: float = TIMEOUT_SECONDS) -> Any:
        return self.request("POST", path, body, timeout_seconds)

    def put(self, *path: str, body: Any = None) -> Any:
        return self.request("PUT", path, body)

    def delete(self, *path: str) -> Any:
        return self.request("DELETE", path)

    def request(
        self,
        method: str,
        path: tuple[str, ...],
        body: Any = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """The decoded answer; AdminError with the server's words when it refuses."""
        with self._asking(method, path, body, timeout_seconds, query) as response:
            return _decoded(response.status, response.read(ANSWER_BYTES_MAX))

    def lines(self, *path: str, body: Any = None) -> Iterator[Any]:
        """The answer to a POST that comes in lines of JSON, as they come; AdminError when it is
        refused, or fails."""
        with self._asking("POST", path, body, TIMEOUT_SECONDS, None) as response:
            if response.status >= 300:
                _decoded(response.status, response.read(ANSWER_BYTES_MAX))
            while line := response.readline(ANSWER_BYTES_MAX):
                told = _decoded(response.status, line)
                if "error" in told:
                    raise AdminError(str(told["message"]))
                yield told

    def download(self, *path: str, body: Any = None) -> Iterator[bytes]:
        """The answer to a POST, as it comes; AdminError when it is refused, or ends early."""
        with self._asking("POST", path, body, TRANSFER_SECONDS, None) as response:
            if response.status >= 300:
                _decoded(response.status, response.read(ANSWER_BYTES_MAX))
            while piece := response.read(PIECE_BYTES):
                yield piece

    def upload(self, *path: str, pieces: Iterator[bytes]) -> Any:
        """The decoded answer to a POST of all pieces; it may come before they are sent."""
        with self._asking("POST", path, pieces, TRANSFER_SECONDS, None) as response:
            return _decoded(response.status, response.read(ANSWER_BYTES_MAX))

    @contextmanager
    def _asking(
        self,
        method: str,
        path: tuple[str, ...],
        body: Any,
        timeout_seconds: float,
        query: Mapping[str, str] | None,
    ) -> Iterator[http.client.HTTPResponse]:
        """The response to a request, while it is read. `body` becomes JSON, pieces stay bytes."""
        host, port = _address(self._layout)
        token = _token(self._layout)
        headers = {"Authorization": f"Bearer {token}"}
        data = None
        if isinstance(body, Iterator):
            headers["Transfer-Encoding"] = "chunked"
        elif body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        target = "/" + "/".join(quote(part, safe="") for part in path)
        if query:
            target += f"?{urlencode(query)}"
        connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
        try:
            if isinstance(body, Iterator):
                _send_pieces(connection, target, headers, body)
            else:
                connection.request(method, target, data, headers)
            yield connection.getresponse()
        except ConnectionRefusedError:
            raise not_running(self._layout) from None
        except TimeoutError:
            raise AdminError(
                f"the datacenter in {self._layout.root} did not answer within"
                f" {timeout_seconds:.0f} s"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise AdminError(
                f"the datacenter in {self._layout.root} ended the connection: {error}"
            ) from None
        finally:
            connection.close()


def _send_pieces(
    connection: http.client.HTTPConnection,
    target: str,
    headers: Mapping[str, str],
    pieces: Iterator[bytes],
) -> None:
    """Send a body until it ends, or until the answer comes: then something is wrong with it."""
    connection.putrequest("POST", target)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    try:
        for piece in pieces:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            if select.select([connection.sock], [], [], 0)[0]:
                return
        connection.send(b"0\r\n\r\n")
    except ConnectionError:
        # The answer may be there all the same.
        pass


def not_running(layout: Layout) -> AdminError:
    return AdminError(
        f"the datacenter in {layout.root} is not running: start it with"
        f" `farshore serve {layout.root}`"
    )


def _address(layout: Layout) -> tuple[str, int]:
    pid = running_pid(layout)
    run = read_run(layout)
    if pid == 0:
        raise not_running(layout)
    try:
        if pid not in (run["pid"], -1):
            raise KeyError("pid")
        host, port = run["admin"]["host"], int(run["admin"]["port"])
    except (KeyError, TypeError, ValueError):
        raise AdminError(
            f"the datacenter in {layout.root} (pid {pid}) is still starting: try again in a moment"
        ) from None
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


def _token(layout: Layout) -> str:
    try:
        check_private_mode(layout.admin_token)
        return layout.admin_token.read_text().strip()
    except PrivateFileError as error:
        raise AdminError(str(error)) from None
    except OSError as error:
        raise AdminError(os_reason(error)) from None


def _decoded(status: int, answer: bytes) -> Any:
    try:
        decoded = json.loads(answer) if answer else None
    except ValueError:
        raise AdminError(f"the datacenter did not answer in JSON (HTTP {status})") from None
    if status < 300:
        return decoded
    message = decoded.get("message") if isinstance(decoded, dict) else None
    raise AdminError(str(message or f"the datacenter refused (HTTP {status})"))
