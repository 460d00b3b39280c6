"""What docs/access.md says of policies: every key and operator is there, and the examples hold."""

import re
from pathlib import Path
from typing import Any

import pytest
from policy_kit import ALLOW, ANN, BOB, DENY, LOGS, NOBODY, NONE, Facts

from gateway.access.condition_keys import EXISTING_TAG, GLOBAL, OF_S3, REQUEST_TAG, normal_key
from gateway.access.facts import FACTS, TAG_KEYS
from gateway.access.operators import OPERATORS
from gateway.access.policy import Verdict, compile_policy
from gateway.access.principals import Caller
from gateway.limits import (
    POLICY_BYTES_MAX,
    POLICY_SEARCHES_MAX,
    POLICY_SPACE_BYTES_MAX,
    POLICY_WILD_ACTIONS_MAX,
)

PAGE = (Path(__file__).parents[3] / "docs" / "access.md").read_text()
OF_TAGS = {"aws:principaltag/", "aws:requesttag/", "aws:resourcetag/"}
SAID_BY_LOGS = {"aws:sourceaccount", "aws:sourcearn"}


def section(title: str) -> str:
    """What stands below a heading, up to the next one like it."""
    found = re.search(rf"^(#+) {re.escape(title)}\n", PAGE, re.MULTILINE)
    assert found is not None, title
    return re.split(rf"^#{{1,{len(found[1])}}} ", PAGE[found.end() :], flags=re.MULTILINE)[0]


def keys(text: str) -> list[str]:
    """The condition keys in backticks, as facts are asked for them."""
    found = re.findall(r"`((?:aws|s3):[A-Za-z0-9/-]+)`", text)
    return [key.lower().removesuffix("key") if "/" in key else key.lower() for key in found]


def test_each_key_stands_in_one_of_the_lists() -> None:
    rows = re.findall(r"^\| (`.*?) \|", section("Keys with values"), re.MULTILINE)
    valued = keys(" ".join(rows))
    without = keys(section("Keys without values").partition("\n\n")[2])
    assert not set(valued) & set(without)
    assert len(set(valued + without)) == len(valued + without)
    assert set(valued + without) == {*OF_S3, *GLOBAL, *OF_TAGS}
    assert all(normal_key(f"{key}x" if key.endswith("/") else key) for key in valued + without)


def test_which_keys_have_values() -> None:
    """Whether they are looked up at all."""
    rows = re.findall(r"^\| (`.*?) \|", section("Keys with values"), re.MULTILINE)
    looked_up = {*FACTS, TAG_KEYS, EXISTING_TAG, REQUEST_TAG}
    assert set(keys(" ".join(rows))) == looked_up | SAID_BY_LOGS


def test_each_operator_is_there() -> None:
    rows = re.findall(r"^\| (`.*?) \|", section("Conditions"), re.MULTILINE)
    operators = re.findall(r"`([A-Z][A-Za-z]+)`", " ".join(rows))
    assert sorted(operators) == sorted([*OPERATORS, "Null"])


def test_the_limits_are_those() -> None:
    numbers = re.findall(r"\| (\d+)(?: KiB)? \|$", section("Limits"), re.MULTILINE)
    limits = [POLICY_BYTES_MAX >> 10, POLICY_SPACE_BYTES_MAX >> 10]
    limits += [POLICY_SEARCHES_MAX, POLICY_WILD_ACTIONS_MAX]
    assert list(map(int, numbers)) == limits


Asked = tuple[Caller, str, str, dict[str, Any], Verdict]
TLS = {"aws:securetransport": "true"}
HTTP = {"aws:securetransport": "false"}
INSIDE = {"aws:sourceip": "192.0.2.9"}
OUTSIDE = {"aws:sourceip": "198.51.100.9"}
OF_ANN = {"aws:username": ANN.name}
EXAMPLES: dict[str, list[Asked]] = {
    "Everybody may read what is below public/": [
        (NOBODY, "GetObject", "photos/public/a", {}, ALLOW),
        (BOB, "GetObject", "photos/public/a/b", {}, ALLOW),
        (NOBODY, "GetObject", "photos/private/a", {}, NONE),
        (NOBODY, "PutObject", "photos/public/a", {}, NONE),
        (NOBODY, "ListBucket", "photos", {}, NONE),
    ],
    "Another user may read all of it": [
        (BOB, "GetObject", "photos/a", {}, ALLOW),
        (BOB, "GetObjectVersion", "photos/a", {}, ALLOW),
        (BOB, "ListBucket", "photos", {}, ALLOW),
        (BOB, "PutObject", "photos/a", {}, NONE),
        (BOB, "GetBucketAcl", "photos", {}, NONE),
        (NOBODY, "GetObject", "photos/a", {}, NONE),
        (LOGS, "GetObject", "photos/a", {}, NONE),
    ],
    "Each user has a folder of their own": [
        (ANN, "PutObject", f"photos/home/{ANN.name}/a", OF_ANN, ALLOW),
        (ANN, "PutObject", f"photos/home/{BOB.name}/a", OF_ANN, NONE),
        (ANN, "ListBucket", "photos", {**OF_ANN, "s3:prefix": f"home/{ANN.name}/"}, ALLOW),
        (ANN, "ListBucket", "photos", {**OF_ANN, "s3:prefix": "home/"}, NONE),
        (ANN, "ListBucket", "photos", OF_ANN, NONE),
        (NOBODY, "GetObject", "photos/home//a", {}, NONE),
    ],
    "Nothing without TLS": [
        (ANN, "GetObject", "photos/a", HTTP, DENY),
        (ANN, "ListBucket", "photos", HTTP, DENY),
        (ANN, "GetObject", "photos/a", TLS, NONE),
    ],
    "Only from a network": [
        (ANN, "GetObject", "photos/a", OUTSIDE, DENY),
        (ANN, "DeleteBucket", "photos", OUTSIDE, DENY),
        (ANN, "GetObject", "photos/a", {"aws:sourceip": "2001:db9::1"}, DENY),
        (ANN, "GetObject", "photos/a", {"aws:sourceip": "2001:db8::1"}, NONE),
        (ANN, "GetObject", "photos/a", INSIDE, NONE),
        (LOGS, "PutObject", "photos/a", {}, NONE),
    ],
    "By tags": [
        (NOBODY, "GetObject", "photos/a", {"s3:existingobjecttag/visibility": "public"}, ALLOW),
        (NOBODY, "GetObject", "photos/a", {"s3:existingobjecttag/visibility": "ours"}, NONE),
        (NOBODY, "GetObject", "photos/a", {}, NONE),
        (ANN, "PutObjectTagging", "photos/a", {"s3:requestobjecttag/a": "b"}, DENY),
        (ANN, "PutObjectTagging", "photos/a", {"s3:requestobjecttag/project": "b"}, NONE),
        (ANN, "PutObject", "photos/a", {}, NONE),
    ],
    "Short-lived presigned URLs only": [
        (
            *(ANN, "GetObject", "photos/a"),
            {"s3:authtype": "REST-QUERY-STRING", "s3:signatureage": "600001"},
            DENY,
        ),
        (
            *(ANN, "GetObject", "photos/a"),
            {"s3:authtype": "REST-QUERY-STRING", "s3:signatureage": "600000"},
            NONE,
        ),
        (
            *(ANN, "GetObject", "photos/a"),
            {"s3:authtype": "REST-HEADER", "s3:signatureage": "700000"},
            NONE,
        ),
    ],
}


def test_each_example_is_tested() -> None:
    assert re.findall(r"^#### (.*)", section("Examples"), re.MULTILINE) == list(EXAMPLES)


@pytest.mark.parametrize("title", EXAMPLES)
def test_examples(title: str) -> None:
    found = re.search(r"```json\n(.*?)```", section(title), re.DOTALL)
    assert found is not None
    policy = compile_policy(found[1], "photos")
    for caller, action, resource, facts, verdict in EXAMPLES[title]:
        asked = (action, resource, facts)
        assert policy.decide(caller, action, resource, Facts(facts)) is verdict, asked
