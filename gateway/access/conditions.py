"""Conditions of policies: a key, an operator, and values one of which the key must have.

Source: "IAM JSON policy elements: Condition operators" and "Conditions with multiple context keys
or values" in the IAM User Guide. A key that the request does not have makes a condition false, one
with a negated operator true; with `...IfExists` true. Of the values of a request, `ForAllValues`
wants all to fit, which they do where there is none, and `ForAnyValue` wants one. Without either, a
negated operator wants that none of them is one of the policy's.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.access.condition_keys import normal_key
from gateway.access.operators import OPERATORS, Matcher
from gateway.access.patterns import Facts
from gateway.errors import S3Error

_TYPE = re.compile(r"(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?")
_ALL = "ForAllValues"
_NULL = "Null"


class Number(str):
    """A number of a JSON document, as it stands there."""

    __slots__ = ()


class Condition(NamedTuple):
    """A condition on one key."""

    key: str
    operator: str
    """Without what may stand before and after it."""
    quantifier: str
    """ForAllValues, ForAnyValue or ""."""
    if_exists: bool
    negated: bool
    values: tuple[str, ...]
    matcher: Matcher

    def holds(self, facts: Facts) -> bool:
        values = facts.get(self.key)
        if self.operator == _NULL:
            return self.matcher.test("false" if values else "true", facts)
        if values and self.quantifier:
            values = [value for value in values if value]
        if not values:
            if self.quantifier:
                return self.if_exists or self.quantifier == _ALL
            return self.if_exists or self.negated
        test, negated = self.matcher.test, self.negated
        if self.quantifier == _ALL or (negated and not self.quantifier):
            return all(test(value, facts) != negated for value in values)
        return any(test(value, facts) != negated for value in values)


def parse_conditions(element: Any, *, variables: bool) -> list[Condition]:
    """Those of a Condition. MalformedPolicy."""
    if not isinstance(element, dict):
        raise malformed("Invalid policy syntax.")
    found = []
    for kind, block in element.items():
        if not isinstance(block, dict):
            raise malformed("Invalid policy syntax.")
        found += [
            _condition(kind, name, _values(value), variables) for name, value in block.items()
        ]
    return found


def _condition(kind: str, name: str, values: tuple[str, ...], variables: bool) -> Condition:
    match = _TYPE.fullmatch(kind)
    quantifier, operator, suffix = match.groups() if match else ("", "", "")
    is_null = operator == _NULL and not quantifier and not suffix
    known = OPERATORS["Bool"] if is_null else OPERATORS.get(operator)
    if known is None:
        raise malformed(f"Invalid Condition type : {shown(kind)}")
    key = normal_key(name)
    if key is None:
        raise malformed("Policy has an invalid condition key")
    try:
        matcher = known.make(values, variables)
    except ValueError:
        raise malformed(f"Invalid value in Conditions for {operator} : {shown(name)}") from None
    return Condition(
        key, operator, quantifier or "", bool(suffix), known.negated, values, matcher
    )  # fmt: skip


def _values(value: Any) -> tuple[str, ...]:
    values: Sequence[Any] = value if isinstance(value, list) else (value,)
    texts = [str(one).lower() if isinstance(one, bool) else one for one in values]
    if not all(isinstance(text, str) for text in texts):
        raise malformed("Invalid policy syntax.")
    return tuple(dict.fromkeys(texts))


def malformed(message: str) -> S3Error:
    return S3Error("MalformedPolicy", message)


def shown(text: str) -> str:
    """What somebody wrote into a policy, short enough for a message."""
    return text[:100]
