"""Patterns of policies: they match as a simple matcher does, and in no more time than is needed."""

import json
import time
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_kit import ANN, BUCKET, NEW, OBJECTS, Facts, statement

from gateway.access.patterns import Glob, Pattern, Wild, parse_pattern
from gateway.access.policy import Policy, Verdict, compile_policy
from gateway.limits import POLICY_BYTES_MAX
from gateway.limits import POLICY_SEARCHES_MAX as SEARCHES

NONE = Facts()


def compiled(text: str, *, variables: bool = False) -> Pattern:
    return Pattern(parse_pattern(text, wildcards=True, variables=variables))


def simply(pattern: str, text: str) -> bool:
    """What a pattern matches, by the definition."""

    @cache
    def fits(at: int, place: int) -> bool:
        if at == len(pattern):
            return place == len(text)
        if pattern[at] == "*":
            return fits(at + 1, place) or (place < len(text) and fits(at, place + 1))
        same = place < len(text) and pattern[at] in ("?", text[place])
        return same and fits(at + 1, place + 1)

    return fits(0, 0)


WILD = st.text("ab*?", max_size=12)
PLAIN = st.text("ab", max_size=16)


@given(WILD, PLAIN)
def test_a_pattern_matches_as_it_is_defined(pattern: str, text: str) -> None:
    assert compiled(pattern).matches(text, NONE) is simply(pattern, text)


def test_all_short_patterns() -> None:
    texts = ["".join(text) for size in range(6) for text in product("ab", repeat=size)]
    for size in range(6):
        for pattern in map("".join, product("ab*?", repeat=size)):
            made = compiled(pattern)
            wrong = [
                text for text in texts if made.matches(text, NONE) is not simply(pattern, text)
            ]
            assert not wrong, pattern


def test_pieces_do_not_overlap() -> None:
    texts = ["".join(text) for size in range(8) for text in product("ab", repeat=size)]
    for pieces in product(("a", "b", "?a", "a?", "a?b"), repeat=3):
        pattern = f"*{'*'.join(pieces)}*"
        made = compiled(pattern)
        wrong = [text for text in texts if made.matches(text, NONE) is not simply(pattern, text)]
        assert not wrong, pattern


@given(st.text(max_size=12), st.text(max_size=12))
def test_other_characters_stand_for_themselves(pattern: str, text: str) -> None:
    assert compiled(pattern).matches(text, NONE) is simply(pattern, text)
    assert compiled(pattern).matches(pattern, NONE)
    plain = Pattern(parse_pattern(pattern, wildcards=False, variables=False))
    assert plain.matches(text, NONE) is (pattern == text)


@given(st.lists(st.sampled_from(["a", "b", "*", "?", "${aws:userid}"]), max_size=8), PLAIN, PLAIN)
def test_a_variable_is_the_text_that_it_stands_for(parts: list[str], value: str, text: str) -> None:
    whole = "".join(parts)
    made = compiled(whole, variables=True)
    facts = Facts({"aws:userid": value})
    assert made.matches(text, facts) is simply(whole.replace("${aws:userid}", value), text)
    if "${aws:userid}" in parts:
        assert not made.matches(text, NONE)


@given(st.lists(st.sampled_from("ab*?"), max_size=6), PLAIN)
def test_whether_a_pattern_matches_something_that_begins_so(parts: list[str], text: str) -> None:
    pattern = "".join(parts)
    made = compiled(pattern).widest()
    longer = ("".join(end) for size in range(7) for end in product("ab", repeat=size))
    assert made.may_begin(text) is any(simply(pattern, text + end) for end in longer)


def test_the_widest_takes_variables_for_anything() -> None:
    made = compiled("a${aws:userid}b", variables=True).widest()
    assert all(made.matches(text) for text in ("ab", "axb", "a${aws:userid}b"))
    assert not made.matches("a")


@given(st.lists(st.sampled_from(["a", "bb", Wild.ONE, Wild.MANY]), max_size=8), PLAIN)
def test_texts_side_by_side_are_one_text(tokens: list[Any], text: str) -> None:
    pattern = "".join(token if isinstance(token, str) else token.value for token in tokens)
    assert Glob(tokens).matches(text) is simply(pattern, text)


# -- hostile policies -----------------------------------------------------------------------------

LONG = 16_000
"""About as many characters as a request line can carry."""
SECONDS_MAX = 2.0
"""Of the processor: the slowest takes a fifth of it. One that is searched for in a way that tries
again takes minutes."""


def filled(make: Callable[[int], str], size: int = POLICY_BYTES_MAX - 500) -> list[str]:
    """As many texts as a policy holds."""
    texts: list[str] = []
    while size > 0:
        texts.append(make(len(texts)))
        size -= len(json.dumps(texts[-1])) + 1
    return texts[:-1]


def short(number: int) -> str:
    """A text of its own for each number, of two characters."""
    text = f"{chr(0x100 + number // 94)}{chr(33 + number % 94)}"
    return text.translate({ord('"'): "§", ord("\\"): "¶", ord("?"): "¿"})


def cased(text: str, number: int) -> str:
    """`text` in one of its spellings."""
    return "".join(char.upper() if number >> place & 1 else char for place, char in enumerate(text))


def listing(values: list[str], operator: str = "StringLike", **more: Any) -> dict[str, Any]:
    condition = {operator: {"s3:prefix": values}}
    return statement(Action="s3:ListBucket", Resource=BUCKET, Condition=condition, **more)


SAME = "a" * LONG
POLICIES: dict[str, tuple[dict[str, Any], str]] = {
    "stars": (listing(["a*" * 9_000 + "b"]), SAME),
    "stars and texts": (listing(["*a" * 5_000 + "*b"]), SAME),
    "question marks": (listing(["?*" * 9_000 + "b"]), SAME),
    "one long piece": (listing(["*" + "a?" * 8_000 + "b*"]), SAME),
    "many pieces": (listing([f"*a?{'a' * n}b*" for n in range(SEARCHES)]), SAME),
    "many texts": (listing(filled(lambda n: f"*a{short(n)}*")), SAME),
    "long texts": (listing(filled(lambda n: f"*{'a' * 50}{short(n)}*")), SAME),
    "no wildcards": (listing(filled(str), "StringEquals"), SAME),
    "no case": (listing(filled(str), "StringEqualsIgnoreCase"), SAME),
    "variables": (listing(["${s3:prefix}*" * 1_300]), SAME),
    "variables without case": (listing(["${s3:prefix}" * 1_300], "StringEqualsIgnoreCase"), SAME),
    "long searched variables": (
        listing([f"*?{n}${{aws:referer}}*" for n in range(SEARCHES)]),
        "a" * 8_000 + "b" * 8_000,
    ),
    "arns": (
        listing([f"a:::::*?{n}*" for n in range(SEARCHES)], "ArnLike"),
        f"a:::::{SAME}",
    ),
    "colons": (listing(filled(lambda n: f"{short(n)}::::::::::"), "ArnLike"), ":" * LONG),
    "numbers": (listing(filled(lambda n: f"{n}e99"), "NumericLessThan"), "1e99"),
    "large numbers": (listing(filled(lambda n: f"{n}{'1' * 30}"), "NumericEquals"), "1" * LONG),
    "digits": (listing(["1"], "NumericEquals"), "1" * LONG + "x"),
    "dates": (listing(filled(lambda n: f"{2000 + n}"), "DateEquals"), "2" * LONG),
    "networks": (listing(filled(lambda n: f"{n:x}::/0"), "IpAddress"), ":" * LONG),
    "actions": (statement(Action=[f"s3:*{cased('?etobject', n)}*" for n in range(256)]), ""),
    "actions and conditions": (
        statement(
            Action=filled(lambda n: cased("s3:listbucket", n), 9_000),
            Resource=[BUCKET, OBJECTS],
            Condition={"StringLike": {cased("s3:prefix", n): "*" for n in range(250)}},
        ),
        SAME,
    ),
    "principals": (statement(Principal={"AWS": filled(lambda n: f"{n:012}")}), ""),
}


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    made = make()
    return made, time.process_time() - began


@pytest.mark.parametrize("name", POLICIES)
def test_a_hostile_policy_takes_no_time(name: str) -> None:
    hostile, prefix = POLICIES[name]
    text = json.dumps({"Version": NEW, "Statement": hostile}, separators=(",", ":"))
    facts = Facts({"s3:prefix": prefix, "aws:referer": "a" * 4_000 + "c"})
    made, seconds = timed(lambda: compile_policy(text, "photos"))
    assert isinstance(made, Policy)
    assert seconds < SECONDS_MAX
    for action, resource in (("ListBucket", "photos"), ("GetObject", "photos/a")):
        verdict, seconds = timed(lambda asked=(action, resource): made.decide(ANN, *asked, facts))
        assert isinstance(verdict, Verdict)
        assert seconds < SECONDS_MAX


def test_a_hostile_policy_of_many_resources() -> None:
    arns = filled(lambda n: f"arn:aws:s3:::photos/*a{n}*")
    made = compile_policy(json.dumps({"Statement": statement(Resource=arns)}), "photos")
    key = "a" * 1_017
    verdict, seconds = timed(lambda: made.decide(ANN, "GetObject", f"photos/{key}", NONE))
    assert verdict is Verdict.NONE
    assert seconds < SECONDS_MAX
