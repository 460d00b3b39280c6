"""Policies written shortly, and facts that are a dict."""

import json
from typing import Any

from gateway.access.policy import Policy, Verdict, compile_policy
from gateway.access.principals import ANONYMOUS, Caller
from gateway.errors import S3Error

BUCKET = "arn:aws:s3:::photos"
OBJECTS = f"{BUCKET}/*"
NEW, OLD = "2012-10-17", "2008-10-17"
ANN = Caller("a" * 64, "ann@example.org")
BOB = Caller("b" * 64, "bob@example.org")
LOGS = Caller("", service="logging.s3.amazonaws.com")
NOBODY = ANONYMOUS
DENY, ALLOW, NONE = Verdict.DENY, Verdict.ALLOW, Verdict.NONE


class Facts(dict[str, list[str]]):
    """Facts by key; one value may stand for a list of it."""

    def __init__(self, facts: dict[str, str | list[str]] | None = None) -> None:
        super().__init__(
            {
                key: [value] if isinstance(value, str) else value
                for key, value in (facts or {}).items()
            }
        )


def statement(**elements: Any) -> dict[str, Any]:
    """An Allow of GetObject to everybody, but for what is given; None leaves an element out."""
    whole = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": OBJECTS,
        **elements,
    }
    return {name: value for name, value in whole.items() if value is not None}


def document(*statements: Any, version: str | None = NEW) -> str:
    versions = {} if version is None else {"Version": version}
    return json.dumps({**versions, "Statement": list(statements)})


def policy(*statements: Any, version: str | None = NEW) -> Policy:
    return compile_policy(document(*statements, version=version), "photos")


def decide(
    statements: dict[str, Any] | list[dict[str, Any]],
    caller: Caller = ANN,
    action: str = "GetObject",
    resource: str = "photos/cat.jpg",
    facts: dict[str, str | list[str]] | None = None,
    version: str | None = NEW,
) -> Verdict:
    several = statements if isinstance(statements, list) else [statements]
    return policy(*several, version=version).decide(caller, action, resource, Facts(facts))


def refusal(text: str) -> str:
    """The message with which a document is refused, "" when it is not."""
    try:
        compile_policy(text, "photos")
    except S3Error as error:
        assert (error.code, error.status) == ("MalformedPolicy", 400)
        return error.message
    return ""
