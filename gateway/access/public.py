"""Whether a policy is public, as S3 defines it: unless each of its grants is to somebody, or for
something, that is fixed, it is.

Source: "The meaning of public" in "Blocking public access to your Amazon S3 storage" of the S3 User
Guide. A grant is fixed by whom it names; or by a condition that a request can only meet with one of
some values without wildcards and variables, of a key that says where the request comes from. What
is denied besides does not matter.
"""

from gateway.access.conditions import Condition
from gateway.access.operators import read_network
from gateway.access.policy import Policy
from gateway.access.statements import Statement

_SOURCE_IP = "aws:sourceip"
_USER_ID = "aws:userid"
_ACCOUNT = "aws:principalaccount"
_ACCESS_POINT = "s3:dataaccesspointarn"
_BITS_MIN = {4: 8, 6: 32}
"""Shorter prefixes of networks are the public."""
_NARROWING = frozenset(
    (
        *("aws:principalarn", _ACCOUNT, "aws:principalorgid"),
        *("aws:principalorgpaths", "aws:principalservicename", "aws:sourcearn"),
        *("aws:sourcevpc", "aws:sourcevpce", "aws:sourceowner", "aws:sourceaccount"),
        *("aws:sourceorgid", "aws:sourceorgpaths", _USER_ID, _ACCESS_POINT),
        *("s3:dataaccesspointaccount", "s3:x-amz-server-side-encryption-aws-kms-key-id"),
    )
)
_EQUALITIES = frozenset(
    ("StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike")
)
_ANONYMOUS = "anonymous"
_ANY_NAME = ":accesspoint/*"


def is_public(policy: Policy) -> bool:
    """Whether some grant is to anybody at all."""
    return not all(_is_fixed(statement) for statement in policy.grants)


def _is_fixed(statement: Statement) -> bool:
    return statement.principals.is_fixed or any(map(_narrows, statement.conditions))


def _narrows(condition: Condition) -> bool:
    if condition.if_exists or condition.quantifier == "ForAllValues":
        return False
    if condition.key == _SOURCE_IP:
        return condition.operator == "IpAddress" and all(map(_is_narrow, condition.values))
    return (
        condition.operator in _EQUALITIES
        and condition.key in _NARROWING
        and all(_is_one(condition.key, value) for value in condition.values)
    )


def _is_narrow(value: str) -> bool:
    network = read_network(value)
    return network.bits >= _BITS_MIN[network.version]


def _is_one(key: str, value: str) -> bool:
    """Whether it is one value, and not that of everybody."""
    if key == _ACCESS_POINT:
        value = value.removesuffix("*") if value.endswith(_ANY_NAME) else value
    if key in (_USER_ID, _ACCOUNT) and value.lower() == _ANONYMOUS:
        return False
    if key == _USER_ID and ":" in value:  # Of a role: what follows is chosen by who takes it.
        return False
    return not any(text in value for text in ("*", "?", "${"))
