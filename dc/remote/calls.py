"""The calls of `GatewayNames`, `Others` and `Proofs`, as they go over a connection: made from their
signatures, at start.

Arguments are a msgpack array in the order of the signature, a result is msgpack of its type. What
an interface says in a way that msgpack cannot is in `_OTHERWISE`.
"""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec

from dc.names.errors import NamesError
from dc.names.gateway_api import GatewayNames
from dc.names.model import Condition, Event, Kind, Removal, Tombstone, Version
from dc.notary import Proofs
from dc.objects.nodes.wire import GATEWAYS
from dc.read_through import Others
from dc.remote import wire
from dc.remote.errors import named


class WireRemoval(msgspec.Struct, frozen=True, array_like=True):
    """A `Removal`: the change is one of the first two."""

    marker: Version | None
    tombstone: Tombstone | None
    only_if: Condition | None
    bypass: bool
    events: Sequence[Event]
    lockable: bool


class WireOutcome(msgspec.Struct, frozen=True, array_like=True):
    """What became of a removal: a kind, or the name of an error, or neither."""

    kind: Kind | None = None
    error: str = ""
    text: str = ""


_OTHERWISE: dict[str, dict[str, Any]] = {
    "remove": {"removals": list[WireRemoval], "return": list[WireOutcome]},
    # With what `x-amz-replication-status` says of it.
    "current": {"return": tuple[Version | None, str]},
    "version": {"return": tuple[Version | None, str]},
}


class Method(NamedTuple):
    """How a call is said and understood. `arguments` is a struct of them; the first `places` of
    them stand without their names."""

    arguments: Callable[..., Any]
    places: int
    read_arguments: Callable[[bytes], Any]
    read_result: Callable[[bytes], Any]
    types: tuple[Any, Any]
    """Of the arguments and of the result."""


def _method(name: str, function: Any) -> Method:
    types = get_type_hints(function, include_extras=True) | _OTHERWISE.get(name, {})
    parameters = list(inspect.signature(function).parameters.values())[1:]
    fields: list[Any] = []
    for one in parameters:
        field = (one.name, types[one.name])
        empty = one.default is inspect.Parameter.empty
        fields.append(field if empty else (*field, one.default))
    arguments = msgspec.defstruct(f"{name}_arguments", fields, array_like=True, frozen=True)
    return Method(
        arguments,
        sum(one.kind is not inspect.Parameter.KEYWORD_ONLY for one in parameters),
        msgspec.msgpack.Decoder(arguments).decode,
        msgspec.msgpack.Decoder(types["return"]).decode,
        (arguments, types["return"]),
    )


OF_NAMES, OF_OTHERS, OF_PROOFS = (
    {
        name: _method(name, function)
        for name, function in vars(interface).items()
        if inspect.iscoroutinefunction(function) and name != "open"
    }
    for interface in (GatewayNames, Others, Proofs)
)
METHODS = OF_NAMES | OF_OTHERS | OF_PROOFS
"""By name. What is opened streams, and is no call."""
FRAMES = (*get_args(wire.Asked), *get_args(wire.Told), wire.Records)


def _version() -> str:
    """A digest of all shapes that go over a connection: arrays do not tell when one has changed."""
    shapes = [kind for method in METHODS.values() for kind in method.types]
    schema = msgspec.json.schema_components([*shapes, *FRAMES], ref_template="{name}")
    return hashlib.sha256(msgspec.json.encode(schema, order="sorted")).hexdigest()[:16]


PROTOCOL = f"{GATEWAYS}-{_version()}"
"""How a node is asked to be a gateway: by who understands the very same."""
encode = msgspec.msgpack.Encoder().encode


def call_of(method: Method, payload: bytes) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call: those without their names, and those with. MsgspecError."""
    read = method.read_arguments(payload)
    values = list(msgspec.structs.astuple(read))
    names = type(read).__struct_fields__
    return values[: method.places], dict(
        zip(names[method.places :], values[method.places :], strict=True)
    )


# -- removals -----------------------------------------------------------------------------------


def say_removals(removals: Sequence[Removal]) -> list[WireRemoval]:
    return [
        WireRemoval(
            one.change if isinstance(one.change, Version) else None,
            one.change if isinstance(one.change, Tombstone) else None,
            one.only_if,
            one.bypass,
            one.events,
            one.lockable,
        )
        for one in removals
    ]


def hear_removals(said: Sequence[WireRemoval]) -> list[Removal]:
    """ValueError for one that removes nothing."""
    found = []
    for one in said:
        change = one.marker or one.tombstone
        if change is None:
            raise ValueError("a removal without a change")
        found.append(
            Removal(
                change=change,
                only_if=one.only_if,
                bypass=one.bypass,
                events=one.events,
                lockable=one.lockable,
            )
        )
    return found


def say_outcomes(outcomes: Sequence[Kind | NamesError | None]) -> list[WireOutcome]:
    return [
        WireOutcome(None, type(one).__name__, str(one))
        if isinstance(one, NamesError)
        else WireOutcome(one)
        for one in outcomes
    ]


def hear_outcomes(said: Sequence[WireOutcome]) -> list[Kind | NamesError | None]:
    found: list[Kind | NamesError | None] = []
    for one in said:
        error = named(one.error, one.text) if one.error else None
        found.append(error if isinstance(error, NamesError) else one.kind)
    return found
