"""Secrets, and what is computed from them, are compared in constant time, for keys that exist and
keys that do not alike.

Published as Swift CVE-2014-0006 (a signature compared with `==`), RustFS GHSA-3p3x (a secret).
"""

import ast
import hmac
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_kit import House, request_bytes
from security_kit import presign

from gateway import chunked, sigv2, sigv4

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "dc", "replicator", "admin", "tokens")
SECRET = re.compile(
    r"(signature|secret|token|[hc]?mac|password|proof|digest|sha\d+|md5|check|provided|expected"
    r"|claimed|bearer|authorization|credential|seed|master|(secret|signing|data|body|master)_key)s?$"
)
FREE = {
    # Sums of what a client sent, which it knows: no secret is in them.
    ("gateway/checksums.py", "self._md5_expected != md5"),
    ("gateway/checksums.py", "expected != found"),
    # Who owns a bucket, and how long something is.
    ("gateway/service.py", "expected != bucket.owner"),
    ("gateway/copy.py", "expected not in (None, bucket.owner)"),
    ("replicator/client.py", "response.content_length != expected"),
    # The ETag of an object, in If-Match and the like.
    ("gateway/multipart.py", "expected.strip() not in (found, found.partition('-')[0])"),
    # The words of a pattern; keys that are public.
    ("admin/os_node.py", "offer.dc.signing_key != config.dc_key"),
    ("gateway/access/patterns.py", "Wild.ONE in self.tokens[stars[0]:stars[-1]]"),
    ("replicator/pairing.py", "known.signing_key != request.peer.signing_key"),
    # Whether the text began with a word that was taken off.
    ("gateway/sigv4.py", "credential == first"),
}


def named(operand: ast.expr) -> str:
    """The last name in `a.b`, `a.b()`, `a.b[0]`, `a.b.encode()`; "" where there is none."""
    while True:
        if isinstance(operand, ast.Call):
            operand = operand.func
        elif isinstance(operand, ast.Subscript):
            operand = operand.value
        elif isinstance(operand, ast.Attribute):
            if operand.attr not in ("encode", "decode", "strip", "lower", "hex", "digest"):
                return operand.attr
            operand = operand.value
        else:
            return operand.id if isinstance(operand, ast.Name) else ""


def comparisons(source: str) -> Iterator[str]:
    """Those by `==` and the like of something that has a secret's name. Names in capitals are
    those of fields and sizes."""
    usual = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(isinstance(one, usual) for one in node.ops):
            names = [named(operand) for operand in (node.left, *node.comparators)]
            if any(SECRET.search(name) and not name.isupper() for name in names):
                yield ast.unparse(node)


def test_no_secret_is_compared_by_the_usual_operators() -> None:
    found = {
        (str(path.relative_to(ROOT)), text)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for text in comparisons(path.read_text())
    }
    assert found - FREE == set()
    assert FREE - found == set(), "no longer there"


@pytest.mark.parametrize(
    "text",
    [
        *("given == self._token", "expected.encode() == provided", "signature in known"),
        *("key.sign(text) == claim.signature", "key_check(key, salt) != check"),
        *("sha.digest() == its_digest[:32]", "a == b == secret"),
    ],
)
def test_the_search_finds_them(text: str) -> None:
    assert list(comparisons(text)) == [text]


async def test_a_key_that_does_not_exist_costs_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same signatures are computed and compared, and the answer has the same status."""
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    for module in (sigv4, sigv2, chunked):
        monkeypatch.setattr(module.hmac, "compare_digest", watched)
    seen = []
    for user in ("ann", "eve"):
        compared.clear()
        answers = [
            await house.ask("GET", "/photos/k", user=user, secret="wrong"),
            await house.raw(
                request_bytes(
                    "GET",
                    presign(house.host, "GET", "/photos/k", user=user, secret="wrong"),
                    {"Host": house.host},
                )
            ),
        ]
        assert [answer.status for answer in answers] == [403, 403]
        seen.append(list(compared))
    # The first request of a key computes it, and is compared once as any other.
    assert seen[0] == seen[1] and len(seen[0]) == 2


def test_a_key_that_does_not_exist_costs_the_same_in_version_2(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 0

    def watched(one: bytes, other: bytes) -> bool:
        nonlocal count
        count += 1
        return False

    monkeypatch.setattr(sigv2.hmac, "compare_digest", watched)
    seen = []
    for secret in ("secret", None):
        count = 0
        with pytest.raises(Exception, match=r"SignatureDoesNotMatch|InvalidAccessKeyId"):
            sigv2.verify("AKANN", ["one", "two"], "signature", lambda _, found=secret: found)
        seen.append(count)
    assert seen == [2, 2]
