"""What may stand in a policy: what is malformed, with which message, and how large it may be."""

import json
from typing import Any

import pytest
from policy_kit import (
    ALLOW,
    ANN,
    BUCKET,
    NEW,
    OBJECTS,
    OLD,
    Facts,
    decide,
    document,
    policy,
    refusal,
    statement,
)

from gateway.access.policy import compile_policy
from gateway.errors import S3Error
from gateway.limits import (
    POLICY_BYTES_MAX,
    POLICY_SEARCHES_MAX,
    POLICY_SPACE_BYTES_MAX,
    POLICY_WILD_ACTIONS_MAX,
)
from gateway.model.matching import BUCKET as BUCKET_SCOPE
from gateway.model.matching import OBJECT
from gateway.operations import ROWS

SYNTAX = "Invalid policy syntax."
JSON = "This policy contains invalid Json"
FIRST = "Policies must be valid JSON and the first byte must be '{'"
VERSION = "The policy must contain a valid version string"
EMPTY = "Could not parse the policy: Statement is empty!"
PRINCIPAL = "Invalid principal in policy"
ACTION = "Policy has invalid action"
RESOURCE = "Policy has invalid resource"
KEY = "Policy has an invalid condition key"
NOT_APPLIED = "Action does not apply to any resource(s) in statement"
NOT_COMBINED = "Conditions do not apply to combination of actions and resources in statement"
TOO_LARGE = "Normalized policy document exceeds the maximum allowed size of 20480 bytes"
UNKNOWN = "Unknown field"


def allowed(**elements: Any) -> str:
    """The message with which a policy of one statement is refused."""
    return refusal(document(statement(**elements)))


def conditioned(operator: str, key: str, value: Any, **elements: Any) -> str:
    return allowed(Condition={operator: {key: value}}, **elements)


# -- documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", FIRST),
        ("[]", FIRST),
        (' {"Statement": []}', FIRST),
        ("\ufeff{}", FIRST),
        ("null", FIRST),
        ("{", JSON),
        ("{}}", JSON),
        ("{} {}", JSON),
        ("{'Statement': []}", JSON),
        ('{"Version": NaN}', JSON),
        ('{"Version": -Infinity}', JSON),
        ('{"Id": "a\nb"}', JSON),
        ('{"Id": "\\ud800"}', JSON),
        ('{"Id": "a", "Id": "b"}', JSON),
        ('{"Statement": [{"Effect": "Allow", "Effect": "Deny"}]}', JSON),
        ('{"Statement": [{"Condition": {"Bool": {}, "Bool": {}}}]}', JSON),
        ("{}", "Missing required field Statement"),
        ('{"Id": 1}', SYNTAX),
        ('{"Id": null}', SYNTAX),
        ('{"Statement": []}', EMPTY),
        ('{"Statement": null}', SYNTAX),
        ('{"Statement": "Allow"}', SYNTAX),
        ('{"Statement": [[]]}', SYNTAX),
        ('{"Version": "2012-10-18", "Statement": []}', VERSION),
        ('{"Version": "", "Statement": []}', VERSION),
        ('{"Version": null, "Statement": []}', VERSION),
        ('{"Version": 2012, "Statement": []}', VERSION),
        ('{"Version": ["2012-10-17"], "Statement": []}', VERSION),
        ('{"version": "2012-10-17"}', f"{UNKNOWN} version"),
        ('{"Statements": []}', f"{UNKNOWN} Statements"),
        (json.dumps({"x" * 200: 1}), f"{UNKNOWN} {'x' * 100}"),
    ],
)
def test_a_document_that_is_none(text: str, message: str) -> None:
    assert refusal(text) == message


def test_what_a_document_may_be() -> None:
    one = statement()
    for version in (NEW, OLD, None):
        assert not refusal(document(one, version=version))
    assert not refusal(document(one, one, {**one, "Sid": "third, with spaces"}))
    assert not refusal(json.dumps({"Id": "", "Statement": one, "Version": OLD}))
    assert not refusal(json.dumps({"Statement": [one]}, indent=4))


def test_the_message_is_an_error_document() -> None:
    with pytest.raises(S3Error) as refused:
        compile_policy('{"\\u0000<b>": 1}', "photos")
    assert b"Unknown field" in refused.value.to_xml("1", "/photos")
    assert b"<b>" not in refused.value.to_xml("1", "/photos")


# -- statements -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"Effect": None}, "Missing required field Effect"),
        ({"Principal": None}, "Missing required field Principal"),
        ({"Action": None}, "Missing required field Action"),
        ({"Resource": None}, "Missing required field Resource"),
        ({"Action": []}, "Missing required field Action"),
        ({"Resource": []}, "Missing required field Resource"),
        ({"Effect": "allow"}, "Invalid effect: allow"),
        ({"Effect": ""}, "Invalid effect: "),
        ({"Effect": True}, SYNTAX),
        ({"Effect": ["Allow"]}, SYNTAX),
        ({"Effect": 1}, SYNTAX),
        ({"Sid": 1}, SYNTAX),
        ({"Sid": ["a"]}, SYNTAX),
        ({"effect": "Allow"}, f"{UNKNOWN} effect"),
        ({"Conditions": {}}, f"{UNKNOWN} Conditions"),
        ({"Action": 1}, SYNTAX),
        ({"Action": ["s3:GetObject", 1]}, SYNTAX),
        ({"Action": {"s3:GetObject": 1}}, SYNTAX),
        ({"Resource": [[OBJECTS]]}, SYNTAX),
        ({"Resource": True}, SYNTAX),
        ({"NotPrincipal": "*"}, "Statement/policy already has instance of Principal"),
        ({"NotAction": "s3:*"}, "Statement/policy already has instance of Action"),
        ({"NotResource": OBJECTS}, "Statement/policy already has instance of Resource"),
        (
            {"Principal": None, "NotPrincipal": {"AWS": ANN.id}},
            "Allow with NotPrincipal is not allowed.",
        ),
    ],
)
def test_a_statement_that_is_none(elements: dict[str, Any], message: str) -> None:
    assert allowed(**elements) == message


def test_every_statement_is_looked_at() -> None:
    assert refusal(document(statement(), statement(Effect="Perhaps"))) == "Invalid effect: Perhaps"


@pytest.mark.parametrize(
    "principal",
    [
        "",
        "AWS",
        ANN.id,
        [],
        ["*"],
        {},
        1,
        True,
        {"aws": "*"},
        {"AWS": []},
        {"AWS": 1},
        {"AWS": {"AWS": "*"}},
        {"AWS": ["*", None]},
        {"AWS": ""},
        {"AWS": "ann@example.org"},
        {"AWS": "a" * 63},
        {"AWS": "A" * 64},
        {"AWS": "12345678901"},
        {"AWS": f"{ANN.id}*"},
        {"AWS": "arn:aws:iam::*:root"},
        {"AWS": f"arn:aws:iam::{ANN.id}:*"},
        {"AWS": f"arn:aws:iam::{ANN.id}:user/*"},
        {"AWS": f"arn:aws:iam::{ANN.id}:user/ann?"},
        {"AWS": f"arn:aws:iam::{ANN.id}:user/"},
        {"AWS": "arn:aws:iam:::root"},
        {"AWS": "arn:aws:iam:::user/ann"},
        {"AWS": f"arn:aws:iam::{ANN.id}:role/reader"},
        {"AWS": f"arn:aws:sts::{ANN.id}:assumed-role/reader/ann"},
        {"AWS": f"arn:aws-cn:iam::{ANN.id}:root"},
        {"AWS": f"arn:aws:iam::{ANN.id}:root\n"},
        {"CanonicalUser": "*"},
        {"CanonicalUser": "a" * 63},
        {"CanonicalUser": "123456789012"},
        {"CanonicalUser": f"arn:aws:iam::{ANN.id}:root"},
        {"Service": "*"},
        {"Service": "logging"},
        {"Service": "*.amazonaws.com"},
        {"Federated": "*"},
        {"Federated": ""},
        {"AWS": "*", "User": ANN.id},
    ],
    ids=str,
)
def test_a_principal_that_is_none(principal: Any) -> None:
    assert allowed(Principal=principal) == PRINCIPAL
    assert allowed(Effect="Deny", Principal=None, NotPrincipal=principal) == PRINCIPAL


@pytest.mark.parametrize(
    "principal",
    [
        "*",
        {"AWS": "*"},
        {"AWS": ["*"]},
        {"AWS": ["*", "123456789012"]},
        {"AWS": ANN.id},
        {"AWS": "123456789012"},
        {"AWS": "arn:aws:iam::123456789012:root"},
        {"AWS": "arn:aws:iam::123456789012:user/ann"},
        {"AWS": "arn:aws:iam::some_tenant-1:root"},
        {"AWS": f"arn:aws:iam::{ANN.id}:root"},
        {"AWS": f"arn:aws:iam::{ANN.id}:user/ann@example.org"},
        {"AWS": f"arn:aws:iam::{ANN.id}:user/a/path/ann"},
        {"AWS": f"arn:aws:iam:::user/{ANN.id}"},
        {"AWS": "arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity E1"},
        {"CanonicalUser": [ANN.id, "b" * 64]},
        {"Service": "logging.s3.amazonaws.com"},
        {"Federated": "graph.facebook.com"},
        {"AWS": ANN.id, "CanonicalUser": ANN.id, "Service": ["a.b"], "Federated": ["a"]},
    ],
    ids=str,
)
def test_what_a_principal_may_be(principal: Any) -> None:
    assert not allowed(Principal=principal)


@pytest.mark.parametrize(
    "action",
    [
        "",
        "GetObject",
        "s3:",
        "s3:GetObjects",
        "s3:HeadObject",
        "s3: GetObject",
        "s3:GetObject ",
        "ec2:*",
        "*:*",
        "**",
        "*Object",
        "s3:Got*",
        "s3:GetObjectAcl?",
        "s3express:*",
    ],
)
def test_an_action_that_is_none(action: str) -> None:
    assert allowed(Action=action) == ACTION
    assert allowed(Action=["s3:GetObject", action]) == ACTION
    assert allowed(Action=None, NotAction=action) == ACTION


@pytest.mark.parametrize(
    "action", ["*", "s3:*", "S3:getobject", "s3:Get*", "s3:?et*", "s3:*Object*", "s3:**"]
)
def test_what_an_action_may_be(action: str) -> None:
    assert not allowed(Action=action)


def test_every_operation_can_be_named() -> None:
    """By its own resource alone. What many keys are deleted by is the action on each of them."""
    for row in ROWS:
        for action in {row.action, row.version_action}:
            of_object = row.scope == OBJECT or row.name == "DeleteObjects"
            right, wrong = (OBJECTS, BUCKET) if of_object else (BUCKET, OBJECTS)
            fits = row.scope in (BUCKET_SCOPE, OBJECT)
            assert allowed(Action=f"s3:{action}", Resource=right) == ("" if fits else NOT_APPLIED)
            assert allowed(Action=f"s3:{action}", Resource=wrong) == NOT_APPLIED


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "*",
        "photos",
        "photos/*",
        "arn:aws:s3:::",
        "arn:aws:s3:::videos",
        "arn:aws:s3:::videos/*",
        "arn:aws:s3:::photo",
        "arn:aws:s3:::photos2/*",
        "arn:aws:s3:::photo/s",
        "arn:aws:s3:::photo?s/*",
        "arn:aws:s3:::x*/*",
        "arn:aws:s3:eu-west-1::photos/*",
        "arn:aws:s3:::PHOTOS/*",
        "arn:aws-cn:s3:::photos/*",
        "ARN:aws:s3:::photos/*",
        " arn:aws:s3:::photos/*",
        "arn:aws:s3:::photos/${aws:nonsense}",
        "arn:aws:s3:::photos/${}",
        "arn:aws:s3:::videos/${aws:username}",
    ],
)
def test_a_resource_that_is_none(resource: str) -> None:
    assert allowed(Action="*", Resource=resource) == RESOURCE
    assert allowed(Action="*", Resource=[OBJECTS, resource]) == RESOURCE
    assert allowed(Resource=None, NotResource=resource) == RESOURCE


@pytest.mark.parametrize(
    "resource",
    [
        OBJECTS,
        "arn:aws:s3:::*",
        "arn:aws:s3:::*/*",
        "arn:aws:s3:::p*/?",
        "arn:aws:s3:::phot*",
        "arn:aws:s3:::?hotos/a*b",
        "arn:aws:s3:::photos*",
        "arn:aws:s3:::photos/${aws:username}/*",
        "arn:aws:s3:::${aws:username}/*",
        "arn:aws:s3:::photos/$*{}",
        f"{BUCKET}/a/very/long/{'k' * 1024}",
    ],
)
def test_what_a_resource_may_be(resource: str) -> None:
    assert not allowed(Resource=resource)


@pytest.mark.parametrize(
    ("action", "resource", "message"),
    [
        ("s3:GetObject", BUCKET, NOT_APPLIED),
        ("s3:ListBucket", OBJECTS, NOT_APPLIED),
        ("s3:ListAllMyBuckets", [BUCKET, OBJECTS], NOT_APPLIED),
        (["s3:GetObject", "s3:ListBucket"], OBJECTS, NOT_APPLIED),
        (["s3:GetObject", "s3:ListBucket"], BUCKET, NOT_APPLIED),
        ("s3:GetBucket*", OBJECTS, NOT_APPLIED),
        (["s3:GetObject", "s3:ListBucket"], [BUCKET, OBJECTS], ""),
        ("s3:ListBucket", "arn:aws:s3:::phot*", ""),
        ("s3:GetObject", "arn:aws:s3:::phot*", ""),
        ("s3:Get*", BUCKET, ""),
        ("s3:Get*", OBJECTS, ""),
        ("s3:*", OBJECTS, ""),
    ],
)
def test_actions_must_fit_resources(action: Any, resource: Any, message: str) -> None:
    assert allowed(Action=action, Resource=resource) == message
    assert allowed(Effect="Deny", Action=action, Resource=resource) == message
    assert not allowed(Action=None, NotAction=action, Resource=resource)
    assert not allowed(Action=action, Resource=None, NotResource=resource)


# -- conditions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operator",
    [
        "",
        "Equals",
        "stringequals",
        "StringMatches",
        "StringEquals ",
        "ForAll:StringEquals",
        "ForAllValues:",
        "forallvalues:StringEquals",
        "ForAllValues:Null",
        "ForAllValues:ForAnyValue:StringEquals",
        "NullIfExists",
        "NotNull",
        "NotBool",
        "IfExists",
        "StringEqualsIfexists",
        "StringEqualsIfExistsIfExists",
        "NumericNotLessThan",
        "BinaryNotEquals",
    ],
)
def test_an_operator_that_is_none(operator: str) -> None:
    message = f"Invalid Condition type : {operator}"
    assert conditioned(operator, "aws:userid", "true") == message


@pytest.mark.parametrize(
    "key",
    [
        "",
        "aws",
        "userid",
        "aws:",
        "aws:user",
        "aws:userid/",
        "aws:userid/ann",
        "s3:ExistingObjectTag",
        "s3:ExistingObjectTag/",
        "aws:PrincipalTag",
        "s3:x-amz-meta-color",
        "ec2:Region",
        "s3:prefix ",
        "*",
        "aws:*",
    ],
)
def test_a_key_that_is_none(key: str) -> None:
    assert conditioned("StringEquals", key, "a") == KEY


@pytest.mark.parametrize(
    "condition",
    [
        None,
        [],
        "",
        [{"StringEquals": {}}],
        {"StringEquals": []},
        {"StringEquals": "aws:userid"},
        {"StringEquals": {"aws:userid": None}},
        {"StringEquals": {"aws:userid": {}}},
        {"StringEquals": {"aws:userid": [["a"]]}},
        {"StringEquals": {"aws:userid": ["a", None]}},
    ],
    ids=str,
)
def test_a_condition_that_is_none(condition: Any) -> None:
    whole = {**statement(), "Condition": condition}
    assert refusal(document(whole)) == SYNTAX


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"StringEquals": {}},
        {"StringEquals": {"AWS:UserID": []}},
        {"StringEquals": {"aws:userid": ["a", 1, True, 1.5]}},
        {"ForAnyValue:StringNotEqualsIgnoreCaseIfExists": {"aws:userid": "a"}},
        {"StringEquals": {"aws:PrincipalTag/a/b": "c"}},
        {"Null": {"aws:userid": [True, "false"]}},
        {"Bool": {"aws:SecureTransport": False}},
    ],
    ids=str,
)
def test_what_a_condition_may_be(condition: Any) -> None:
    assert not allowed(Condition=condition)


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("NumericEquals", ""),
        ("NumericEquals", "ten"),
        ("NumericEquals", " 10"),
        ("NumericEquals", "0x10"),
        ("NumericEquals", "1e1000"),
        ("NumericEquals", "1_000"),
        ("NumericEquals", "inf"),
        ("NumericEquals", "٣"),
        ("NumericEquals", "${aws:epochtime}"),
        ("NumericEquals", ["10", "1*"]),
        ("DateEquals", ""),
        ("DateEquals", "yesterday"),
        ("DateEquals", "2024-13-01"),
        ("DateEquals", "2024-*"),
        ("DateEquals", "${aws:currenttime}"),
        ("Bool", ""),
        ("Bool", "1"),
        ("Bool", "yes"),
        ("Null", ""),
        ("Null", "no"),
        ("BinaryEquals", "a"),
        ("BinaryEquals", "YQ=="[:3]),
        ("BinaryEquals", "Y Q=="),
        ("BinaryEquals", "\x80"),
        ("IpAddress", ""),
        ("IpAddress", "localhost"),
        ("IpAddress", "10"),
        ("IpAddress", "10.0.0.*"),
        ("IpAddress", "10.0.0.0/33"),
        ("IpAddress", "10.0.0.0/255.0.0.0"),
        ("IpAddress", "10.0.0"),
        ("IpAddress", "fe80::1%eth0"),
        ("IpAddress", "::/129"),
        ("ArnEquals", ""),
        ("ArnEquals", "*"),
        ("ArnEquals", "arn:aws:s3"),
        ("ArnLike", "arn:aws:iam::*"),
        ("StringEquals", "${aws:nonsense}"),
        ("StringLike", "${}"),
        ("StringLike", "${aws:username, anonymous}"),
        ("StringLike", "${aws:username,'a'b'}"),
    ],
)
def test_a_value_that_an_operator_cannot_have(operator: str, value: Any) -> None:
    message = f"Invalid value in Conditions for {operator} : aws:userid"
    assert conditioned(operator, "aws:userid", value) == message


@pytest.mark.parametrize(
    ("key", "action", "message"),
    [
        ("s3:prefix", "s3:GetObject", NOT_COMBINED),
        ("s3:prefix", ["s3:ListBucket", "s3:GetBucketAcl"], NOT_COMBINED),
        ("s3:prefix", ["s3:ListBucket", "s3:ListBucketVersions"], ""),
        ("s3:prefix", "s3:List*", ""),
        ("s3:x-amz-acl", "s3:GetObject", NOT_COMBINED),
        ("s3:x-amz-acl", "s3:PutObject", ""),
        ("s3:ExistingObjectTag/a", "s3:PutObject", NOT_COMBINED),
        ("s3:ExistingObjectTag/a", "s3:GetObject", ""),
        ("s3:RequestObjectTag/a", "s3:GetObject", NOT_COMBINED),
        ("s3:RequestObjectTag/a", "s3:PutObjectTagging", ""),
        ("s3:VersionId", "s3:GetObject", NOT_COMBINED),
        ("s3:VersionId", "s3:GetObjectVersion", ""),
        ("s3:object-lock-mode", "s3:GetObject", NOT_COMBINED),
        ("s3:authType", "s3:GetObject", ""),
        ("aws:SourceVpc", "s3:GetObject", ""),
        ("s3:prefix", "s3:*", ""),
    ],
)
def test_conditions_must_fit_actions(key: str, action: Any, message: str) -> None:
    resources = [BUCKET, OBJECTS]
    assert conditioned("StringEquals", key, "a", Action=action, Resource=resources) == message


def test_conditions_must_fit_resources() -> None:
    assert conditioned("StringEquals", "s3:prefix", "a", Action="s3:*") == NOT_COMBINED
    assert not conditioned("StringEquals", "s3:prefix", "a", Action="s3:*", Resource=BUCKET)


# -- limits ---------------------------------------------------------------------------------------


def sized(size: int, **how: Any) -> str:
    """A document of so many bytes."""
    whole = {"Version": NEW, "Id": "", "Statement": [statement()]}
    whole["Id"] = "x" * (size - len(json.dumps(whole, separators=(",", ":"))))
    return json.dumps(whole, **how)


def test_a_document_has_20_kilobytes() -> None:
    tight = {"separators": (",", ":")}
    assert len(sized(POLICY_BYTES_MAX, **tight)) == POLICY_BYTES_MAX == 20 << 10
    assert not refusal(sized(POLICY_BYTES_MAX, **tight))
    assert refusal(sized(POLICY_BYTES_MAX + 1, **tight)) == TOO_LARGE
    assert not refusal(sized(POLICY_BYTES_MAX, indent=8))
    assert refusal(sized(POLICY_BYTES_MAX + 1, indent=8)) == TOO_LARGE


def test_bytes_are_counted_and_not_characters() -> None:
    text = sized(POLICY_BYTES_MAX, separators=(",", ":")).replace("x" * 100, "é" * 50)
    assert not refusal(text)
    assert refusal(text.replace("éx", "éé")) == TOO_LARGE


def test_white_space_has_an_end() -> None:
    text = document(statement())
    assert not refusal(text.ljust(POLICY_SPACE_BYTES_MAX))
    assert refusal(text.ljust(POLICY_SPACE_BYTES_MAX + 1)) == TOO_LARGE


@pytest.mark.parametrize("depth", [1_000, 10_000])
def test_depth_is_refused(depth: int) -> None:
    assert refusal('{"Statement":' + "[" * depth) == JSON
    assert refusal('{"a":' * depth) == JSON
    assert refusal('{"Statement":' + "[" * depth + "]" * depth + "}") in (JSON, SYNTAX)


def test_patterns_that_must_be_searched_are_few() -> None:
    def searching(count: int) -> str:
        values = [f"*{n}?x*" for n in range(count - 1)]
        arn = f"arn:aws:s3:::photos{'/*?*' if count else ''}"
        return conditioned("StringLike", "aws:userid", values, Resource=arn)

    assert not searching(POLICY_SEARCHES_MAX)
    assert searching(POLICY_SEARCHES_MAX + 1) == (
        "The policy has more than 8 patterns with a '?' between two '*'"
    )
    forms = ("?*?{}", "a?b{}*", "*a?b{}", "*a*b{}", "a?b{}")
    others = [form.format(n) for form in forms for n in range(40)]
    assert not conditioned("StringLike", "aws:userid", others)
    arns = [f"arn:aws:s3:::*{n}?*" for n in range(POLICY_SEARCHES_MAX + 1)]
    assert conditioned("ArnLike", "aws:SourceArn", arns)
    assert not conditioned("StringEquals", "aws:userid", arns)
    several = [statement(Resource="arn:aws:s3:::photos/*?*")] * POLICY_SEARCHES_MAX
    assert not refusal(document(*several))
    assert refusal(document(*several, several[0]))


def test_patterns_of_actions_are_few() -> None:
    names = ["s3:Get*", "s3:?utObject"] * (POLICY_WILD_ACTIONS_MAX // 2)
    message = "The policy has more than 256 patterns of actions"
    assert not allowed(Action=names)
    assert allowed(Action=[*names, "s3:*"]) == message
    assert allowed(Action=None, NotAction=[*names, "*"]) == message
    half = statement(Action=names[: POLICY_WILD_ACTIONS_MAX // 2])
    assert not refusal(document(half, half))
    assert refusal(document(half, half, statement(Action="s3:*"))) == message
    assert not allowed(Action=["s3:GetObject", "s3:PutObject"] * POLICY_WILD_ACTIONS_MAX)


# -- what a policy says of itself -----------------------------------------------------------------


def test_which_statements_grant() -> None:
    whole = policy(statement(Sid="a"), statement(Effect="Deny"), statement(Action="s3:*"))
    assert [one.allows for one in whole.grants] == [True, True]
    assert not policy(statement(Effect="Deny")).grants


def test_the_old_version_has_no_variables() -> None:
    """What would be none in the new one is text there."""
    text = "arn:aws:s3:::photos/${aws:nonsense}"
    assert refusal(document(statement(Resource=text))) == RESOURCE
    for version in (OLD, None):
        assert decide(statement(Resource=text), version=version, resource=text[13:]) is ALLOW


def test_a_policy_is_of_its_bucket() -> None:
    text = document(statement(Resource="arn:aws:s3:::*"))
    of_videos = compile_policy(text, "videos")
    assert of_videos.decide(ANN, "GetObject", "videos/a", Facts()) is ALLOW
    with pytest.raises(S3Error):
        compile_policy(document(statement()), "videos")
