"""Structures of the model as classes: `struct_of("Tag")` has `Key` and `Value`, None where absent.

They are made when they are first asked for, each once. Their fields are typed, so msgspec writes
them to JSON (absent members left out) and `read_json` reads them back: that is how settings are
stored. Enums are text there: a peer of a later release may know more values.
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


def read_json(shape: str, text: str) -> Any:
    """A structure that was stored; None when it cannot be understood, or lacks what the model
    requires. Another datacenter may have written it."""
    try:
        found = msgspec.json.decode(text, type=struct_of(shape))
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if _is_whole(shape, found) else None


def _is_whole(shape: str, value: Any) -> bool:
    """Whether all is there that the model requires, in what is inside too."""
    found = SHAPES[shape]
    if value is None or found.type not in ("structure", "list"):
        return value is not None
    if found.type == "list":
        assert found.member is not None
        return all(_is_whole(found.member.shape, one) for one in value)
    return all(
        name not in found.required if inside is None else _is_whole(ref.shape, inside)
        for name, ref in found.members.items()
        for inside in (getattr(value, name),)
    )
