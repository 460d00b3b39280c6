"""The policy of a bucket: read and validated once, then asked about requests.

A document is JSON by the letter: a name that stands twice in an object is refused, since readers
could understand it either way. Messages are S3's.

Source: "Grammar of the IAM JSON policy language" in the IAM User Guide.
"""

import json
from collections.abc import Sequence
from enum import Enum
from typing import Any

from gateway.access.conditions import Number, malformed, shown
from gateway.access.patterns import Facts
from gateway.access.principals import Caller
from gateway.access.statements import Statement, parse_statement
from gateway.limits import (
    POLICY_BYTES_MAX,
    POLICY_SEARCHES_MAX,
    POLICY_SPACE_BYTES_MAX,
    POLICY_WILD_ACTIONS_MAX,
)

_WITH_VARIABLES = "2012-10-17"
_VERSIONS = (_WITH_VARIABLES, "2008-10-17")
_FIELDS = ("Version", "Id", "Statement")


class Verdict(Enum):
    """What a policy says. NONE: nothing, so that others decide."""

    DENY = "deny"
    ALLOW = "allow"
    NONE = "none"


class Policy:
    """A policy that can be asked."""

    __slots__ = ("_denials", "grants")

    def __init__(self, statements: Sequence[Statement]) -> None:
        self._denials = [statement for statement in statements if not statement.allows]
        self.grants = [statement for statement in statements if statement.allows]
        """The statements that allow something."""

    def decide(self, caller: Caller, action: str, resource: str, facts: Facts) -> Verdict:
        """`action` without "s3:"; `resource` is "bucket" or "bucket/key". A denial stands whatever
        is allowed."""
        if any(one.applies(caller, action, resource, facts) for one in self._denials):
            return Verdict.DENY
        if any(one.applies(caller, action, resource, facts) for one in self.grants):
            return Verdict.ALLOW
        return Verdict.NONE


def compile_policy(text: str, bucket: str) -> Policy:
    """The policy in a document for this bucket. MalformedPolicy."""
    document = _read(text)
    for name in document:
        if name not in _FIELDS:
            raise malformed(f"Unknown field {shown(name)}")
    version = document.get("Version", _VERSIONS[-1])
    if version not in _VERSIONS:
        raise malformed("The policy must contain a valid version string")
    if type(document.get("Id", "")) is not str:
        raise malformed("Invalid policy syntax.")
    if "Statement" not in document:
        raise malformed("Missing required field Statement")
    elements = document["Statement"]
    if not isinstance(elements, list):
        elements = [elements]
    if not elements:
        raise malformed("Could not parse the policy: Statement is empty!")
    variables = version == _WITH_VARIABLES
    statements = [parse_statement(one, bucket, variables=variables) for one in elements]
    if sum(statement.searches for statement in statements) > POLICY_SEARCHES_MAX:
        raise malformed(
            f"The policy has more than {POLICY_SEARCHES_MAX} patterns with a '?' between two '*'"
        )
    if sum(statement.wild_actions for statement in statements) > POLICY_WILD_ACTIONS_MAX:
        raise malformed(f"The policy has more than {POLICY_WILD_ACTIONS_MAX} patterns of actions")
    return Policy(statements)


def _read(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        raise malformed("Policies must be valid JSON and the first byte must be '{'")
    if len(text) > POLICY_SPACE_BYTES_MAX:
        raise _too_large()
    try:
        document: dict[str, Any] = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_no_constant,
        )
        normal = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        raise malformed("This policy contains invalid Json") from None
    if len(normal) > POLICY_BYTES_MAX:
        raise _too_large()
    return document


def _too_large() -> Exception:
    return malformed(
        f"Normalized policy document exceeds the maximum allowed size of {POLICY_BYTES_MAX} bytes"
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
