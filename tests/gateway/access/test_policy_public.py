"""Whether a policy is public, by S3's definition."""

from typing import Any

import pytest
from policy_kit import ANN, BUCKET, NEW, OBJECTS, OLD, policy, statement

from gateway.access.public import is_public

VPC = "aws:SourceVpc"
POINT = "arn:aws:s3:us-west-2:123456789012:accesspoint/"


def public(*statements: dict[str, Any], version: str | None = NEW) -> bool:
    return is_public(policy(*statements, version=version))


def conditioned(operator: str, key: str, value: Any, **elements: Any) -> dict[str, Any]:
    return statement(Action="s3:PutObject", Condition={operator: {key: value}}, **elements)


# -- whom -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("principal", "is_so"),
    [
        ("*", True),
        ({"AWS": "*"}, True),
        ({"AWS": ["*", ANN.id]}, True),
        ({"AWS": "*", "CanonicalUser": ANN.id}, True),
        ({"Federated": "graph.facebook.com"}, True),
        ({"AWS": ANN.id, "Federated": "graph.facebook.com"}, True),
        ({"AWS": ANN.id}, False),
        ({"AWS": [ANN.id, "123456789012"]}, False),
        ({"AWS": f"arn:aws:iam::{ANN.id}:root"}, False),
        ({"AWS": f"arn:aws:iam::{ANN.id}:user/{ANN.name}"}, False),
        ({"CanonicalUser": ANN.id}, False),
        ({"Service": "logging.s3.amazonaws.com"}, False),
    ],
    ids=str,
)
def test_by_whom_it_names(principal: Any, is_so: bool) -> None:
    assert public(statement(Principal=principal)) is is_so
    assert public(statement(Principal=principal, Action=None, NotAction="s3:GetObject")) is is_so
    assert public(statement(Principal=principal, Resource=f"{BUCKET}/one")) is is_so
    assert not public(statement(Principal=principal, Effect="Deny"))


def test_one_grant_makes_it_public() -> None:
    of_ann = statement(Principal={"AWS": ANN.id})
    of_all = statement()
    assert not public(of_ann, of_ann)
    assert public(of_ann, of_all)
    assert public(of_all, of_ann)


def test_denials_do_not_matter() -> None:
    denial = statement(Effect="Deny", Action="s3:*", Resource=[BUCKET, OBJECTS])
    assert not public(denial)
    assert public(statement(), denial)
    inverse = statement(Effect="Deny", Principal=None, NotPrincipal={"AWS": ANN.id})
    assert public(statement(), inverse)
    assert not public(statement(Principal={"AWS": ANN.id}), inverse)


# -- when -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("aws:PrincipalArn", f"arn:aws:iam::{ANN.id}:user/ann"),
        ("aws:PrincipalAccount", ANN.id),
        ("aws:PrincipalOrgID", "o-1"),
        ("aws:PrincipalOrgPaths", "o-1/r-1/"),
        ("aws:PrincipalServiceName", "logging.s3.amazonaws.com"),
        ("aws:SourceArn", "arn:aws:s3:::videos"),
        ("aws:SourceVpc", "vpc-91237329"),
        ("aws:SourceVpce", "vpce-1"),
        ("aws:SourceOwner", ANN.id),
        ("aws:SourceAccount", ANN.id),
        ("aws:SourceOrgID", "o-1"),
        ("aws:SourceOrgPaths", "o-1/r-1/"),
        ("aws:userid", ANN.id),
        ("s3:DataAccessPointArn", f"{POINT}one"),
        ("s3:DataAccessPointAccount", "123456789012"),
        ("s3:x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:e:1:key/1"),
    ],
)
def test_keys_that_narrow(key: str, value: str) -> None:
    operators = ["StringEquals", "StringEqualsIgnoreCase", "StringLike", "ForAnyValue:StringEquals"]
    if value.startswith("arn:"):
        operators += ["ArnEquals", "ArnLike"]
    for operator in operators:
        assert not public(conditioned(operator, key, value)), operator
        assert not public(conditioned(operator, key, [value, value])), operator
        for open_value in (value.replace(value[-1], "*"), f"{value}*", f"{value}?"):
            assert public(conditioned(operator, key, open_value)), (operator, open_value)
            assert public(conditioned(operator, key, [value, open_value])), operator
    assert public(conditioned("StringEquals", key, f"{value}${{aws:userid}}"))
    negated = ["StringNotEquals", "StringNotEqualsIgnoreCase", "StringNotLike"]
    for operator in (*negated, "StringEqualsIfExists", "ForAllValues:StringEquals"):
        assert public(conditioned(operator, key, value)), operator
    assert public(conditioned("Null", key, "false"))


@pytest.mark.parametrize(
    ("operator", "key", "value"),
    [
        ("StringEquals", "aws:Referer", "https://example.com/"),
        ("StringEquals", "aws:UserAgent", "ours"),
        ("StringEquals", "aws:username", "ann"),
        ("StringEquals", "aws:PrincipalType", "User"),
        ("StringEquals", "aws:PrincipalTag/team", "red"),
        ("StringEquals", "aws:RequestedRegion", "paris"),
        ("StringEquals", "s3:x-amz-acl", "private"),
        ("StringEquals", "s3:x-amz-server-side-encryption", "AES256"),
        ("StringEquals", "s3:authType", "REST-HEADER"),
        ("StringEquals", "aws:SourceIp", "203.0.113.7"),
        ("Bool", "aws:SecureTransport", "true"),
        ("Bool", "aws:PrincipalIsAWSService", "true"),
        ("IpAddress", "aws:VpcSourceIp", "10.0.0.1"),
        ("DateLessThan", "aws:CurrentTime", "2000-01-01"),
    ],
)
def test_keys_that_do_not_narrow(operator: str, key: str, value: str) -> None:
    assert public(conditioned(operator, key, value))


@pytest.mark.parametrize(
    ("values", "is_so"),
    [
        ("203.0.113.7", False),
        ("10.0.0.0/32", False),
        ("203.0.113.0/24", False),
        ("10.0.0.0/8", False),
        ("192.168.0.0/16", False),
        ("9.0.0.0/7", True),
        ("0.0.0.0/1", True),
        ("0.0.0.0/0", True),
        ("2001:db8::1", False),
        ("2001:db8::/32", False),
        ("2001:db8::/31", True),
        ("::/0", True),
        ("::ffff:203.0.113.0/104", False),
        ("::ffff:203.0.113.0/103", True),
        (["203.0.113.0/24", "2001:db8::/32"], False),
        (["203.0.113.0/24", "0.0.0.0/0"], True),
        ([], False),
    ],
    ids=str,
)
def test_networks(values: Any, is_so: bool) -> None:
    assert public(conditioned("IpAddress", "aws:SourceIp", values)) is is_so
    for operator in ("NotIpAddress", "IpAddressIfExists", "ForAllValues:IpAddress"):
        assert public(conditioned(operator, "aws:SourceIp", values)), operator


def test_one_narrow_condition_is_enough() -> None:
    condition = {
        "StringEquals": {"aws:Referer": "https://example.com/", VPC: "vpc-1"},
        "IpAddress": {"aws:SourceIp": "0.0.0.0/0"},
    }
    assert not public(statement(Condition=condition))
    del condition["StringEquals"][VPC]
    assert public(statement(Condition=condition))


def test_each_grant_must_be_narrow() -> None:
    narrow = conditioned("StringEquals", VPC, "vpc-1")
    wide = conditioned("StringLike", VPC, "vpc-*")
    assert not public(narrow, narrow)
    assert public(narrow, wide)


@pytest.mark.parametrize(
    ("key", "value", "is_so"),
    [
        ("aws:userid", "anonymous", True),
        ("aws:userid", "Anonymous", True),
        ("aws:userid", ["anonymous", ANN.id], True),
        ("aws:PrincipalAccount", "anonymous", True),
        ("aws:userid", "AROLEID:*", True),
        ("aws:userid", "AROAEXAMPLE:session", True),
        ("aws:userid", ANN.id, False),
        ("aws:SourceVpc", "anonymous", False),
        ("aws:SourceVpc", "a:b", False),
        ("s3:DataAccessPointArn", f"{POINT}*", False),
        ("s3:DataAccessPointArn", f"{POINT}a*", True),
        ("s3:DataAccessPointArn", "arn:aws:s3:*:123456789012:accesspoint/*", True),
        ("s3:DataAccessPointArn", "arn:aws:s3:us-west-2:*:accesspoint/*", True),
        ("s3:DataAccessPointArn", "*", True),
        ("aws:SourceArn", f"{POINT}*", True),
    ],
    ids=str,
)
def test_values_that_are_everybody_or_one(key: str, value: Any, is_so: bool) -> None:
    for operator in ("StringEquals", "StringLike", "StringEqualsIgnoreCase"):
        assert public(conditioned(operator, key, value)) is is_so


@pytest.mark.parametrize("version", [NEW, OLD, None])
def test_variables_are_not_fixed(version: str | None) -> None:
    """Though they are no variables in the old version, S3 does not tell them apart."""
    one = conditioned("StringEquals", VPC, "${aws:PrincipalTag/vpc}")
    assert public(one, version=version)
    fixed = conditioned("StringEquals", VPC, "$aws:PrincipalTag/vpc")
    assert not public(fixed, version=version)


def test_the_examples_of_the_guide() -> None:
    one = statement(Action="s3:PutObject")
    assert public({**one, "Principal": {"Federated": "graph.facebook.com"}})
    assert public(one)
    assert public({**one, "Condition": {"StringLike": {VPC: "vpc-*"}}})
    assert not public({**one, "Condition": {"StringEquals": {VPC: "vpc-91237329"}}})
