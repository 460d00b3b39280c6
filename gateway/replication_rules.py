"""The replication configuration of a bucket: which keys are to go to which datacenters.

The bytes of the keys that a rule names go to the datacenter that it names,
`arn:farshore:dc:::NAME`, and without any such rule they stay where they were written
(`dc/placement.py`). What was there before goes as well. Names, attributes, deletions and delete
markers go everywhere: a rule that would keep delete markers back is refused. So is what S3 lets a
rule say beyond prefixes and destinations: tags, storage classes, other owners, keys of a KMS,
limits of time.

Source: "PutBucketReplication" in the S3 API Reference.
"""

from collections.abc import Container
from typing import Any

from dc.names.model import Version
from dc.placement import DATACENTER_ARN, REPLICATION, placement
from dc.placement import ENABLED as ENABLED_RULE
from gateway.context import Context
from gateway.errors import S3Error
from gateway.limits import KEY_BYTES_MAX, REPLICATION_RULES_MAX, RULE_ID_CHARS_MAX
from gateway.request import Request
from gateway.settings import put_setting
from gateway.tags import check_tags
from gateway.versioning import ENABLED, state_of

_STATES = (ENABLED_RULE, "Disabled")
_ID_BYTES = 24
_NOT_OF_RULE = ("SourceSelectionCriteria",)
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
    for rule in configuration.Rules:
        rule.ID = rule.ID or context.randomness.token(_ID_BYTES).hex()
    sites = {site.name for site in context.names.directory.sites()}
    peers = {peer.name for peer in context.names.peers()}
    check(configuration, {context.config.host_id, *peers, *sites})
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


def not_here(context: Context, version: Version) -> S3Error:
    """The answer to who asks for bytes that other datacenters hold: for good, or still to come."""
    own, key = context.config.host_id, version.key
    rules = placement(context.names.directory.bucket_by_id(version.bucket))
    if rules is None or rules.holds(own, key):
        message = "The bytes of this object are on their way to this datacenter. Try again later."
        return S3Error("ServiceUnavailable", message)
    holders = ", ".join(rules.holders(key)) or "the datacenter where it was written"
    message = f"The replication rules of the bucket keep the bytes of this object in {holders}."
    return S3Error("InvalidObjectState", message)


def _check_rule(rule: Any, datacenters: Container[str]) -> None:
    if len(rule.ID) > RULE_ID_CHARS_MAX:
        raise _invalid(f"ID length should not exceed allowed limit of {RULE_ID_CHARS_MAX}")
    if rule.Status not in _STATES or (rule.Filter is not None and rule.Prefix is not None):
        raise S3Error("MalformedXML")
    _check_filter(rule)
    _refuse(rule, _NOT_OF_RULE)
    _refuse_disabled(rule)
    _refuse(rule.Destination, _NOT_OF_DESTINATION)
    arn = rule.Destination.Bucket
    if not arn.startswith(DATACENTER_ARN):
        message = f"Replication goes to a datacenter, {DATACENTER_ARN}NAME, not to another bucket."
        raise S3Error("NotImplemented", message)
    name = arn.removeprefix(DATACENTER_ARN)
    if name not in datacenters:
        raise _invalid(f"There is no datacenter {name[:64]!r} paired with this")


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
    if tags:
        raise S3Error("NotImplemented", "A replication rule for tags is not implemented.")


def _refuse(one: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(one, name) is not None:
            raise S3Error("NotImplemented", f"{name} in a replication rule is not implemented.")


def _refuse_disabled(rule: Any) -> None:
    """Delete markers go everywhere, and what was there before goes too."""
    for name in ("DeleteMarkerReplication", "ExistingObjectReplication"):
        given = getattr(rule, name)
        if given is not None and given.Status != ENABLED_RULE:
            message = f"A replication rule whose {name} is not Enabled is not implemented."
            raise S3Error("NotImplemented", message)


def _invalid(message: str) -> S3Error:
    return S3Error("InvalidArgument", message)
