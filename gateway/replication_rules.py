"""The replication configuration of a bucket: which keys are to go to which datacenters.

All datacenters that are paired hold everything. So a configuration is taken if it says just that,
and refused if it says anything else: who keeps data out of a datacenter must not be told that it is
done. A destination is a datacenter, `arn:farshore:dc:::NAME`. What S3 lets a configuration say
beyond keys and destinations (storage classes, other owners, keys of a KMS, limits of time) is
refused, too.

Source: "PutBucketReplication" in the S3 API Reference.
"""

from collections.abc import Container, Sequence, Set
from typing import Any

from gateway.context import Context
from gateway.errors import S3Error
from gateway.limits import KEY_BYTES_MAX, REPLICATION_RULES_MAX, RULE_ID_CHARS_MAX
from gateway.request import Request
from gateway.settings import put_setting
from gateway.tags import check_tags
from gateway.versioning import ENABLED, state_of

REPLICATION = "replication"
"""The name of the register."""
_ARN = "arn:farshore:dc:::"
_STATES = ("Enabled", "Disabled")
_ID_BYTES = 24
_NOT_OF_RULE = ("SourceSelectionCriteria", "ExistingObjectReplication")
_NOT_OF_DESTINATION = (
    *("Account", "StorageClass", "AccessControlTranslation"),
    *("EncryptionConfiguration", "ReplicationTime", "Metrics"),
)


async def put_replication(context: Context, request: Request, asked: Any) -> None:
    configuration = asked.ReplicationConfiguration
    if state_of(request.bucket) != ENABLED:
        raise S3Error(
            "InvalidRequest",
            "Versioning must be 'Enabled' on the bucket to apply a replication configuration",
        )
    peers = {peer.name for peer in context.names.peers()}
    for rule in configuration.Rules:
        rule.ID = rule.ID or context.randomness.token(_ID_BYTES).hex()
    check(configuration, {context.config.host_id, *peers})
    _check_followed(configuration.Rules, peers)
    await put_setting(context, request, REPLICATION, configuration)


def check(configuration: Any, datacenters: Container[str]) -> None:
    """Refuse what S3 refuses, and what nothing here would do."""
    rules = configuration.Rules
    if not 1 <= len(rules) <= REPLICATION_RULES_MAX:
        raise S3Error("MalformedXML")
    for rule in rules:
        _check_rule(rule, datacenters)
    if len({rule.ID for rule in rules}) != len(rules):
        raise _invalid("Rule ID must be unique. Found same ID for more than one rule")
    priorities = [rule.Priority for rule in rules if rule.Priority is not None]
    if len(set(priorities)) != len(priorities):
        raise _invalid("Found duplicate priority in replication configuration")


def _check_followed(rules: Sequence[Any], peers: Set[str]) -> None:
    """Refuse what would have something stay away from a datacenter that it goes to."""
    enabled = [rule for rule in rules if rule.Status == _STATES[0]]
    complete = {_datacenter(rule) for rule in enabled if _is_of_all(rule)}
    missing = sorted(peers - complete)
    if missing:
        message = (
            "All datacenters that are paired hold everything. A rule that sends all keys to "
            f"{_ARN}{missing[0]} is missing, and to keep some from it is not implemented."
        )
        raise S3Error("NotImplemented", message)
    for rule in enabled:
        markers = rule.DeleteMarkerReplication
        if markers is not None and markers.Status != _STATES[0]:
            message = "Delete markers go to all datacenters: to keep them back is not implemented."
            raise S3Error("NotImplemented", message)


def _is_of_all(rule: Any) -> bool:
    """Whether it is for every key."""
    if rule.Prefix:
        return False
    given = rule.Filter
    return given is None or not (given.Prefix or given.Tag is not None or given.And is not None)


def _datacenter(rule: Any) -> str:
    arn: str = rule.Destination.Bucket
    return arn.removeprefix(_ARN)


def _check_rule(rule: Any, datacenters: Container[str]) -> None:
    if len(rule.ID) > RULE_ID_CHARS_MAX:
        raise _invalid(f"ID length should not exceed allowed limit of {RULE_ID_CHARS_MAX}")
    if rule.Status not in _STATES or (rule.Filter is not None and rule.Prefix is not None):
        raise S3Error("MalformedXML")
    _check_filter(rule)
    _refuse(rule, _NOT_OF_RULE)
    _refuse(rule.Destination, _NOT_OF_DESTINATION)
    arn = rule.Destination.Bucket
    if not arn.startswith(_ARN):
        message = f"Replication goes to a datacenter, {_ARN}NAME, not to another bucket."
        raise S3Error("NotImplemented", message)
    if _datacenter(rule) not in datacenters:
        raise _invalid(f"There is no datacenter {_datacenter(rule)[:64]!r} paired with this")


def _check_filter(rule: Any) -> None:
    found = [rule, *([rule.Filter] if rule.Filter is not None else [])]
    tags = []
    if rule.Filter is not None:
        given = (rule.Filter.Prefix, rule.Filter.Tag, rule.Filter.And)
        if sum(one is not None for one in given) > 1:
            raise S3Error("MalformedXML")
        tags += [rule.Filter.Tag] if rule.Filter.Tag is not None else []
        if rule.Filter.And is not None:
            found.append(rule.Filter.And)
            tags += rule.Filter.And.Tags or []
    if any(len((one.Prefix or "").encode()) > KEY_BYTES_MAX for one in found):
        raise S3Error("InvalidRequest", "The maximum size of a prefix is 1024")
    check_tags([(tag.Key, tag.Value) for tag in tags])


def _refuse(one: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(one, name) is not None:
            raise S3Error("NotImplemented", f"{name} in a replication rule is not implemented.")


def _invalid(message: str) -> S3Error:
    return S3Error("InvalidArgument", message)
