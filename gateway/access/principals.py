"""Who a statement of a policy is about.

A user of ours is named by the canonical id, alone or in an ARN in the place of Amazon's account
number: each user is an account of their own. Whether there is such a user is not asked: users come
to be in other datacenters, and news of them may come later than a policy. So whoever is named and
does not exist is nobody.

A name with a wildcard in it is refused, as S3 does; only `*` alone is everyone.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

_ID = re.compile(r"[0-9a-f]{64}")
_ACCOUNT = re.compile(r"[0-9]{12}")
_ARN = re.compile(r"arn:aws:iam::([A-Za-z0-9_-]*):(?:(root)|user/(?:[^*?]*/)?([^*?/]+))")
_SERVICE = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_FEDERATED = re.compile(r"[^*?]+")
EVERYONE = "*"


class Caller(NamedTuple):
    """Who sent a request."""

    id: str
    """The canonical id; "" when nobody signed."""
    name: str = ""
    """The email address, which is the user's name in policies."""
    service: str = ""
    """Which service asks: what the gateway does by itself, as access logs."""


ANONYMOUS = Caller("")


class Principals(NamedTuple):
    """Those that a statement names."""

    everyone: bool
    """Whoever asks, anonymous or not."""
    ids: frozenset[str]
    users: frozenset[tuple[str, str]]
    """By canonical id and name, both of which must be right."""
    services: frozenset[str]
    every_service: bool
    federated: bool
    """Whether somebody from elsewhere is named, who cannot come here."""

    def include(self, caller: Caller) -> bool:
        if caller.service:
            return self.every_service or caller.service in self.services
        return (
            self.everyone
            or caller.id in self.ids
            or (bool(self.users) and (caller.id, caller.name) in self.users)
        )

    @property
    def is_fixed(self) -> bool:
        """Whether it is known who they are."""
        return not (self.everyone or self.every_service or self.federated)


def parse_principals(element: Any) -> Principals:
    """Those in a Principal or NotPrincipal. ValueError when it is not well formed."""
    if element == EVERYONE:
        return Principals(True, frozenset(), frozenset(), frozenset(), True, False)
    if not isinstance(element, dict) or not element:
        raise ValueError("principal")
    named = {kind: set(_texts(value)) for kind, value in element.items()}
    if not named.keys() <= {"AWS", "CanonicalUser", "Service", "Federated"}:
        raise ValueError("principal")
    users = named.get("AWS", set())
    everyone = EVERYONE in users
    ids, pairs = set(), set()
    for text in users - {EVERYONE}:
        user, name = _user(text)
        if name:
            pairs.add((user, name))
        else:
            ids.add(user)
    canonical, services = named.get("CanonicalUser", set()), named.get("Service", set())
    federated = named.get("Federated", set())
    _check_all(_ID, canonical)
    _check_all(_SERVICE, services)
    _check_all(_FEDERATED, federated)
    return Principals(
        everyone, frozenset(ids | canonical), frozenset(pairs), frozenset(services), False,
        bool(federated),
    )  # fmt: skip


def _texts(value: Any) -> Iterator[str]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(type(text) is str for text in values):
        raise ValueError("principal")
    return iter(values)


def _check_all(form: re.Pattern[str], texts: set[str]) -> None:
    if not all(form.fullmatch(text) for text in texts):
        raise ValueError("principal")


def _user(text: str) -> tuple[str, str]:
    """The canonical id, and the name if one is asked for."""
    if _ID.fullmatch(text) or _ACCOUNT.fullmatch(text):
        return text, ""
    match = _ARN.fullmatch(text)
    if match is None:
        raise ValueError("principal")
    account, root, name = match.groups()
    if account:
        return account, "" if root else name
    if name and _ID.fullmatch(name):
        return name, ""
    raise ValueError("principal")
