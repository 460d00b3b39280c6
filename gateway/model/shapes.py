"""Amazon's model of S3, as botocore ships it: operations and the shapes of what they take and give.

The file is read once, when this module is imported, and botocore itself is not: importing it would
take more memory than all of the gateway. Documentation, which is most of the file, is skipped by
the decoder and never becomes an object.

Operations that this table leaves out are other operations' deprecated forms, or belong to other
endpoints of Amazon's (directory buckets, Object Lambda).
"""

import gzip
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec

_FILE = "data/s3/2006-03-01/service-2.json"
_ELSEWHERE = frozenset(("ListDirectoryBuckets", "WriteGetObjectResponse"))


class Ref(msgspec.Struct, frozen=True, rename="camel"):
    """The use of a shape: by a member of a structure, as the items of a list, by an operation."""

    shape: str
    location: str = ""
    """header, headers, querystring, uri, statusCode; "" for the body."""
    location_name: str = ""
    flattened: bool = False
    xml_attribute: bool = False


class Shape(msgspec.Struct, frozen=True, rename="camel"):
    """A type. `members` are those of a structure, `member` is of a list's items."""

    type: str
    members: dict[str, Ref] = {}
    required: list[str] = []
    member: Ref | None = None
    payload: str = ""
    enum: list[str] = []
    flattened: bool = False
    timestamp_format: str = ""
    eventstream: bool = False


class Http(msgspec.Struct, frozen=True, rename="camel"):
    """How an operation is asked for."""

    method: str
    request_uri: str
    response_code: int = 200


class Operation(msgspec.Struct, frozen=True):
    """An operation of S3."""

    name: str
    http: Http
    input: Ref | None = None
    output: Ref | None = None
    deprecated: bool = False

    @property
    def asked(self) -> Shape:
        """The structure of its input."""
        return _NOTHING if self.input is None else SHAPES[self.input.shape]

    @property
    def answered(self) -> Shape:
        """The structure of its output."""
        return _NOTHING if self.output is None else SHAPES[self.output.shape]

    def member(self, name: str) -> tuple[Ref, Shape]:
        """A member of its input, and that member's shape."""
        ref = self.asked.members[name]
        return ref, SHAPES[ref.shape]


class _Model(msgspec.Struct, frozen=True):
    operations: dict[str, Operation]
    shapes: dict[str, Shape]


_NOTHING = Shape("structure")


def _load() -> _Model:
    spec = find_spec("botocore")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("botocore, which holds the model of S3, is not installed")
    path = Path(spec.submodule_search_locations[0]) / _FILE
    packed = path.with_name(f"{path.name}.gz")
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    return msgspec.json.decode(data, type=_Model)


_model = _load()
SHAPES: Mapping[str, Shape] = _model.shapes
OPERATIONS: Mapping[str, Operation] = {
    name: operation
    for name, operation in _model.operations.items()
    if not operation.deprecated and name not in _ELSEWHERE
}
