"""Policies are compiled once, and remembered as long as there is room."""

import pytest
from policy_kit import document, statement

from gateway.access import compiled as module
from gateway.access.compiled import compiled
from gateway.access.policy import Policy, compile_policy
from gateway.limits import POLICIES_BYTES_REMEMBERED


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The documents that were compiled, in the order in which they were."""
    texts: list[str] = []

    def counted(text: str, bucket: str) -> Policy:
        texts.append(text)
        return compile_policy(text, bucket)

    monkeypatch.setattr(module, "compile_policy", counted)
    monkeypatch.setattr(module, "_memory", module._Memory())
    return texts


def text_of(number: int, size: int = 0) -> str:
    return document(statement(Sid=f"{number} {'x' * size}"))


def test_a_policy_is_compiled_once(made: list[str]) -> None:
    text = document(statement(Resource="arn:aws:s3:::*"))
    first = compiled(text, "photos")
    assert first is not None
    assert first.public
    assert compiled(text, "photos") is first
    assert compiled(text, "videos") is not first
    assert made == [text, text]


def test_what_is_none_is_remembered_too(made: list[str]) -> None:
    assert compiled("{", "photos") is None
    assert compiled("{", "photos") is None
    assert made == ["{"]


def test_thousands_of_small_ones_are_remembered(made: list[str]) -> None:
    for _ in range(2):
        for number in range(2_000):
            assert compiled(text_of(number), "photos") is not None
    assert len(made) == 2_000


def test_large_ones_go_when_there_is_no_room(made: list[str]) -> None:
    """First those that were not asked for the longest."""
    size = 16 << 10
    room = POLICIES_BYTES_REMEMBERED // len(text_of(10, size))
    texts = [text_of(10 + number, size) for number in range(room + 1)]
    for text in texts[:room]:
        compiled(text, "photos")
    compiled(texts[0], "photos")
    assert made == texts[:room]
    compiled(texts[room], "photos")
    del made[:]
    compiled(texts[0], "photos")
    compiled(texts[room], "photos")
    assert not made
    compiled(texts[1], "photos")
    assert made == [texts[1]]


def test_one_that_is_larger_than_the_room_is_compiled(made: list[str]) -> None:
    text = "{" * (POLICIES_BYTES_REMEMBERED + 1)
    assert compiled(text, "photos") is None
    assert compiled(text_of(1), "photos") is not None
    assert made == [text, text_of(1)]
