"""What policies decide: whom, what, which resources and when a statement is about."""

from typing import Any

import pytest
from policy_kit import (
    ALLOW,
    ANN,
    BOB,
    BUCKET,
    DENY,
    LOGS,
    NEW,
    NOBODY,
    NONE,
    OBJECTS,
    OLD,
    decide,
    statement,
)

from gateway.access.policy import Verdict
from gateway.access.principals import Caller

# -- the order ------------------------------------------------------------------------------------

ALLOWS = statement()
DENIES = statement(Effect="Deny")
OF_BOB = statement(Effect="Deny", Principal={"AWS": BOB.id})
OF_OTHERS = statement(Effect="Deny", Resource=f"{BUCKET}/private/*")
NEVER = statement(Effect="Deny", Condition={"Bool": {"aws:SecureTransport": []}})


@pytest.mark.parametrize(
    ("statements", "verdict"),
    [
        ([ALLOWS], ALLOW),
        ([DENIES], DENY),
        ([ALLOWS, DENIES], DENY),
        ([DENIES, ALLOWS], DENY),
        ([ALLOWS, ALLOWS, DENIES, ALLOWS], DENY),
        ([ALLOWS, OF_BOB, OF_OTHERS, NEVER], ALLOW),
        ([OF_BOB, OF_OTHERS, NEVER], NONE),
        ([OF_BOB, statement(Action="s3:PutObject")], NONE),
    ],
)
def test_a_denial_stands_whatever_is_allowed(
    statements: list[dict[str, Any]], verdict: Verdict
) -> None:
    assert decide(statements) is verdict


def test_every_part_of_a_statement_must_fit() -> None:
    whole = statement(
        Principal={"AWS": ANN.id},
        Condition={"StringEquals": {"aws:userid": "ann", "aws:username": "ann"}, "Null": {}},
    )
    facts: dict[str, str | list[str]] = {"aws:userid": "ann", "aws:username": "ann"}
    assert decide(whole, facts=facts) is ALLOW
    assert decide(whole, BOB, facts=facts) is NONE
    assert decide(whole, action="PutObject", facts=facts) is NONE
    assert decide(whole, resource="photos", facts=facts) is NONE
    for key in facts:
        assert decide(whole, facts={**facts, key: "bob"}) is NONE


# -- principals -----------------------------------------------------------------------------------

NAMELESS = Caller(ANN.id)
USERS = [ANN, NAMELESS, BOB, NOBODY]
ANNS_NAME = f"arn:aws:iam::{ANN.id}:user/{ANN.name}"


@pytest.mark.parametrize(
    ("principal", "included"),
    [
        ("*", [*USERS, LOGS]),
        ({"AWS": "*"}, USERS),
        ({"AWS": ["*"], "Service": LOGS.service}, [*USERS, LOGS]),
        ({"AWS": ANN.id}, [ANN, NAMELESS]),
        ({"CanonicalUser": ANN.id}, [ANN, NAMELESS]),
        ({"AWS": f"arn:aws:iam::{ANN.id}:root"}, [ANN, NAMELESS]),
        ({"AWS": f"arn:aws:iam:::user/{ANN.id}"}, [ANN, NAMELESS]),
        ({"AWS": f"arn:aws:iam:::user/a/path/{ANN.id}"}, [ANN, NAMELESS]),
        ({"AWS": ANNS_NAME}, [ANN]),
        ({"AWS": f"arn:aws:iam::{ANN.id}:user/a/path/{ANN.name}"}, [ANN]),
        ({"AWS": f"arn:aws:iam::{ANN.id}:user/{ANN.name.upper()}"}, []),
        ({"AWS": f"arn:aws:iam::{ANN.id}:user/{BOB.name}"}, []),
        ({"AWS": f"arn:aws:iam::123456789012:user/{ANN.name}"}, []),
        ({"AWS": f"arn:aws:iam::{ANN.id}:user/{ANN.id}"}, []),
        ({"AWS": [BOB.id, ANNS_NAME]}, [ANN, BOB]),
        ({"AWS": BOB.id, "CanonicalUser": ANN.id}, [ANN, NAMELESS, BOB]),
        ({"Service": LOGS.service}, [LOGS]),
        ({"Service": ["s3.amazonaws.com", LOGS.service]}, [LOGS]),
        ({"Service": "s3.amazonaws.com"}, []),
        ({"AWS": "123456789012"}, []),
        ({"Federated": "graph.facebook.com"}, []),
    ],
    ids=str,
)
def test_who_is_meant(principal: Any, included: list[Caller]) -> None:
    for caller in (*USERS, LOGS):
        named = caller in included
        verdict = decide(statement(Principal=principal), caller)
        assert verdict is (ALLOW if named else NONE), caller
        verdict = decide(statement(Effect="Deny", Principal=principal), caller)
        assert verdict is (DENY if named else NONE), caller
        inverse = statement(Effect="Deny", Principal=None, NotPrincipal=principal)
        assert decide(inverse, caller) is (NONE if named else DENY), caller


def test_a_service_is_not_the_user_of_its_id() -> None:
    impostor = Caller(ANN.id, ANN.name, LOGS.service)
    assert decide(statement(Principal={"AWS": ANN.id}), impostor) is NONE
    assert decide(statement(Principal={"AWS": "*"}), impostor) is NONE


# -- actions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actions", "action", "fits"),
    [
        ("s3:GetObject", "GetObject", True),
        ("s3:getobject", "GetObject", True),
        ("S3:GETOBJECT", "GetObject", True),
        ("s3:GetObject", "GetObjectAcl", False),
        ("s3:GetObject", "GetObjectVersion", False),
        ("s3:GetObject", "getobject", False),
        ("s3:GetObject*", "GetObjectAcl", True),
        ("s3:GetObject*", "GetObject", True),
        ("s3:GetObject?*", "GetObject", False),
        ("s3:*Acl", "PutObjectAcl", True),
        ("s3:*Acl", "GetObject", False),
        ("s3:?etObject", "GetObject", True),
        ("s3:*", "GetObject", True),
        ("s3:*", "BypassGovernanceRetention", True),
        ("*", "GetObject", True),
        (["s3:PutObject", "s3:GetObject"], "GetObject", True),
        (["s3:PutObject", "s3:GetObject"], "DeleteObject", False),
    ],
)
def test_which_actions_are_meant(actions: Any, action: str, fits: bool) -> None:
    assert decide(statement(Action=actions), action=action) is (ALLOW if fits else NONE)
    inverse = statement(Action=None, NotAction=actions)
    known = action != "getobject"
    assert decide(inverse, action=action) is (ALLOW if known and not fits else NONE)


# -- resources ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "resource", "fits"),
    [
        ("photos/*", "photos/cat.jpg", True),
        ("photos/*", "photos/a/b//c", True),
        ("photos/*", "photos/", True),
        ("photos/*", "photos", False),
        ("photos", "photos", True),
        ("photos", "photos/cat.jpg", False),
        ("photos*", "photos", True),
        ("photos*", "photos/cat.jpg", True),
        ("*", "photos", True),
        ("*", "photos/cat.jpg", True),
        ("*/*", "photos", False),
        ("*/*", "photos/a", True),
        ("photos/cat.jpg", "photos/cat.jpg", True),
        ("photos/cat.jpg", "photos/Cat.jpg", False),
        ("photos/cat.jpg", "photos/cat.jpg.old", False),
        ("photos/cat?jpg", "photos/cat.jpg", True),
        ("photos/cat?jpg", "photos/cat/jpg", True),
        ("photos/cat?jpg", "photos/catjpg", False),
        ("photos/????", "photos/über", True),
        ("photos/????", "photos/🐈🐈🐈🐈", True),
        ("photos/????", "photos/abc", False),
        ("photos/*.jpg", "photos/a.jpg.jpg", True),
        ("photos/*.jpg", "photos/.jpg", True),
        ("photos/*.jpg", "photos/a.jpg.png", False),
        ("photos/*/test/*", "photos/1/test/object.jpg", True),
        ("photos/*/test/*", "photos/1/2/test/3/object.jpg", True),
        ("photos/*/test/*", "photos/1///test///object.jpg", True),
        ("photos/*/test/*", "photos//test/object.jpg", True),
        ("photos/*/test/*", "photos/1/test/", True),
        ("photos/*/test/*", "photos/1-test/object.jpg", False),
        ("photos/*/test/*", "photos/test/object.jpg", False),
        ("photos/*/test/*", "photos/1/2/test.jpg", False),
        ("photos/a*a", "photos/a", False),
        ("photos/a*a", "photos/aa", True),
        ("photos/*?", "photos/", False),
        ("photos/a\n*", "photos/a\nb", True),
        ("photos/[a-z]", "photos/b", False),
        ("photos/.", "photos/b", False),
        ("photos/a*", "photos/a" + "b" * 1022, True),
        ("phot?s/*", "photos/cat.jpg", True),
        ("p*/private/*", "photos/private/a", True),
        ("p*/private/*", "photos/public/a", False),
    ],
)
def test_which_resources_are_meant(pattern: str, resource: str, fits: bool) -> None:
    arn = f"arn:aws:s3:::{pattern}"
    assert decide(statement(Action="*", Resource=arn), resource=resource) is (
        ALLOW if fits else NONE
    )
    inverse = statement(Resource=None, NotResource=arn)
    assert decide(inverse, resource=resource) is (NONE if fits else ALLOW)


def test_several_resources_are_any_of_them() -> None:
    arns = [f"{BUCKET}/a/*", f"{BUCKET}/b/*"]
    inverse = statement(Resource=None, NotResource=arns)
    for key, fits in (("a/1", True), ("b/1", True), ("c/1", False)):
        resource = f"photos/{key}"
        assert decide(statement(Resource=arns), resource=resource) is (ALLOW if fits else NONE)
        assert decide(inverse, resource=resource) is (NONE if fits else ALLOW)


# -- operators ------------------------------------------------------------------------------------

NOW = "2024-03-01T12:00:00Z"
EPOCH = "1709294400"
ARN = "arn:aws:iam::444455556666:user/ann"

OPERATORS: list[tuple[str, Any, str, bool]] = [
    # operator, the policy's values, the request's value, whether it fits
    ("StringEquals", "ann", "ann", True),
    ("StringEquals", "ann", "Ann", False),
    ("StringEquals", "ann", "ann ", False),
    ("StringEquals", "ann", "", False),
    ("StringEquals", "", "", True),
    ("StringEquals", ["bob", "ann"], "ann", True),
    ("StringEquals", ["bob", "eve"], "ann", False),
    ("StringEquals", [], "ann", False),
    ("StringEquals", "a*", "ann", False),
    ("StringEquals", "a*", "a*", True),
    ("StringEquals", "a?n", "ann", False),
    ("StringEquals", 10, "10", True),
    ("StringEquals", 1.50, "1.5", True),
    ("StringEquals", True, "true", True),
    ("StringEqualsIgnoreCase", "ANN", "ann", True),
    ("StringEqualsIgnoreCase", "ann", "AnN", True),
    ("StringEqualsIgnoreCase", "ÄÖ", "äö", True),
    ("StringEqualsIgnoreCase", "a*", "ann", False),
    ("StringEqualsIgnoreCase", ["x", "ANN"], "ann", True),
    ("StringLike", "a*", "ann", True),
    ("StringLike", "A*", "ann", False),
    ("StringLike", "*", "", True),
    ("StringLike", "?*", "", False),
    ("StringLike", "a?n", "ann", True),
    ("StringLike", "ann", "ann", True),
    ("StringLike", "", "", True),
    ("StringLike", "", "a", False),
    ("StringLike", ["b*", "a*"], "ann", True),
    ("StringLike", ["", "home/", "home/*"], "", True),
    ("StringLike", ["", "home/", "home/*"], "home/a/b", True),
    ("StringLike", ["", "home/", "home/*"], "h", False),
    ("NumericEquals", "10", "10", True),
    ("NumericEquals", "10", "10.0", True),
    ("NumericEquals", "1e1", "+10", True),
    ("NumericEquals", "0.1", "0.10", True),
    ("NumericEquals", "-0", "0", True),
    ("NumericEquals", "10", "11", False),
    ("NumericEquals", ["9", "10"], "10", True),
    ("NumericEquals", 10, "10", True),
    ("NumericEquals", "10", "ten", False),
    ("NumericEquals", "10", "", False),
    ("NumericEquals", "9007199254740993", "9007199254740992", False),
    ("NumericLessThan", "10", "9", True),
    ("NumericLessThan", "10", "9.99", True),
    ("NumericLessThan", "10", "10", False),
    ("NumericLessThan", "10", "-11", True),
    ("NumericLessThan", ["5", "10"], "9", True),
    ("NumericLessThan", "10", "nine", False),
    ("NumericLessThanEquals", "10", "10", True),
    ("NumericLessThanEquals", "10", "10.01", False),
    ("NumericLessThanEquals", "9", "10", False),
    ("NumericGreaterThan", "10", "10.5", True),
    ("NumericGreaterThan", "10", "10", False),
    ("NumericGreaterThan", "9", "10", True),
    ("NumericGreaterThanEquals", "10", "10", True),
    ("NumericGreaterThanEquals", "10", "9", False),
    ("DateEquals", NOW, NOW, True),
    ("DateEquals", NOW, "2024-03-01T13:00:00+01:00", True),
    ("DateEquals", NOW, "2024-03-01T12:00:00.000Z", True),
    ("DateEquals", NOW, EPOCH, True),
    ("DateEquals", EPOCH, NOW, True),
    ("DateEquals", "2024-03-01", "2024-03-01T00:00:00Z", True),
    ("DateEquals", "2024-03", "2024-03-01T00:00:00Z", True),
    ("DateEquals", "2024", "2024-01-01T00:00:00Z", True),
    ("DateEquals", NOW, "2024-03-01T12:00:01Z", False),
    ("DateEquals", NOW, "noon", False),
    ("DateLessThan", "2024-03-02", NOW, True),
    ("DateLessThan", NOW, NOW, False),
    ("DateLessThan", NOW, "2024-03-01T11:59:59.999Z", True),
    ("DateLessThanEquals", NOW, NOW, True),
    ("DateLessThanEquals", NOW, "2024-03-01T12:00:01Z", False),
    ("DateGreaterThan", NOW, NOW, False),
    ("DateGreaterThan", "2024-03-01T11:00:00Z", NOW, True),
    ("DateGreaterThan", "1709294399", NOW, True),
    ("DateGreaterThanEquals", NOW, NOW, True),
    ("DateGreaterThanEquals", NOW, "2024-03-01T11:59:59Z", False),
    ("Bool", "true", "true", True),
    ("Bool", "True", "true", True),
    ("Bool", "false", "true", False),
    ("Bool", True, "true", True),
    ("Bool", False, "false", True),
    ("Bool", ["true", "false"], "true", True),
    ("Bool", "true", "yes", False),
    ("BinaryEquals", "QmluYXJ5", "Binary", True),
    ("BinaryEquals", "QmluYXJ5", "QmluYXJ5", False),
    ("BinaryEquals", ["YQ==", "w6Q="], "ä", True),
    ("BinaryEquals", "/w==", "\udcff", True),
    ("IpAddress", "203.0.113.0/24", "203.0.113.7", True),
    ("IpAddress", "203.0.113.0/24", "203.0.114.7", False),
    ("IpAddress", "203.0.113.9/24", "203.0.113.7", True),
    ("IpAddress", "203.0.113.7", "203.0.113.7", True),
    ("IpAddress", "203.0.113.7", "203.0.113.8", False),
    ("IpAddress", "0.0.0.0/0", "203.0.113.7", True),
    ("IpAddress", "0.0.0.0/0", "::1", False),
    ("IpAddress", ["10.0.0.0/8", "203.0.113.0/24"], "203.0.113.7", True),
    ("IpAddress", "2001:DB8:1234:5678::/64", "2001:db8:1234:5678::1", True),
    ("IpAddress", "2001:DB8:1234:5678::/64", "2001:db8:1234:5679::1", False),
    ("IpAddress", "::/0", "2001:db8::1", True),
    ("IpAddress", "::/0", "203.0.113.7", False),
    ("IpAddress", "203.0.113.0/24", "::ffff:203.0.113.7", True),
    ("IpAddress", "::ffff:203.0.113.0/120", "203.0.113.7", True),
    ("IpAddress", "::ffff:203.0.113.0/120", "203.0.112.7", False),
    ("IpAddress", "::ffff:0:0/96", "203.0.113.7", True),
    ("IpAddress", "::ffff:0:0/95", "203.0.113.7", False),
    ("IpAddress", "fe80::/10", "fe80::1%eth0", True),
    ("IpAddress", "0.0.0.0/0", "unknown", False),
    ("ArnEquals", ARN, ARN, True),
    ("ArnEquals", ARN.upper(), ARN, False),
    ("ArnEquals", "arn:aws:iam::*:user/ann", ARN, True),
    ("ArnEquals", "arn:aws:iam::444455556666:user/*", ARN, True),
    ("ArnEquals", "arn:aws:iam::444455556666:user/a?n", ARN, True),
    ("ArnEquals", "arn:aws:iam::444455556666:*", ARN, True),
    ("ArnEquals", "*:*:*:*:*:*", ARN, True),
    ("ArnEquals", "arn:*:user/ann:::", ARN, False),
    ("ArnEquals", ARN, "ann", False),
    ("ArnEquals", ARN, "", False),
    ("ArnEquals", "*:*:*:*:*:*", "arn:aws:iam::1", False),
    ("ArnEquals", ["arn:aws:s3:::*", ARN], ARN, True),
    # A star does not reach over a colon, but in the last part.
    ("ArnLike", "arn:aws:sns:*:1:f/*", "arn:aws:sns:e:9:store/a:1:f/d", False),
    ("StringLike", "arn:aws:sns:*:1:f/*", "arn:aws:sns:e:9:store/a:1:f/d", True),
    ("ArnLike", "arn:aws:sns:e:9:store/*", "arn:aws:sns:e:9:store/a:1:f/d", True),
    ("ArnLike", "arn:aws:s3:::a:b", "arn:aws:s3:::a:b", True),
    ("ArnLike", "arn:aws:s3:::photos", "arn:aws:s3:::photos", True),
    ("ArnLike", "arn:aws:s3:::", "arn:aws:s3:::", True),
]
NEGATIONS = {
    "StringEquals": "StringNotEquals",
    "StringEqualsIgnoreCase": "StringNotEqualsIgnoreCase",
    "StringLike": "StringNotLike",
    "NumericEquals": "NumericNotEquals",
    "DateEquals": "DateNotEquals",
    "IpAddress": "NotIpAddress",
    "ArnEquals": "ArnNotEquals",
    "ArnLike": "ArnNotLike",
}
ALL_OPERATORS = {operator for operator, *_ in OPERATORS} | set(NEGATIONS.values())


def holds(operator: str, values: Any, given: str | list[str] | None) -> bool:
    """Whether a condition holds, as an Allow and as a Deny show it."""
    facts = {} if given is None else {"aws:userid": given}
    condition = {operator: {"AWS:UserId": values}}
    allow = decide(statement(Condition=condition), facts=facts)
    deny = decide(statement(Effect="Deny", Condition=condition), facts=facts)
    assert (allow, deny) in ((ALLOW, DENY), (NONE, NONE))
    return allow is ALLOW


@pytest.mark.parametrize(("operator", "values", "given", "fits"), OPERATORS, ids=str)
def test_operators(operator: str, values: Any, given: str, fits: bool) -> None:
    assert holds(operator, values, given) is fits
    assert holds(f"{operator}IfExists", values, given) is fits
    if operator in NEGATIONS:
        assert holds(NEGATIONS[operator], values, given) is not fits
        assert holds(f"{NEGATIONS[operator]}IfExists", values, given) is not fits
    if operator.startswith("Arn"):
        twin = {"ArnEquals": "ArnLike", "ArnLike": "ArnEquals"}[operator]
        assert holds(twin, values, given) is fits


VALUES = {
    "Arn": ARN,
    "Binary": "YQ==",
    "Bool": "true",
    "Date": NOW,
    "IpAddress": "::1",
    "Numeric": "1",
    "String": "a",
}


@pytest.mark.parametrize("operator", sorted(ALL_OPERATORS))
def test_a_key_that_is_missing(operator: str) -> None:
    """It has no equal: false, and true of what is negated. Whatever is asked for IfExists."""
    value = next(value for kind, value in VALUES.items() if kind in operator)
    negated = operator in NEGATIONS.values()
    assert holds(operator, value, None) is negated
    assert holds(operator, [], None) is negated
    assert holds(f"{operator}IfExists", value, None)
    assert holds(f"ForAllValues:{operator}", value, None)
    assert holds(f"ForAllValues:{operator}IfExists", value, None)
    assert not holds(f"ForAnyValue:{operator}", value, None)
    assert holds(f"ForAnyValue:{operator}IfExists", value, None)


@pytest.mark.parametrize(
    ("value", "given", "fits"),
    [
        ("true", None, True),
        ("false", None, False),
        ("true", "ann", False),
        ("false", "ann", True),
        ("false", "", True),
        ("TRUE", None, True),
        (True, None, True),
        (False, None, False),
        (["true", "false"], None, True),
        (["true", "false"], "ann", True),
        ([], None, False),
        ([], "ann", False),
        ("true", [], True),
    ],
    ids=str,
)
def test_null(value: Any, given: str | None, fits: bool) -> None:
    assert holds("Null", value, given) is fits


@pytest.mark.parametrize(
    ("operator", "values", "given", "fits"),
    [
        ("ForAllValues:StringEquals", ["a", "b", "c"], ["a", "b"], True),
        ("ForAllValues:StringEquals", ["a", "b"], ["a", "d"], False),
        ("ForAllValues:StringEquals", ["a"], ["a"], True),
        ("ForAllValues:StringEquals", [], ["a"], False),
        ("ForAllValues:StringEquals", ["a"], [], True),
        ("ForAllValues:StringEquals", ["a"], "", True),
        ("ForAllValues:StringLike", ["a*"], ["ab", "ac"], True),
        ("ForAllValues:StringLike", ["a*"], ["ab", "bc"], False),
        ("ForAllValues:StringNotEquals", ["x", "y"], ["a", "b"], True),
        ("ForAllValues:StringNotEquals", ["x", "a"], ["a", "b"], False),
        ("ForAllValues:StringNotEquals", ["x"], [], True),
        ("ForAllValues:NumericLessThan", ["5"], ["1", "4"], True),
        ("ForAllValues:NumericLessThan", ["5"], ["1", "6"], False),
        ("ForAnyValue:StringEquals", ["a", "b"], ["b", "d"], True),
        ("ForAnyValue:StringEquals", ["a", "b"], ["c", "d"], False),
        ("ForAnyValue:StringEquals", ["a", ""], [], False),
        ("ForAnyValue:StringEquals", ["a", ""], "", False),
        ("ForAnyValue:StringEquals", [], ["a"], False),
        ("ForAnyValue:StringNotEquals", ["a"], ["a", "b"], True),
        ("ForAnyValue:StringNotEquals", ["a", "b"], ["a", "b"], False),
        ("ForAnyValue:StringNotEquals", ["a"], [], False),
        ("ForAnyValue:StringLike", ["b*"], ["a", "bc"], True),
        ("ForAnyValue:IpAddress", ["10.0.0.0/8"], ["::1", "10.1.1.1"], True),
        # Without a set operator: some value is one of the policy's, or none is.
        ("StringEquals", ["a", "b"], ["c", "b"], True),
        ("StringEquals", ["a", "b"], ["c", "d"], False),
        ("StringNotEquals", ["a", "b"], ["c", "d"], True),
        ("StringNotEquals", ["a", "b"], ["c", "b"], False),
        ("StringEquals", ["a"], [], False),
        ("StringNotEquals", ["a"], [], True),
    ],
    ids=str,
)
def test_several_values_of_a_request(
    operator: str, values: list[str], given: list[str], fits: bool
) -> None:
    assert holds(operator, values, given) is fits
    if given:
        assert holds(f"{operator}IfExists", values, given) is fits


def test_a_negation_wants_none_of_the_values() -> None:
    for values, fits in ((["a", "b"], False), (["b", "c"], True), ("a", False)):
        assert holds("StringNotEquals", values, "a") is fits
        assert holds("StringNotLike", values, "a") is fits


def test_all_keys_and_all_operators_must_fit() -> None:
    """Also where two keys differ in nothing but their case."""
    for facts, verdict in (
        ({"aws:userid": "ab", "aws:username": "c"}, ALLOW),
        ({"aws:userid": "ab"}, NONE),
        ({"aws:userid": "b", "aws:username": "c"}, NONE),
        ({"aws:userid": "a", "aws:username": "c"}, NONE),
    ):
        condition = {
            "StringLike": {"aws:userid": "a*", "aws:UserId": "*b"},
            "StringEquals": {"aws:username": ["c", "d"]},
        }
        assert decide(statement(Condition=condition), facts=dict(facts)) is verdict


def test_keys_have_no_case() -> None:
    tag = statement(Condition={"StringEquals": {"S3:EXISTINGOBJECTTAG/Team": "red"}})
    assert decide(tag, facts={"s3:existingobjecttag/team": "red"}) is ALLOW
    assert decide(tag, facts={"s3:existingobjecttag/team": "Red"}) is NONE


# -- variables ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "facts", "key", "fits"),
    [
        ("${aws:username}/*", {"aws:username": "ann"}, "ann/a", True),
        ("${AWS:UserName}/*", {"aws:username": "ann"}, "ann/a", True),
        ("${aws:username}/*", {"aws:username": "ann"}, "bob/a", False),
        ("${aws:username}/*", {"aws:username": "ann"}, "annie/a", False),
        ("${aws:username}/*", {}, "ann/a", False),
        ("${aws:username}/*", {}, "/a", False),
        ("${aws:username}/*", {"aws:username": ""}, "/a", True),
        ("${aws:username}", {"aws:username": "*"}, "ann", False),
        ("${aws:username}", {"aws:username": "*"}, "*", True),
        ("${aws:username}", {"aws:username": "a?n"}, "ann", False),
        ("${aws:username}", {"aws:username": "${aws:userid}", "aws:userid": "a"}, "a", False),
        ("*/${aws:username}/*", {"aws:username": "ann"}, "home/ann/a", True),
        ("*/${aws:username}/*", {"aws:username": "ann"}, "home/bob/a", False),
        ("a?${aws:username}*", {"aws:username": "ann"}, "a-ann", True),
        ("${aws:username}${aws:userid}", {"aws:username": "a", "aws:userid": "b"}, "ab", True),
        ("${aws:username}${aws:userid}", {"aws:username": "a"}, "a", False),
        ("${aws:username}", {"aws:username": ["ann", "bob"]}, "ann", False),
        ("${aws:username, 'guest'}/*", {}, "guest/a", True),
        ("${aws:username,'guest'}/*", {}, "guest/a", True),
        ("${ aws:username , 'a guest' }/*", {}, "a guest/a", True),
        ("${aws:username, ''}/*", {}, "/a", True),
        ("${aws:username, 'guest'}/*", {"aws:username": "ann"}, "guest/a", False),
        ("${aws:username, 'guest'}/*", {"aws:username": "ann"}, "ann/a", True),
        ("${aws:username, 'g*'}/*", {}, "guest/a", False),
        ("${aws:username, 'guest'}", {"aws:username": ["ann", "bob"]}, "guest", True),
        ("${aws:PrincipalTag/Team}/*", {"aws:principaltag/team": "red"}, "red/a", True),
        ("${*}", {}, "*", True),
        ("${*}", {}, "a", False),
        ("a${?}b*", {}, "a?bc", True),
        ("a${?}b*", {}, "axbc", False),
        ("${$}{aws:username}", {"aws:username": "ann"}, "${aws:username}", True),
        ("${aws:username", {"aws:username": "ann"}, "${aws:username", True),
        ("$aws:username", {"aws:username": "ann"}, "$aws:username", True),
        ("{aws:username}", {"aws:username": "ann"}, "{aws:username}", True),
    ],
    ids=str,
)
def test_variables_in_resources(pattern: str, facts: dict[str, Any], key: str, fits: bool) -> None:
    arn = f"{BUCKET}/{pattern}"
    resource = f"photos/{key}"
    assert decide(statement(Resource=arn), facts=facts, resource=resource) is (
        ALLOW if fits else NONE
    )
    inverse = statement(Effect="Deny", Resource=None, NotResource=arn)
    assert decide(inverse, facts=facts, resource=resource) is (NONE if fits else DENY)


@pytest.mark.parametrize("version", [OLD, None])
def test_variables_are_text_in_the_old_version(version: str | None) -> None:
    arn = f"{BUCKET}/${{aws:username}}"
    facts: dict[str, Any] = {"aws:username": "ann", "s3:prefix": "ann"}
    for found, new, old in (("ann", ALLOW, NONE), ("${aws:username}", NONE, ALLOW)):
        whole = statement(Resource=arn)
        assert decide(whole, facts=facts, resource=f"photos/{found}") is new
        assert decide(whole, facts=facts, resource=f"photos/{found}", version=version) is old
        whole = statement(Condition={"StringEquals": {"aws:userid": "${aws:username}"}})
        given = {**facts, "aws:userid": found}
        assert decide(whole, facts=given, version=NEW) is new
        assert decide(whole, facts=given, version=version) is old
    stars = statement(Resource=f"{BUCKET}/${{*}}")
    assert decide(stars, resource="photos/${a}", version=version) is ALLOW
    assert decide(stars, resource="photos/*", version=version) is NONE


@pytest.mark.parametrize(
    ("operator", "value", "given", "fits"),
    [
        ("StringEquals", "${aws:username}", "ann", True),
        ("StringEquals", "${aws:username}", "Ann", False),
        ("StringEqualsIgnoreCase", "${aws:username}", "ANN", True),
        ("StringEquals", "${aws:username}*", "ann*", True),
        ("StringLike", "${aws:username}*", "annie", True),
        ("StringLike", "${aws:username}*", "bobby", False),
        ("StringEquals", "${s3:prefix}", "ann", False),
        ("StringLike", "*${s3:prefix}*", "ann", False),
        ("StringLike", "${s3:prefix, 'a'}*", "ann", True),
        ("ArnLike", "arn:aws:iam::*:user/${aws:username}", "arn:aws:iam::1:user/ann", True),
        ("ArnLike", "arn:aws:iam::*:user/${aws:username}", "arn:aws:iam::1:user/bob", False),
        ("ArnLike", "arn:aws:iam::${aws:username}:*", "arn:aws:iam::ann:user/a", True),
        ("ArnLike", "arn:aws:iam::${s3:prefix}:*", "arn:aws:iam::ann:user/a", False),
        # What a variable stands for is in one part, whatever colons it has.
        ("ArnLike", "arn:aws:iam::${aws:userarn}:a", "arn:aws:iam::a:b:a", False),
    ],
)
def test_variables_in_conditions(operator: str, value: str, given: str, fits: bool) -> None:
    facts: dict[str, Any] = {"aws:username": "ann", "aws:userid": given, "aws:referer": "a:b"}
    value = value.replace("aws:userarn", "aws:referer")
    for name, expected in ((operator, fits), (NEGATIONS[operator], not fits)):
        condition = {name: {"aws:userid": value}}
        verdict = decide(statement(Condition=condition), facts=facts)
        assert verdict is (ALLOW if expected else NONE), name


def test_two_missing_keys_are_not_equal() -> None:
    """So who has no team is denied what belongs to none."""
    condition = {"StringNotEquals": {"s3:ExistingObjectTag/Team": "${aws:PrincipalTag/Team}"}}
    whole = statement(Effect="Deny", Condition=condition)
    assert decide(whole) is DENY
    team: dict[str, Any] = {"s3:existingobjecttag/team": "red"}
    assert decide(whole, facts=team) is DENY
    assert decide(whole, facts={**team, "aws:principaltag/team": "red"}) is NONE


# -- the examples that everybody copies -----------------------------------------------------------


def test_uploads_must_be_encrypted() -> None:
    key = "s3:x-amz-server-side-encryption"
    deny = statement(Effect="Deny", Action="s3:PutObject")
    statements = [
        {**deny, "Condition": {"StringNotEquals": {key: "AES256"}}},
        {**deny, "Condition": {"Null": {key: "true"}}},
    ]
    assert decide(statements, action="PutObject") is DENY
    assert decide(statements, action="PutObject", facts={key: "aws:kms"}) is DENY
    assert decide(statements, action="PutObject", facts={key: "AES256"}) is NONE


def test_a_network_but_for_services() -> None:
    whole = statement(
        Effect="Deny",
        Action="s3:*",
        Resource=[BUCKET, OBJECTS],
        Condition={
            "NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"]},
            "Bool": {"aws:ViaAWSService": "false"},
        },
    )
    inside: dict[str, Any] = {"aws:sourceip": "192.0.2.1", "aws:viaawsservice": "false"}
    assert decide(whole, facts=inside) is NONE
    assert decide(whole, facts={**inside, "aws:sourceip": "198.51.100.1"}) is DENY
    assert decide(whole, facts={"aws:viaawsservice": "false"}) is DENY


def test_home_folders() -> None:
    statements = [
        statement(
            Principal={"AWS": "*"},
            Action="s3:ListBucket",
            Resource=BUCKET,
            Condition={"StringLike": {"s3:prefix": ["", "home/", "home/${aws:username}/*"]}},
        ),
        statement(Action="s3:*", Resource=f"{BUCKET}/home/${{aws:username}}/*"),
    ]
    ann: dict[str, Any] = {"aws:username": "ann"}
    listing = {"action": "ListBucket", "resource": "photos"}
    for prefix in ("", "home/", "home/ann/", "home/ann/a/b"):
        assert decide(statements, facts={**ann, "s3:prefix": prefix}, **listing) is ALLOW
    for prefix in ("h", "home/bob/", "home/ann"):
        assert decide(statements, facts={**ann, "s3:prefix": prefix}, **listing) is NONE
    assert decide(statements, facts=ann, **listing) is NONE
    assert decide(statements, facts=ann, action="PutObject", resource="photos/home/ann/a") is ALLOW
    assert decide(statements, facts=ann, resource="photos/home/bob/a") is NONE
    assert decide(statements, NOBODY, resource="photos/home/ann/a") is NONE
