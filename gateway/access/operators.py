"""The operators of conditions: what a value of the request is compared with, and how.

Source: "IAM JSON policy elements: Condition operators" in the IAM User Guide. An operator is made
for the values of a policy once; a value there that it cannot have is a ValueError. A value of a
request that it cannot compare equals nothing.
"""

import operator
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

from gateway.access.patterns import Facts, Pattern, Token, parse_pattern
from gateway.dates import parse_iso_ms

Test = Callable[[str, Facts], bool]
"""Whether a value of the request is one of those in the policy."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,2})?")
_EPOCH = re.compile(r"[0-9]{5,12}")
_CIDR = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:/[0-9]{1,3})?")
_ARN_PARTS = 6


class Matcher(NamedTuple):
    test: Test
    patterns: Sequence[Pattern] = ()
    """Those of the policy, where its values are patterns."""


class Operator(NamedTuple):
    make: Callable[[Sequence[str], bool], Matcher]
    """`(values, variables)`: whether texts like `${aws:userid}` are variables."""
    negated: bool = False


def _strings(*, wildcards: bool, ignore_case: bool = False) -> Callable[..., Matcher]:
    def make(values: Sequence[str], variables: bool) -> Matcher:
        parsed = [parse_pattern(text, wildcards=wildcards, variables=variables) for text in values]
        return _any_of([Pattern(tokens, ignore_case=ignore_case) for tokens in parsed])

    return make


def _any_of(patterns: Sequence[Pattern]) -> Matcher:
    def test(value: str, facts: Facts) -> bool:
        return any(pattern.matches(value, facts) for pattern in patterns)

    return Matcher(test, patterns)


def _arns(values: Sequence[str], variables: bool) -> Matcher:
    """The parts of an ARN are compared each by itself; a star does not reach over a colon, but in
    the last part."""
    parsed = [parse_pattern(text, wildcards=True, variables=variables) for text in values]
    pattern = lru_cache(maxsize=None)(Pattern)  # Many ARNs have most of their parts in common.
    arns = [[pattern(tuple(tokens)) for tokens in _arn_parts(tokens)] for tokens in parsed]

    def test(value: str, facts: Facts) -> bool:
        parts = value.split(":", _ARN_PARTS - 1)
        return len(parts) == _ARN_PARTS and any(
            all(pattern.matches(part, facts) for pattern, part in zip(arn, parts, strict=True))
            for arn in arns
        )

    return Matcher(test, [part for arn in arns for part in arn])


def _arn_parts(tokens: Iterable[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if not isinstance(token, str):
            parts[-1].append(token)
            continue
        first, *others = token.split(":", _ARN_PARTS - len(parts))
        parts[-1].append(first)
        parts += [[other] for other in others]
    if len(parts) != _ARN_PARTS:
        raise ValueError("not an ARN")
    return parts


def _compared(read: Callable[[str], Any], compare: Callable[[Any, Any], bool]) -> Operator:
    """For values with an order; `read` gives None for a text that is no such value."""

    def make(values: Sequence[str], _: bool) -> Matcher:
        wanted = [read(text) for text in values]
        if None in wanted:
            raise ValueError("not a value of its kind")

        def test(value: str, _: Facts) -> bool:
            given = read(value)
            return given is not None and any(compare(given, one) for one in wanted)

        return Matcher(test)

    return Operator(make)


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _date(text: str) -> int | None:
    """Milliseconds since 1970 of a date of ISO 8601, or of seconds since then."""
    if _EPOCH.fullmatch(text):
        return int(text) * 1000
    return parse_iso_ms({4: f"{text}-01-01", 7: f"{text}-01"}.get(len(text), text))


def _bool(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _binary(values: Sequence[str], _: bool) -> Matcher:
    wanted = {b64decode(text, validate=True) for text in values}
    return Matcher(lambda value, _: value.encode(errors="surrogateescape") in wanted)


class Network(NamedTuple):
    """`bits`: those of an address that count."""

    version: int
    bits: int
    address: int

    def has(self, other: IPv4Address | IPv6Address) -> bool:
        width = other.max_prefixlen
        return other.version == self.version and (
            int(other) >> (width - self.bits) == self.address >> (width - self.bits)
        )


def read_network(text: str) -> Network:
    """An address or a CIDR. ValueError."""
    if not _CIDR.fullmatch(text):
        raise ValueError("not a network")
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:  # Then all of the 96 bits before it count.
            return Network(4, network.prefixlen - 96, int(mapped))
    return Network(network.version, network.prefixlen, int(network.network_address))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _networks(values: Sequence[str], _: bool) -> Matcher:
    networks = [read_network(text) for text in values]

    def test(value: str, _: Facts) -> bool:
        address = _address(value)
        return address is not None and any(network.has(address) for network in networks)

    return Matcher(test)


_COMPARISONS = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}
_EQUAL = Operator(_strings(wildcards=False))
_EQUAL_IGNORING_CASE = Operator(_strings(wildcards=False, ignore_case=True))
_LIKE = Operator(_strings(wildcards=True))
_ARN = Operator(_arns)
_POSITIVE: Mapping[str, Operator] = {
    "StringEquals": _EQUAL,
    "StringEqualsIgnoreCase": _EQUAL_IGNORING_CASE,
    "StringLike": _LIKE,
    "ArnEquals": _ARN,
    "ArnLike": _ARN,
    "BinaryEquals": Operator(_binary),
    "Bool": _compared(_bool, operator.eq),
    "IpAddress": Operator(_networks),
    **{f"Numeric{name}": _compared(_number, compare) for name, compare in _COMPARISONS.items()},
    **{f"Date{name}": _compared(_date, compare) for name, compare in _COMPARISONS.items()},
}
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NotIpAddress": "IpAddress",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
}
OPERATORS: Mapping[str, Operator] = {
    **_POSITIVE,
    **{name: Operator(_POSITIVE[other].make, negated=True) for name, other in _NEGATED.items()},
}
"""All but Null."""
