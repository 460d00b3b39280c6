"""Errors on their way from a datacenter to its gateways on other machines."""

from dc.names import errors as names_errors
from dc.names.errors import BucketExists, NamesClosed, NamesError
from dc.objects import api as objects_api
from dc.objects.api import ObjectsError
from dc.remote.wire import Failed

_TEXT_CHARACTERS_MAX = 1000


class Unreachable(NamesClosed, ObjectsError):
    """The datacenter cannot be reached, or was lost while it was asked: then what was asked for may
    have been done or not."""

    def __init__(self, text: str = "the datacenter cannot be reached") -> None:
        super().__init__(text)


class RemoteError(Exception):
    """Something went wrong in the datacenter that is no refusal; its log tells what."""


_KNOWN: dict[str, type[Exception]] = {
    name: kind
    for module, base in ((names_errors, NamesError), (objects_api, ObjectsError))
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, base)
}


def failed(id: int, error: Exception) -> Failed | None:
    """What is said of an error; None of one that has no name."""
    name = type(error).__name__
    if _KNOWN.get(name) is not type(error):
        return None
    bucket = error.bucket if isinstance(error, BucketExists) else None
    return Failed(id, name, str(error)[:_TEXT_CHARACTERS_MAX], bucket)


def unknown(id: int, error: Exception) -> Failed:
    """What is said of one that has none."""
    return Failed(id, "", type(error).__name__)


def raised(told: Failed) -> Exception:
    """The error that was told of."""
    if told.bucket is not None:
        return BucketExists(told.bucket)
    return named(told.error, told.text)


def named(name: str, text: str) -> Exception:
    kind = _KNOWN.get(name, RemoteError)
    return RemoteError(text) if kind is BucketExists else kind(text)
