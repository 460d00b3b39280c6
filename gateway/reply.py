"""Answers: a status, header lines, a small body; and how they become bytes.

The hot operations answer with three short strings, and status line, headers and body leave in one
write. Going through a response object with a dictionary of headers costs several times as much.

`head` is header lines, each ended by CR LF. What stands in them that a client once sent (metadata)
was checked when it came in (`gateway.metadata`), and is checked again by `header_line`.
"""

from http import HTTPStatus

SERVER = "Farshore"
XML_HEAD = "Content-Type: application/xml\r\n"
XML_PROLOGUE = '<?xml version="1.0" encoding="UTF-8"?>\n'
XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\nServer: {SERVER}\r\n"
    for status in HTTPStatus
}
_BODILESS = frozenset({204, 304})


class Reply:
    """A whole answer. `length` is the Content-Length of an answer to HEAD, else the body's is."""

    __slots__ = ("body", "head", "length", "status")

    def __init__(
        self, status: int = 200, head: str = "", body: bytes = b"", length: int | None = None
    ) -> None:
        self.status = status
        self.head = head
        self.body = body
        self.length = length


def xml_reply(document: str, status: int = 200, head: str = "") -> Reply:
    """An answer with an XML document, given without the prologue."""
    body = (XML_PROLOGUE + document).encode("utf-8", "replace")
    return Reply(status, XML_HEAD + head, body)


def serialise(common: str, reply: Reply, close: bool, http10: bool) -> bytes:
    """The bytes before the body; `common` is the header lines that every answer has."""
    if reply.status in _BODILESS:
        length = ""
    else:
        size = len(reply.body) if reply.length is None else reply.length
        length = f"Content-Length: {size}\r\n"
    connection = "Connection: close\r\n" if close else ""
    if http10 and not close:
        connection = "Connection: keep-alive\r\n"
    text = f"{STATUS_LINES[reply.status]}{common}{reply.head}{length}{connection}\r\n"
    return text.encode("utf-8", "replace")


def header_line(name: str, value: str) -> str:
    """One header line; empty when the value cannot stand in one."""
    if "\r" in value or "\n" in value or "\0" in value:
        return ""
    return f"{name}: {value}\r\n"
