"""A request as the structure that its operation takes.

Members come from the path, the query, headers and the body, as the model says. The body is read
only when the operation has one, whole, with a limit, and verified before it is looked at. What is
wrong gets S3's errors: InvalidArgument for parameters and headers, MalformedXML for documents.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from gateway.body import announced_length, receive
from gateway.checksums import BodyVerifier
from gateway.context import Context
from gateway.errors import S3Error, invalid_argument
from gateway.limits import XML_BYTES_MAX, XML_CREATE_BUCKET_BYTES_MAX
from gateway.model.documents import element_reader
from gateway.model.shapes import OPERATIONS, SHAPES, Operation, Shape
from gateway.model.structs import struct_of
from gateway.model.values import reader_of
from gateway.request import Request
from gateway.xmltext import parse_document

_INLINE_BYTES_MAX = 16 << 10
"""A document of this size is parsed in less time than handing it to a thread takes."""

_BYTES_MAX = {"CreateBucket": XML_CREATE_BUCKET_BYTES_MAX}

_MUST_BE_SUMMED = frozenset(
    (
        "DeleteObjects",
        "PutBucketLifecycleConfiguration",
        "PutObjectLegalHold",
        "PutObjectLockConfiguration",
        "PutObjectRetention",
    )
)
"""Operations that S3 refuses without a checksum of the body. The model demands it of many more, and
S3 does not: older clients send none."""

_BODY_OPTIONAL = frozenset(("CreateBucket", "PutBucketAcl", "PutObjectAcl", "RestoreObject"))
"""Operations that can be asked for by headers alone."""

_EMPTY = {"CompleteMultipartUpload": "MalformedXML", "DeleteObjects": "MalformedXML"}
"""The error of a body that is missing; the others' is MissingRequestBodyError."""

_OF_OBJECT = frozenset(("CompleteMultipartUpload",))
"""Operations whose checksum headers are not of the body."""

_CODES = {
    "StorageClass": "InvalidStorageClass",
    "ServerSideEncryption": "InvalidEncryptionAlgorithmError",
}
"""The error of a header's enum, by shape; the others' is InvalidArgument."""

_SOFT_DATES = frozenset(
    f"{prefix}if-{name}-since"
    for prefix in ("", "x-amz-copy-source-")
    for name in ("modified", "unmodified")
)
"""Conditions that do not count when their date is none (RFC 9110, section 13.1)."""

Fill = Callable[[Request, dict[str, Any]], None]


class InputReader:
    """Reads the input of one operation."""

    def __init__(self, operation: Operation) -> None:
        shape = operation.asked
        self._name = operation.name
        self._make = struct_of(operation.input.shape) if operation.input else dict
        self._fills = [
            fill
            for name, ref in shape.members.items()
            if (fill := _fill(name, ref.shape, ref.location, ref.location_name)) is not None
        ]
        self._required = [
            (name, shape.members[name])
            for name in shape.required
            if shape.members[name].location in ("header", "querystring")
        ]
        self._payload = shape.payload
        self._payload_required = bool(shape.payload) and operation.name not in _BODY_OPTIONAL
        if self._payload:
            ref, self._body_shape = operation.member(self._payload)
            self._shape_name = ref.shape
            self._root = ref.location_name or self._payload

    async def read(self, context: Context, request: Request) -> Any:
        """The structure, with all that is required."""
        members: dict[str, Any] = {}
        for fill in self._fills:
            fill(request, members)
        for name, ref in self._required:
            if name not in members:
                raise _missing(ref.location, ref.location_name)
        if self._payload:
            await self._read_body(context, request, members)
        return self._make(**members)

    async def _read_body(self, context: Context, request: Request, members: dict[str, Any]) -> None:
        body = await self._receive(context, request)
        if not body:
            if self._payload_required:
                raise S3Error(_EMPTY.get(self._name, "MissingRequestBodyError"))
            return
        shape = self._body_shape
        if shape.type == "structure":
            if len(body) <= _INLINE_BYTES_MAX:
                members[self._payload] = self._parse(body)
            else:
                members[self._payload] = await context.offload.run(lambda: self._parse(body))
        elif shape.type == "blob":
            members[self._payload] = body
        else:
            members[self._payload] = _text(body)

    def _parse(self, body: bytes) -> Any:
        return element_reader(self._shape_name)(parse_document(body, self._root))

    async def _receive(self, context: Context, request: Request) -> bytes:
        headers = request.headers
        if "Content-Length" not in headers and request.payload.is_eof():
            if self._payload_required:
                raise S3Error("MissingContentLength")
            return b""
        most = _BYTES_MAX.get(self._name, XML_BYTES_MAX)
        length = announced_length(request, most, "MaxMessageLengthExceeded")
        of_object = self._name in _OF_OBJECT
        verifier = BodyVerifier(headers, request.auth, of_object=of_object)
        summed = verifier.algorithm is not None or "Content-MD5" in headers
        if length and not summed and self._name in _MUST_BE_SUMMED:
            message = "Missing required header for this request: Content-MD5"
            raise S3Error("InvalidRequest", message)
        body, _ = await receive(request, length, verifier, context.offload)
        return body


@cache
def reader(name: str) -> InputReader:
    """The reader of an operation."""
    return InputReader(OPERATIONS[name])


def _missing(location: str, name: str) -> S3Error:
    if location == "header":
        return S3Error("InvalidRequest", f"Missing required header for this request: {name}")
    return invalid_argument(f"This request needs the parameter {name}.", name, "")


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidRequest", "The body is not UTF-8.") from None


# -- what each member is filled from -------------------------------------------------------------


def _fill(member: str, shape_name: str, location: str, place: str) -> Fill | None:
    shape = SHAPES[shape_name]
    if location == "header":
        if shape.type == "list":
            return _from_listing_header(member, shape, place)
        return _from_header(member, shape_name, shape, place)
    if location == "headers":
        return _from_prefix(member, place)
    if location == "querystring":
        return _from_query(member, shape_name, shape, place)
    if location == "uri":
        return _from_bucket(member) if place == "Bucket" else _from_key(member)
    return None


def _from_bucket(member: str) -> Fill:
    def fill(request: Request, members: dict[str, Any]) -> None:
        members[member] = request.target.bucket

    return fill


def _from_key(member: str) -> Fill:
    def fill(request: Request, members: dict[str, Any]) -> None:
        members[member] = request.target.key

    return fill


def _from_query(member: str, shape_name: str, shape: Shape, place: str) -> Fill:
    read = reader_of(shape_name, shape, "iso8601")
    empty_is_absent = shape.type != "string" or bool(shape.enum)

    def fill(request: Request, members: dict[str, Any]) -> None:
        text = request.target.query.get(place)
        if text is None or (empty_is_absent and not text):
            return
        try:
            members[member] = read(text)
        except ValueError:
            raise invalid_argument(_said(shape, place), place, text) from None

    return fill


def _said(shape: Shape, place: str) -> str:
    if place == "encoding-type":
        return "Invalid Encoding Method specified in Request"
    if shape.type == "integer":
        return f"Provided {place} not an integer or within integer range"
    return f"The value of {place} is not valid."


def _from_header(member: str, shape_name: str, shape: Shape, place: str) -> Fill:
    read = reader_of(shape_name, shape, "rfc822")
    soft = place.lower() in _SOFT_DATES

    def fill(request: Request, members: dict[str, Any]) -> None:
        text = request.headers.get(place)
        if text is None:
            return
        try:
            members[member] = read(text)
        except ValueError:
            if soft:
                return
            code = _CODES.get(shape_name)
            if code is not None:
                raise S3Error(code) from None
            raise invalid_argument(f"The value of {place} is not valid.", place, text) from None

    return fill


def _from_listing_header(member: str, shape: Shape, place: str) -> Fill:
    assert shape.member is not None
    read = reader_of(shape.member.shape, SHAPES[shape.member.shape], "rfc822")

    def fill(request: Request, members: dict[str, Any]) -> None:
        if place not in request.headers:
            return
        texts = [text.strip() for line in request.headers.getall(place) for text in line.split(",")]
        try:
            members[member] = [read(text) for text in texts]
        except ValueError:
            raise invalid_argument(
                f"Invalid attribute name specified in {place}.", place, ",".join(texts)
            ) from None

    return fill


def _from_prefix(member: str, prefix: str) -> Fill:
    def fill(request: Request, members: dict[str, Any]) -> None:
        found = {
            name[len(prefix) :].lower(): value
            for name, value in request.headers.items()
            if name.lower().startswith(prefix)
        }
        if found:
            members[member] = found

    return fill
