"""Patterns of policies: `*` is any text, `?` any one character, `${key}` a fact of the request.

A pattern is cut at its stars. The first piece must stand at the beginning, the last at the end, and
those between are found one after the other, each as far left as it goes: where a piece fits, no
other choice could fit better, so nothing is ever tried again and the time is linear in the text. A
piece without question marks is found by `str.find`, one with them with one bit for each of its
characters (shift-and): that takes a step of Python for each character of the text, so policies may
have few such patterns (`Pattern.is_searched`, `gateway.limits.POLICY_SEARCHES_MAX`).

What a variable stands for is text, whatever characters it has: a user named `*` is no pattern. A
variable without a value has no equal, and its pattern matches nothing. `${*}`, `${?}` and `${$}`
are the characters in them. Source: "IAM policy elements: Variables and tags" in the IAM User Guide.
"""

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import groupby
from typing import NamedTuple, Protocol

from gateway.access.condition_keys import normal_key

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_INSIDE = re.compile(r"\s*([A-Za-z][^\s,']*)\s*(?:,\s*'([^']*)'\s*)?")
_CHARACTERS = frozenset("*?$")


class Facts(Protocol):
    """What conditions and variables may ask about a request."""

    def get(self, key: str, /) -> list[str] | None:
        """The values of a condition key (in lower-case letters), None when the request has none.
        It is asked only when a condition needs it."""
        ...


class Wild(Enum):
    """The characters of a pattern that stand for others."""

    ONE = "?"
    MANY = "*"


class Variable(NamedTuple):
    """A fact of the request, or `default` when it has no value."""

    key: str
    default: str | None


Token = str | Wild | Variable


def parse_pattern(text: str, *, wildcards: bool, variables: bool) -> tuple[Token, ...]:
    """The tokens of a pattern. ValueError for a variable that there is not."""
    tokens: list[Token] = []
    # Texts stand at the even places, what is in the braces of variables at the odd ones.
    for place, part in enumerate(_VARIABLE.split(text) if variables else [text]):
        if not place % 2:
            tokens += _plain(part, wildcards)
        elif part in _CHARACTERS:
            tokens.append(part)
        else:
            match = _INSIDE.fullmatch(part)
            key = None if match is None else normal_key(match[1])
            if match is None or key is None:
                raise ValueError(f"${{{part}}}")
            tokens.append(Variable(key, match[2]))
    return tuple(tokens)


def _plain(text: str, wildcards: bool) -> Iterable[Token]:
    parts = re.split(r"([*?])", text) if wildcards else [text]
    return [Wild(part) if place % 2 else part for place, part in enumerate(parts) if part]


class _Piece:
    """What stands between two stars: texts, and any one characters between them."""

    __slots__ = ("_runs", "length")

    def __init__(self, tokens: Iterable[str | Wild]) -> None:
        self._runs: list[tuple[int, str]] = []
        """Texts, as long as they go, and where they begin."""
        self.length = 0
        for are_gaps, group in groupby(tokens, lambda token: token is Wild.ONE):
            if are_gaps:
                self.length += len(list(group))
                continue
            run = "".join([token for token in group if isinstance(token, str)])
            if run:
                self._runs.append((self.length, run))
                self.length += len(run)

    def stands_at(self, text: str, start: int) -> bool:
        """If the text is long enough."""
        return all(text.startswith(run, start + offset) for offset, run in self._runs)

    def may_begin(self, prefix: str) -> bool:
        """Whether it and `prefix` agree as far as both go."""
        return all(run.startswith(prefix[at : at + len(run)]) for at, run in self._runs)

    def find(self, text: str, start: int, end: int) -> int:
        """Where it ends, at the first place where it fits; -1 when there is none."""
        if end - start < self.length:
            return -1
        if not self._runs:
            return start + self.length
        if len(self._runs[0][1]) == self.length:
            place = text.find(self._runs[0][1], start, end)
            return place + self.length if place >= 0 else -1
        return self._find_with_gaps(text, start, end)

    def _find_with_gaps(self, text: str, start: int, end: int) -> int:
        gaps = (1 << self.length) - 1
        for offset, run in self._runs:
            gaps &= ~(((1 << len(run)) - 1) << offset)
        fits: dict[str, int] = {}
        for offset, run in self._runs:
            for place, char in enumerate(run, offset):
                fits[char] = fits.get(char, gaps) | 1 << place
        last, state = 1 << (self.length - 1), 0
        for place in range(start, end):
            state = (state << 1 | 1) & fits.get(text[place], gaps)
            if state & last:
                return place + 1
        return -1


class Glob:
    """A pattern without variables."""

    __slots__ = ("_head", "_middle", "_tail")

    def __init__(self, tokens: Sequence[str | Wild]) -> None:
        pieces: list[list[str | Wild]] = [[]]
        for token in tokens:
            if token is Wild.MANY:
                pieces.append([])
            else:
                pieces[-1].append(token)
        self._head = _Piece(pieces[0])
        self._middle = [_Piece(piece) for piece in pieces[1:-1] if piece]
        self._tail = _Piece(pieces[-1]) if len(pieces) > 1 else None

    def matches(self, text: str) -> bool:
        if not self._head.stands_at(text, 0):
            return False
        place = self._head.length
        if self._tail is None:
            return len(text) == place
        end = len(text) - self._tail.length
        if end < place or not self._tail.stands_at(text, end):
            return False
        for piece in self._middle:
            place = piece.find(text, place, end)
            if place < 0:
                return False
        return True

    def may_begin(self, prefix: str) -> bool:
        """Whether it matches some text that begins with `prefix`."""
        short = self._tail is None and self._head.length < len(prefix)
        return not short and self._head.may_begin(prefix)


class Pattern:
    """A pattern of a policy. `ignore_case`: compared as lower-case letters."""

    __slots__ = ("_glob", "_ignore_case", "tokens")

    def __init__(self, tokens: tuple[Token, ...], *, ignore_case: bool = False) -> None:
        self.tokens = tokens
        self._ignore_case = ignore_case
        varies = any(isinstance(token, Variable) for token in tokens)
        self._glob = None if varies else self.widest()

    @property
    def is_searched(self) -> bool:
        """Whether a question mark stands between two stars."""
        stars = [place for place, token in enumerate(self.tokens) if token is Wild.MANY]
        return bool(stars) and Wild.ONE in self.tokens[stars[0] : stars[-1]]

    def matches(self, text: str, facts: Facts) -> bool:
        glob = self._glob or self._resolved(facts)
        return glob is not None and glob.matches(text.lower() if self._ignore_case else text)

    def widest(self) -> Glob:
        """What it matches if its variables have the right values."""
        return self._compiled(
            [Wild.MANY if isinstance(token, Variable) else token for token in self.tokens]
        )

    def _resolved(self, facts: Facts) -> Glob | None:
        tokens: list[str | Wild] = []
        for token in self.tokens:
            if isinstance(token, Variable):
                values = facts.get(token.key)
                value = values[0] if values and len(values) == 1 else token.default
                if value is None:
                    return None
                tokens.append(value)
            else:
                tokens.append(token)
        return self._compiled(tokens)

    def _compiled(self, tokens: Sequence[str | Wild]) -> Glob:
        if self._ignore_case:
            tokens = [token.lower() if isinstance(token, str) else token for token in tokens]
        return Glob(tokens)
