"""A statement of a policy: who may, or may not, do what to which resources, and when.

It is compiled once. Names of actions become the set of those that they mean, so that nearly every
statement is passed over with one look; then come who asks and the resource, and the conditions only
if all of that fits.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from gateway.access.actions import ACTIONS, OF_BUCKETS, OF_OBJECTS, actions_of, is_wild
from gateway.access.condition_keys import ANY_ACTION, actions_with
from gateway.access.conditions import Condition, malformed, parse_conditions, shown
from gateway.access.patterns import Facts, Pattern, parse_pattern
from gateway.access.principals import Caller, Principals, parse_principals

ARN = "arn:aws:s3:::"
_FIELDS = frozenset(
    (
        *("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction"),
        *("Resource", "NotResource", "Condition"),
    )
)
_EFFECTS = ("Allow", "Deny")
_SYNTAX = "Invalid policy syntax."


class Statement(NamedTuple):
    """`not_principals`, `not_resources`: whether those that are named are excepted. `wild_actions`:
    how many patterns of actions it has; `searches`: how many others that are searched for
    (`Pattern.is_searched`)."""

    allows: bool
    principals: Principals
    not_principals: bool
    actions: frozenset[str]
    resources: tuple[Pattern, ...]
    not_resources: bool
    conditions: tuple[Condition, ...]
    wild_actions: int
    searches: int

    def applies(self, caller: Caller, action: str, resource: str, facts: Facts) -> bool:
        return (
            action in self.actions
            and self.principals.include(caller) != self.not_principals
            and self._is_about(resource, facts) != self.not_resources
            and all(condition.holds(facts) for condition in self.conditions)
        )

    def _is_about(self, resource: str, facts: Facts) -> bool:
        return any(pattern.matches(resource, facts) for pattern in self.resources)


def parse_statement(element: Any, bucket: str, *, variables: bool) -> Statement:
    """A statement of the policy of this bucket. MalformedPolicy."""
    if not isinstance(element, dict):
        raise malformed(_SYNTAX)
    for name in element:
        if name not in _FIELDS:
            raise malformed(f"Unknown field {shown(name)}")
    if type(element.get("Sid", "")) is not str:
        raise malformed(_SYNTAX)
    if "Effect" not in element:
        raise malformed("Missing required field Effect")
    effect = element["Effect"]
    if effect not in _EFFECTS:
        raise malformed(f"Invalid effect: {shown(effect)}" if type(effect) is str else _SYNTAX)
    allows = effect == "Allow"
    principals, not_principals = _principals(element, allows)
    names, not_actions = _texts(element, "Action")
    chosen = [actions_of(name) for name in names]
    if not all(chosen):
        raise malformed("Policy has invalid action")
    texts, not_resources = _texts(element, "Resource")
    resources = tuple(_resource(text, bucket, variables) for text in texts)
    conditions = tuple(parse_conditions(element.get("Condition", {}), variables=variables))
    if not not_actions:
        reached = ACTIONS if not_resources else _reached(resources, bucket)
        _check_use(chosen, reached, conditions)
    named = frozenset[str]().union(*chosen)
    actions = ACTIONS - named if not_actions else named
    values = (condition.matcher.patterns for condition in conditions)
    searches = sum(pattern.is_searched for pattern in chain(resources, *values))
    wild_actions = sum(map(is_wild, names))
    return Statement(
        allows, principals, not_principals, actions, resources, not_resources, conditions,
        wild_actions, searches,
    )  # fmt: skip


def _either(element: Mapping[str, Any], name: str) -> tuple[Any, bool]:
    """What stands in `name` or in its negation, and whether it is that."""
    negation = f"Not{name}"
    if name in element and negation in element:
        raise malformed(f"Statement/policy already has instance of {name}")
    if name not in element and negation not in element:
        raise malformed(f"Missing required field {name}")
    return (element[negation], True) if negation in element else (element[name], False)


def _principals(element: Mapping[str, Any], allows: bool) -> tuple[Principals, bool]:
    value, negated = _either(element, "Principal")
    if negated and allows:
        raise malformed("Allow with NotPrincipal is not allowed.")
    try:
        return parse_principals(value), negated
    except ValueError:
        raise malformed("Invalid principal in policy") from None


def _texts(element: Mapping[str, Any], name: str) -> tuple[list[str], bool]:
    value, negated = _either(element, name)
    texts = value if isinstance(value, list) else [value]
    if not texts:
        raise malformed(f"Missing required field {name}")
    if not all(type(text) is str for text in texts):
        raise malformed(_SYNTAX)
    return texts, negated


def _resource(text: str, bucket: str, variables: bool) -> Pattern:
    if not text.startswith(ARN):
        raise malformed("Policy has invalid resource")
    try:
        tokens = parse_pattern(text.removeprefix(ARN), wildcards=True, variables=variables)
    except ValueError:
        raise malformed("Policy has invalid resource") from None
    pattern = Pattern(tokens)
    if not _kinds(pattern, bucket):
        raise malformed("Policy has invalid resource")
    return pattern


def _kinds(pattern: Pattern, bucket: str) -> frozenset[str]:
    """The actions that can be done to what it matches, of this bucket."""
    glob = pattern.widest()
    of_bucket = OF_BUCKETS if glob.matches(bucket) else frozenset[str]()
    return of_bucket | (OF_OBJECTS if glob.may_begin(f"{bucket}/") else frozenset[str]())


def _reached(resources: Sequence[Pattern], bucket: str) -> frozenset[str]:
    return frozenset[str]().union(*(_kinds(pattern, bucket) for pattern in resources))


def _check_use(
    chosen: Sequence[frozenset[str]],
    reached: frozenset[str],
    conditions: Sequence[Condition],
) -> None:
    """Each action must be done to one of the resources, and know the keys of all conditions."""
    knowing = {actions_with(condition.key) for condition in conditions} - {ANY_ACTION}
    for actions in chosen:
        possible = actions & reached
        if not possible:
            raise malformed("Action does not apply to any resource(s) in statement")
        if any(possible.isdisjoint(those) for those in knowing):
            raise malformed(
                "Conditions do not apply to combination of actions and resources in statement"
            )
