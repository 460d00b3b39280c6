"""The policy of a form: what whoever signed it allows to be posted, and until when.

The source of the rules is "Creating a POST Policy" in the Amazon S3 API Reference. A policy is
JSON; every condition must hold for the fields of the form, and every field must be named by a
condition: what nobody has thought of is refused. The bucket is a field like others, whether the
form has it or not, and always the one that is posted to: a policy for one bucket is none for
another (Ceph CVE-2023-43040), and no field goes round it (MinIO CVE-2023-28434, CVE-2021-21362).

Conditions are compared with what will be used, after `${filename}` was filled in.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from gateway.errors import S3Error

_UNCOVERED = frozenset(("policy", "file", "signature", "awsaccesskeyid", "x-amz-signature"))
"""Fields of the signature itself, which need no condition."""
_UNCOVERED_PREFIXES = ("x-ignore-", "x-amz-checksum-")
"""A checksum can only make that a damaged upload is refused."""
_CHARS_MAX = 24
_CONDITIONS_MAX = 200


class Policy(NamedTuple):
    """`sizes`: the least and the most that the file may have."""

    expires_at: float
    conditions: list[tuple[str, str, str]]
    """eq or starts-with, field, value."""
    sizes: tuple[int, int] | None


def read_policy(encoded: str) -> Policy:
    """InvalidPolicyDocument."""
    try:
        document: Any = msgspec.json.decode(b64decode(encoded, validate=True))
    except (ValueError, RecursionError):
        raise _invalid("Invalid Policy: Invalid JSON.") from None
    if not isinstance(document, dict):
        raise _invalid("Invalid Policy: Invalid JSON.")
    for name in ("expiration", "conditions"):
        if name not in document:
            raise _invalid(f"Invalid Policy: Policy missing {name}.")
    unknown = sorted(document.keys() - {"expiration", "conditions"})
    if unknown:
        raise _invalid(f"Invalid Policy: Unexpected: '{unknown[0]}'.")
    conditions = document["conditions"]
    if not isinstance(conditions, list) or len(conditions) > _CONDITIONS_MAX:
        raise _invalid("Invalid Policy: Invalid 'conditions' value.")
    comparisons: list[tuple[str, str, str]] = []
    sizes: tuple[int, int] | None = None
    for condition in conditions:
        read = _condition(condition)
        if len(read) == 3:
            comparisons.append(read)
        elif sizes is None:
            sizes = read
        else:
            sizes = max(sizes[0], read[0]), min(sizes[1], read[1])
    return Policy(_expiration(document["expiration"]), comparisons, sizes)


def _invalid(message: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", message)


def _expiration(value: Any) -> float:
    text = value if isinstance(value, str) else ""
    if len(text) <= _CHARS_MAX and text.isascii() and text[-1:] == "Z" and text[10:11] == "T":
        try:
            return datetime.fromisoformat(f"{text[:-1]}+00:00").timestamp()
        except ValueError:
            pass
    raise _invalid(f"Invalid Policy: Invalid 'expiration' value: '{text[:40]}'")


def _condition(value: Any) -> tuple[str, str, str] | tuple[int, int]:
    if isinstance(value, dict):
        if len(value) != 1:
            raise _invalid(
                "Invalid Policy: Invalid Simple-Condition: Simple-Conditions must have exactly one "
                "property specified."
            )
        ((name, text),) = value.items()
        if not isinstance(text, str):
            raise _invalid("Invalid Policy: Invalid Simple-Condition: value must be a string.")
        return "eq", name.lower(), text
    if not isinstance(value, list) or not value or not isinstance(value[0], str):
        raise _invalid("Invalid Policy: Invalid Condition.")
    operator = value[0].lower()
    if len(value) != 3 or operator not in ("eq", "starts-with", "content-length-range"):
        raise _invalid(f"Invalid Policy: Invalid Condition: '{operator[:40]}'.")
    _, first, second = value
    if operator == "content-length-range":
        least, most = _size(first), _size(second)
        if most < least:
            raise _invalid("Invalid Policy: Invalid content-length-range: max is less than min.")
        return least, most
    if not isinstance(first, str) or not isinstance(second, str) or first[:1] != "$":
        raise _invalid(f"Invalid Policy: Invalid {operator}: expected '$FIELD' and a string.")
    return operator, first[1:].lower(), second


def _size(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _invalid("Invalid Policy: Invalid content-length-range: expected sizes in bytes.")
    return value


def _starts(field: str, text: str, start: str) -> bool:
    """A list of media types starts so when each of them does."""
    if field == "content-type":
        return all(part.strip().startswith(start) for part in text.split(","))
    return text.startswith(start)


_COMPARE: Mapping[str, Callable[[str, str, str], bool]] = {
    "eq": lambda _, text, value: text == value,
    "starts-with": _starts,
}


def check_policy(policy: Policy, fields: Mapping[str, str], bucket: str, now: float) -> None:
    """AccessDenied unless the policy allows these fields (lower-case names) for the bucket."""
    if now > policy.expires_at:
        raise _denied("Policy expired.")
    given = {**fields, "bucket": bucket}
    if fields.get("bucket", bucket) != bucket:
        raise _denied('Policy Condition failed: ["eq", "$bucket"]')
    for operator, field, value in policy.conditions:
        text = given.get(field)
        if text is None or not _COMPARE[operator](field, text, value):
            shown = msgspec.json.encode([operator, f"${field}", value]).decode()
            raise _denied(f"Policy Condition failed: {shown}")
    covered = {field for _, field, _ in policy.conditions}
    extra = sorted(
        name
        for name in given
        if name not in covered
        and name not in _UNCOVERED
        and not name.startswith(_UNCOVERED_PREFIXES)
    )
    if extra:
        raise _denied(f"Extra input fields: {', '.join(extra)}")


def _denied(message: str) -> S3Error:
    return S3Error("AccessDenied", f"Invalid according to Policy: {message}")
