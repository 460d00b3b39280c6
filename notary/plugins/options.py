"""The options of a plug-in: its table in farshore.toml, and what stands in it."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from yarl import URL

from dc.durations import parse_duration
from notary.errors import NotaryRefused

T = TypeVar("T", bound=msgspec.Struct)

EVERY_LEAST, EVERY_MOST = "1s", "30d"
URL_CHARACTERS_MAX = 1000


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the options of all plug-ins have in common: a field that is unknown is refused."""


def read(name: str, options: Mapping[str, Any] | None, kind: type[T]) -> T:
    """The options of the plug-in of that name. NotaryRefused."""
    try:
        return msgspec.convert(dict(options or {}), kind)
    except msgspec.ValidationError as error:
        allowed = ", ".join(field.name for field in msgspec.structs.fields(kind))
        raise refused(name, "", f"{error}; allowed here: {allowed}") from None


def refused(name: str, option: str, reason: str) -> NotaryRefused:
    """What is wrong with an option (`""`: with the table)."""
    where = f"notary.hooks.{name}.{option}" if option else f"[notary.hooks.{name}]"
    return NotaryRefused(f"farshore.toml, {where}: {reason}")


def seconds(name: str, option: str, text: str) -> float:
    """Of a duration. NotaryRefused."""
    try:
        milliseconds = parse_duration(text)
    except ValueError as error:
        raise refused(name, option, str(error)) from None
    if not parse_duration(EVERY_LEAST) <= milliseconds <= parse_duration(EVERY_MOST):
        raise refused(name, option, f"must be from {EVERY_LEAST} to {EVERY_MOST}")
    return milliseconds / 1000


def url(name: str, option: str, text: str) -> str:
    """A URL that can be asked. NotaryRefused."""
    shown = repr(text[:80])
    try:
        found = URL(text)
        is_usable = found.scheme in ("http", "https") and bool(found.host) and found.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or len(text) > URL_CHARACTERS_MAX or not text.isprintable() or " " in text:
        raise refused(name, option, f"{shown} is no URL, as https://tsa.example.com/")
    if found.user is not None or found.password is not None:
        reason = "a URL with a user or password in it is not taken: nothing in this file is secret"
        raise refused(name, option, reason)
    if found.fragment or found.query_string:
        raise refused(name, option, f"{shown} has a query or a fragment: give it without")
    return text
