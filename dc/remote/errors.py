"""Errors on their way from a datacenter to its gateways on other machines."""

from collections.abc import Mapping

from dc import read_through
from dc.names import errors as names_errors
from dc.names.errors import BucketExists, NamesClosed, NamesError
from dc.objects import api as objects_api
from dc.objects.api import ObjectsError
from dc.remote.wire import Failed, decode_bucket, encode

_TEXT_CHARACTERS_MAX = 1000


class Unreachable(NamesClosed, ObjectsError):
    """The datacenter cannot be reached, or was lost while it was asked: then what was asked for may
    have been done or not."""

    def __init__(self, text: str = "the datacenter cannot be reached") -> None:
        super().__init__(text)


class Busy(NamesClosed, ObjectsError):
    """The datacenter has so much to do for this gateway that it does not begin this."""


class RemoteError(Exception):
    """Something went wrong in the datacenter that is no refusal; its log tells what."""


_KNOWN: Mapping[str, type[Exception]] = {
    name: kind
    for module in (names_errors, objects_api, read_through)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, NamesError | ObjectsError)
} | {Busy.__name__: Busy}


def failed(id: int, error: Exception) -> Failed | None:
    """What is said of an error; None of one that has no name."""
    name = type(error).__name__
    if _KNOWN.get(name) is not type(error):
        return None
    return Failed(id, name, str(error)[:_TEXT_CHARACTERS_MAX])


def unknown(id: int, error: Exception) -> Failed:
    """What is said of one that has none."""
    return Failed(id, "", type(error).__name__)


def about(error: Exception) -> bytes:
    """What goes with it."""
    return encode(error.bucket) if isinstance(error, BucketExists) else b""


def raised(told: Failed, payload: bytes) -> Exception:
    """The error that was told of."""
    if payload:
        return BucketExists(decode_bucket(payload))
    return named(told.error, told.text)


def named(name: str, text: str) -> Exception:
    kind = _KNOWN.get(name, RemoteError)
    return RemoteError(text) if kind is BucketExists else kind(text)
