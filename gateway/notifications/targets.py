"""Who is told of what: a bucket's notification configuration, checked, and made quick to apply.

Only topics can be told. A topic's ARN is `arn:aws:sns:REGION:ACCOUNT:TOPIC`, as S3 has it, of which
all but the topic is not looked at; or `arn:farshore:mqtt:::TOPIC`, which says what it is. The MQTT
topic is the configured prefix and TOPIC. Queues, functions and event buses are refused.

Source: "PutBucketNotificationConfiguration" in the S3 API Reference, "Amazon S3 Event
Notifications" in the S3 User Guide.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, count
from typing import Any, NamedTuple

from gateway.errors import S3Error
from gateway.limits import (
    KEY_BYTES_MAX,
    NOTIFICATION_TARGETS_MAX,
    RULE_ID_CHARS_MAX,
    TOPIC_CHARS_MAX,
)
from gateway.model.structs import read_json

NOTIFICATION = "notification"
"""The name of the register."""
_REMEMBERED = 256
_ARN = re.compile(r"arn:(?:aws:sns:[^:]{0,64}:[^:]{0,64}|farshore:mqtt::):(.+)", re.ASCII)
_TOPIC = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9_./-]{{0,{TOPIC_CHARS_MAX - 1}}}", re.ASCII)
_KINDS = {
    "ObjectCreated": ("Put", "Post", "Copy", "CompleteMultipartUpload"),
    "ObjectRemoved": ("Delete", "DeleteMarkerCreated"),
    "ObjectTagging": ("Put", "Delete"),
    "LifecycleExpiration": ("Delete", "DeleteMarkerCreated"),
    "ObjectAcl": ("Put",),
}
EVENTS = {
    **{f"s3:{kind}:{what}": (f"{kind}:{what}",) for kind, some in _KINDS.items() for what in some},
    **{
        f"s3:{kind}:*": tuple(f"{kind}:{what}" for what in some)
        for kind, some in _KINDS.items()
        if kind != "ObjectAcl"
    },
}
"""What a configuration may ask for, and the names of the events that it means."""
_REFUSED = {
    "QueueConfigurations": "queues",
    "LambdaFunctionConfigurations": "functions",
    "EventBridgeConfiguration": "event buses",
}


class Target(NamedTuple):
    """A topic, and what it is told."""

    id: str
    topic: str
    events: frozenset[str]
    prefix: str
    suffix: str

    def wants(self, event: str, key: str) -> bool:
        return event in self.events and key.startswith(self.prefix) and key.endswith(self.suffix)

    def overlaps(self, other: "Target") -> bool:
        """Whether some event would be told to both."""
        return (
            not self.events.isdisjoint(other.events)
            and (self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix))
            and (self.suffix.endswith(other.suffix) or other.suffix.endswith(self.suffix))
        )


@lru_cache(maxsize=_REMEMBERED)
def compiled(text: str) -> tuple[Target, ...]:
    """The targets of a configuration that is kept as `text`; none of an empty one, nor of one that
    another datacenter wrote and S3 would refuse."""
    found = read_json("NotificationConfiguration", text) if text else None
    try:
        return () if found is None else tuple(check(found, map(str, count()).__next__))
    except S3Error:
        return ()


def _target(one: Any) -> Target:
    rules = {rule.Name.lower(): rule.Value or "" for rule in _filter_rules(one)}
    events = frozenset(name for event in one.Events for name in EVENTS[event])
    return Target(
        one.Id or "", _topic(one.TopicArn), events, rules.get("prefix", ""), rules.get("suffix", "")
    )


def _filter_rules(one: Any) -> Sequence[Any]:
    if one.Filter is None or one.Filter.Key is None:
        return ()
    return one.Filter.Key.FilterRules or ()


def _topic(arn: str) -> str:
    """ "" when the ARN names none."""
    found = _ARN.fullmatch(arn)
    return found[1] if found is not None and _TOPIC.fullmatch(found[1]) else ""


# -- what a client puts -------------------------------------------------------------------------


def check(configuration: Any, new_id: Any) -> list[Target]:
    """Refuse what S3 refuses; give those without an id one from `new_id()`."""
    for name, what in _REFUSED.items():
        if getattr(configuration, name):
            message = f"Notifications can be sent to topics only, not to {what}."
            raise S3Error("NotImplemented", message)
    asked = configuration.TopicConfigurations or []
    if len(asked) > NOTIFICATION_TARGETS_MAX:
        raise _invalid(f"At most {NOTIFICATION_TARGETS_MAX} configurations are allowed")
    for one in asked:
        one.Id = one.Id or new_id()
        _check_target(one)
    targets = [_target(one) for one in asked]
    if len({target.id for target in targets}) != len(targets):
        raise _invalid("Same ID used for multiple configurations. IDs must be unique")
    if any(one.overlaps(other) for one, other in combinations(targets, 2)):
        raise _invalid(
            "Configurations overlap. Configurations on the same bucket cannot share a common event "
            "type."
        )
    return targets


def _check_target(one: Any) -> None:
    if len(one.Id) > RULE_ID_CHARS_MAX:
        raise _invalid(f"The ID is longer than {RULE_ID_CHARS_MAX} characters")
    if not _topic(one.TopicArn):
        raise _invalid(
            "The ARN is not well formed: arn:aws:sns:REGION:ACCOUNT:TOPIC or "
            "arn:farshore:mqtt:::TOPIC"
        )
    for event in one.Events:
        if event not in EVENTS:
            raise _invalid("The event is not supported for notifications", event)
    if not one.Events:
        raise S3Error("MalformedXML")
    names: set[str] = set()
    for rule in _filter_rules(one):
        name = (rule.Name or "").lower()
        if name not in ("prefix", "suffix"):
            raise _invalid("filter rule name must be either prefix or suffix", rule.Name)
        if name in names:
            raise _invalid("Cannot specify more than one prefix or suffix rule in a filter.")
        if len((rule.Value or "").encode()) > KEY_BYTES_MAX:
            raise _invalid("Size of filter rule value cannot exceed 1024 bytes in UTF-8")
        names.add(name)


def _invalid(message: str, value: str | None = None) -> S3Error:
    extra = None if value is None else {"ArgumentName": "Event", "ArgumentValue": value}
    return S3Error("InvalidArgument", message, extra=extra)
