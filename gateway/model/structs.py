"""Structures of the model as classes: `struct_of("Tag")` has `Key` and `Value`, None where absent.

They are made when they are first asked for, each once. Their fields are typed, so msgspec writes
them to JSON (absent members left out) and reads them back: that is how settings are stored. Enums
are text there: a peer of a later release may know more values.
"""

from datetime import datetime
from functools import cache
from typing import Any

import msgspec

from gateway.model.shapes import SHAPES

_SCALARS: dict[str, type] = {
    "string": str,
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "boolean": bool,
    "timestamp": datetime,
    "blob": bytes,
}


@cache
def struct_of(shape: str) -> Any:
    """The class of a structure."""
    found = SHAPES[shape]
    fields = [(name, _type_of(ref.shape) | None, None) for name, ref in found.members.items()]
    return msgspec.defstruct(shape, fields, kw_only=True, omit_defaults=True)


def _type_of(shape: str) -> Any:
    found = SHAPES[shape]
    if found.eventstream:
        return bytes
    if found.type == "structure":
        return struct_of(shape)
    if found.type == "list":
        assert found.member is not None
        return list[_type_of(found.member.shape)]  # type: ignore[misc]
    if found.type == "map":
        return dict[str, str]
    return _SCALARS[found.type]
