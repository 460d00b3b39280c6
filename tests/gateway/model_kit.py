"""botocore as the oracle of the model: values for its shapes, its requests, its reading of answers;
and a request that needs no connection."""

import asyncio
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import md5
from types import SimpleNamespace
from typing import Any

from botocore import parsers, serialize
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.model.reader import reader
from gateway.reply import Reply
from gateway.sigv4 import AuthKind, AuthResult, PayloadMode
from gateway.target import parse_target

SERVICE = ServiceModel(Loader().load_service_model("s3", "service-2"), "s3")
_serializer = serialize.create_serializer("rest-xml")
_parser = parsers.create_parser("rest-xml")
_AUTH = AuthResult("AK", AuthKind.HEADER, PayloadMode.UNSIGNED)

TEXTS = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc"), exclude_characters="￾￿"),
    min_size=1,
    max_size=8,
)
HEADER_TEXTS = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=8
)
DATES = st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC)).map(
    lambda when: when.replace(microsecond=0)
)
INTEGERS = {"integer": 2**31 - 1, "long": 2**63 - 1}


def values(shape: Shape, location: str = "") -> st.SearchStrategy[Any]:
    """Values of a shape that may stand in a place."""
    kind = shape.type_name
    if kind == "structure":
        return members(shape)
    if kind == "list":
        return st.lists(values(shape.member, location), min_size=1, max_size=2)
    if kind == "map":
        return st.dictionaries(st.sampled_from(["a", "b-c"]), HEADER_TEXTS, min_size=1, max_size=2)
    if kind in INTEGERS:
        return st.integers(shape.metadata.get("min", 0), shape.metadata.get("max", INTEGERS[kind]))
    if kind == "timestamp":
        return DATES
    if kind == "boolean":
        return st.booleans()
    if kind == "blob":
        return st.binary(min_size=1, max_size=8)
    if shape.enum:
        return st.sampled_from(shape.enum)
    return HEADER_TEXTS if location in ("header", "headers") else TEXTS


def members(shape: Shape, skip: tuple[str, ...] = ()) -> st.SearchStrategy[dict[str, Any]]:
    """The members of a structure: all that are required, any of the others."""
    all_of = {
        name: values(one, one.serialization.get("location", ""))
        for name, one in shape.members.items()
        if not name.startswith(skip) or not skip
    }
    required = {name: all_of.pop(name) for name in shape.required_members if name in all_of}
    return st.fixed_dictionaries(required, optional=all_of)


class FakeRequest:
    """What a reader of input looks at."""

    def __init__(self, method: str, url: str, headers: dict[str, str], body: bytes) -> None:
        path, _, query = url.partition("?")
        self.method = method
        self.target = parse_target(path, query, "", ())
        self.headers = CIMultiDict(headers)
        if body or method in ("PUT", "POST"):
            self.headers["Content-Length"] = str(len(body))
        self.auth = _AUTH
        self.payload = SimpleNamespace(is_eof=lambda: not body)
        self.body = body
        self._unread = [body] if body else []

    async def read(self) -> bytes:
        return self._unread.pop() if self._unread else b""


class _Inline:
    async def run(self, work: Any) -> Any:
        return work()


def read_input(name: str, request: Any) -> Any:
    """What the reader of an operation makes of a request."""
    context: Any = SimpleNamespace(offload=_Inline())
    return asyncio.run(reader(name).read(context, request))


def request_of(operation: OperationModel, given: dict[str, Any]) -> FakeRequest:
    """The request that botocore makes; with a Content-MD5, which it adds later."""
    from botocore.awsrequest import prepare_request_dict
    from botocore.compat import urlsplit

    made = _serializer.serialize_to_request(given, operation)
    prepare_request_dict(made, "http://localhost")
    parts = urlsplit(made["url"])
    body = made["body"]
    if not isinstance(body, bytes):
        body = body.encode() if isinstance(body, str) else body.read()
    headers = {name: str(value) for name, value in made["headers"].items()}
    if body:
        headers["Content-MD5"] = b64encode(md5(body).digest()).decode()
    return FakeRequest(made["method"], f"{parts.path}?{parts.query}", headers, body)


def parsed(operation: OperationModel, reply: Reply) -> Any:
    """What botocore reads of an answer."""
    lines = (line.partition(": ") for line in reply.head.split("\r\n") if line)
    headers = CIMultiDict((name, value) for name, _, value in lines)
    answer = {"status_code": reply.status, "headers": headers, "body": reply.body}
    found = _parser.parse(answer, operation.output_shape)
    found.pop("ResponseMetadata")
    return found


def plain(value: Any) -> Any:
    """A structure as the dict that botocore would have."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if hasattr(value, "__struct_fields__"):
        names = value.__struct_fields__
        return {
            name: plain(getattr(value, name)) for name in names if getattr(value, name) is not None
        }
    return value
