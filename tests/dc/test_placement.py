"""Rules as they are stored, and what follows from them."""

import json
from typing import Any

import pytest

from dc.names.model import Bucket, Register
from dc.placement import REPLICATION, elsewhere, is_elsewhere, placement, placement_in


def rule(to: str, **more: Any) -> dict[str, Any]:
    return {"Status": "Enabled", "Destination": {"Bucket": f"arn:farshore:dc:::{to}"}} | more


def rules(*given: dict[str, Any]) -> str:
    return json.dumps({"Role": "", "Rules": given})


def bucket(**registers: str) -> Bucket:
    set_at = {name: Register("0" * 32, value) for name, value in registers.items()}
    return Bucket(id="b", name="photos", owner="o", region="eu", created="1", registers=set_at)


def test_without_rules_everything_goes_everywhere() -> None:
    assert placement(None) is None
    assert placement(bucket()) is None
    assert placement(bucket(**{REPLICATION: ""})) is None


def test_bytes_go_where_an_enabled_rule_of_a_prefix_sends_them() -> None:
    text = rules(
        rule("paris"),
        rule("tokyo", Filter={"Prefix": "raw/"}),
        rule("oslo", Prefix="raw/x"),
        rule("rome", Filter={"And": {"Prefix": "doc/"}}),
        rule("lima", Status="Disabled"),
    )
    found = placement(bucket(**{REPLICATION: text}))
    assert found is not None
    assert found.holders("a") == ["paris"]
    assert found.holders("raw/1") == ["paris", "tokyo"]
    assert found.holders("raw/x1") == ["oslo", "paris", "tokyo"]
    assert found.holders("doc/") == ["paris", "rome"]
    assert found.holds("tokyo", "raw/1") and not found.holds("tokyo", "raw")
    assert not found.holds("lima", "a")


def test_the_prefixes_of_a_datacenter_do_not_overlap() -> None:
    text = rules(*(rule("tokyo", Prefix=prefix) for prefix in ("b", "a/b", "a/", "bb", "c")))
    found = placement_in(text)
    assert found is not None
    assert found.prefixes("tokyo") == ("a/", "b", "c")
    assert found.prefixes("paris") == ()


@pytest.mark.parametrize(
    "given",
    [{"Filter": {"Tag": {"Key": "k", "Value": "v"}}}, {"Filter": {"And": {"Tags": [{}]}}}],
    ids=["tag", "tags"],
)
def test_a_rule_for_tags_sends_nothing(given: dict[str, Any]) -> None:
    found = placement_in(rules(rule("tokyo", **given)))
    assert found is not None
    assert found.holders("k") == []


@pytest.mark.parametrize("text", ["{", "[]", '{"Rules": 3}', '{"Rules": [{"Status": 1}]}', "null"])
def test_what_cannot_be_read_sends_nothing(text: str) -> None:
    found = placement_in(text)
    assert found is not None
    assert found.rules == []


def test_bodies_that_are_elsewhere_are_told_from_others() -> None:
    assert is_elsewhere(elsewhere(7))
    assert sum(extent.length for extent in elsewhere(7)) == 7
    assert not is_elsewhere([])
