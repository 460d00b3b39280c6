"""`multipart/form-data`, read as it arrives: fields, and then one file.

The source of the rules is RFC 7578 and RFC 2046, section 5.1, read strictly: a delimiter is
CR LF `--boundary`, and what follows it is CR LF or `--`, nothing else; the first one may lack the
CR LF. What is not so is refused, since two parsers might see two things in it. After the file,
further fields may follow, as they do from many pages; nothing of them is looked at.

All fields together, with their headers, may take FORM_BYTES_MAX. The file is given piece by piece
as it comes; of it, no more is held back than a delimiter is long.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from gateway.errors import S3Error, invalid_argument
from gateway.limits import FORM_BYTES_MAX

_BOUNDARY_CHARS_MAX = 70  # RFC 2046
_BOUNDARY_CHARS = frozenset(
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? "
)
_TRANSFER_ENCODINGS = frozenset(("binary", "8bit", "7bit"))
FILE = "file"

Read = Callable[[], Awaitable[bytes]]
"""Some bytes, none at the end."""


class Part(NamedTuple):
    """The headers of a part; `filename` is None when it gives none."""

    name: str
    filename: str | None


def malformed(why: str) -> S3Error:
    message = f"The body of your POST request is not well-formed multipart/form-data: {why}"
    return S3Error("MalformedPOSTRequest", message)


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names. PreconditionFailed when it is no form's."""
    kind, *parameters = content_type.split(";")
    if kind.strip().lower() != "multipart/form-data":
        condition = "Bucket POST must be of the enclosure-type multipart/form-data"
        raise S3Error("PreconditionFailed", extra={"Condition": condition})
    found: list[str] = []
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name.strip().lower() == "boundary":
            found.append(value.strip())
    if len(found) != 1:
        raise malformed("Content-Type names no boundary, or two.")
    boundary = found[0]
    if len(boundary) > 1 and boundary[0] == boundary[-1] == '"':
        boundary = boundary[1:-1]
    good = 0 < len(boundary) <= _BOUNDARY_CHARS_MAX and _BOUNDARY_CHARS.issuperset(boundary)
    if not good or boundary[-1] == " ":
        raise malformed("the boundary is not valid.")
    return boundary.encode()


class Form:
    """One form. `fields` comes first, then `file` until it gives nothing."""

    def __init__(self, boundary: bytes, read: Read) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._read = read
        self._buffer = bytearray(b"\r\n")  # so that the first delimiter is like the others
        self._taken = -2
        self._filed = False
        self.filename = ""

    @property
    def taken(self) -> int:
        """How many bytes of the body lie before what `file` has yet to give."""
        return self._taken

    @property
    def ending_bytes(self) -> int:
        """How many bytes follow the file at the least: the last delimiter."""
        return len(self._delimiter) + 2

    async def fields(self) -> dict[str, str]:
        """The fields before the file, by lower-case name. The file must follow."""
        found: dict[str, str] = {}
        if not await self._starts_part(await self._until(self._delimiter)):
            raise self._no_file()
        while (part := _part(await self._until(b"\r\n\r\n"))).name != FILE:
            if part.name in found:
                message = "POST requires exactly one value for each field."
                raise invalid_argument(message, part.name, found[part.name])
            try:
                found[part.name] = (await self._until(self._delimiter)).decode()
            except UnicodeDecodeError:
                raise malformed("a field is not UTF-8.") from None
            if not await self._after_delimiter():
                raise self._no_file()
        self.filename = part.filename or ""
        return found

    async def file(self) -> bytes:
        """The next bytes of the file; none at its end."""
        while not self._filed:
            at = self._buffer.find(self._delimiter)
            if at >= 0:
                return await self._end_file(at)
            keep = len(self._delimiter) - 1
            if len(self._buffer) > keep:
                return self._take(len(self._buffer) - keep)
            await self._more()
        return b""

    async def _end_file(self, at: int) -> bytes:
        if at:
            return self._take(at)
        self._take(len(self._delimiter))
        await self._after_delimiter()
        self._filed = True
        return b""

    async def _starts_part(self, preamble: bytes) -> bool:
        if preamble:
            raise malformed("it does not begin with its boundary.")
        return await self._after_delimiter()

    async def _after_delimiter(self) -> bool:
        """Whether another part follows."""
        while len(self._buffer) < 2:
            await self._more()
        mark = self._take(2)
        if mark not in (b"\r\n", b"--"):
            raise malformed("something stands after a boundary.")
        return mark == b"\r\n"

    async def _until(self, mark: bytes) -> bytes:
        """What stands before `mark`, which is taken too."""
        start = 0
        while (at := self._buffer.find(mark, start)) < 0:
            start = max(0, len(self._buffer) - len(mark) + 1)
            if self._taken + len(self._buffer) > FORM_BYTES_MAX:
                raise S3Error("MaxPostPreDataLengthExceededError")
            await self._more()
        found = self._take(at)
        self._take(len(mark))
        if self._taken > FORM_BYTES_MAX:
            raise S3Error("MaxPostPreDataLengthExceededError")
        return found

    async def _more(self) -> None:
        data = await self._read()
        if not data:
            raise malformed("it ends too early.")
        self._buffer += data

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._taken += size
        return taken

    def _no_file(self) -> S3Error:
        message = "POST requires exactly one file upload per request."
        return invalid_argument(message, FILE, "0")


def _part(head: bytes) -> Part:
    try:
        lines = head.decode().split("\r\n")
    except UnicodeDecodeError:
        raise malformed("the headers of a part are not UTF-8.") from None
    found: Part | None = None
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.isascii() or not name.replace("-", "").isalnum():
            raise malformed("a header of a part is not one.")
        lower = name.lower()
        if lower == "content-disposition":
            if found is not None:
                raise malformed("a part has two Content-Disposition headers.")
            found = _disposition(value)
        elif lower == "content-transfer-encoding" and (
            value.strip().lower() not in _TRANSFER_ENCODINGS
        ):
            raise malformed("Content-Transfer-Encoding other than binary cannot be read.")
    if found is None:
        raise malformed("a part has no Content-Disposition header.")
    return found


def _disposition(value: str) -> Part:
    """`form-data; name="..."; filename="..."`, with `\\"` in quotes for a quote."""
    kind, _, rest = value.partition(";")
    if kind.strip().lower() != "form-data":
        raise malformed("a part is not form-data.")
    parameters: dict[str, str] = {}
    while rest := rest.lstrip(" \t"):
        name, mark, rest = rest.partition("=")
        name = name.strip().lower()
        if rest[:1] == '"':
            text, rest = _quoted(rest)
        else:
            text, _, rest = rest.partition(";")
            text = text.strip()
        if not mark or name in parameters:
            raise malformed("a Content-Disposition header cannot be read.")
        parameters[name] = text
    if not parameters.get("name"):
        raise malformed("a part has no name.")
    return Part(parameters["name"].lower(), parameters.get("filename"))


def _quoted(text: str) -> tuple[str, str]:
    """The inside of the quotes that `text` begins with, and what follows the next semicolon."""
    at = 1
    while (at := text.find('"', at)) > 0 and text[at - 1] == "\\":
        at += 1
    if at < 0:
        raise malformed("a quote does not end.")
    after, _, rest = text[at + 1 :].partition(";")
    if after.strip():
        raise malformed("something stands after a quote.")
    return text[1:at].replace('\\"', '"'), rest
