"""What settings of buckets may say of encryption, locks, ownership and logs, as S3 checks it."""

from typing import Any

from dc.names.locks import COMPLIANCE, GOVERNANCE
from gateway.errors import S3Error
from gateway.limits import KEY_BYTES_MAX

_MODES = (GOVERNANCE, COMPLIANCE)
_LOCK_DAYS_MAX = 36_500
_LOCK_YEARS_MAX = 100
_LOG_KEY_BYTES = 256
"""What is put behind the prefix of a log to make its key."""
OWNERSHIPS = frozenset(("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"))


def check_encryption(wanted: Any) -> None:
    """One rule, which encrypts with AES256 (there are no keys of a KMS), blocks SSE-C, or both."""
    if len(wanted.Rules) != 1:
        raise S3Error("MalformedXML")
    rule = wanted.Rules[0]
    blocked = rule.BlockedEncryptionTypes
    default = rule.ApplyServerSideEncryptionByDefault
    if default is None:
        if blocked is None:
            raise S3Error("MalformedXML")
        return
    if default.SSEAlgorithm != "AES256":
        message = f"{default.SSEAlgorithm} is not implemented: there is no KMS here. Use AES256."
        raise S3Error("NotImplemented", message)
    if default.KMSMasterKeyID is not None:
        message = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms"
        raise S3Error("InvalidArgument", message)


def check_object_lock(wanted: Any) -> None:
    """MalformedXML, InvalidRetentionPeriod."""
    if wanted.ObjectLockEnabled is None:
        raise S3Error("MalformedXML")
    if wanted.Rule is not None:
        _check_retention(wanted.Rule.DefaultRetention)


def _check_retention(wanted: Any) -> None:
    if wanted is None or wanted.Mode not in _MODES:
        raise S3Error("MalformedXML")
    if (wanted.Days is None) == (wanted.Years is None):
        raise S3Error("MalformedXML")
    if wanted.Days is not None:
        good = 1 <= wanted.Days <= _LOCK_DAYS_MAX
    else:
        good = 1 <= wanted.Years <= _LOCK_YEARS_MAX
    if not good:
        message = "Default retention period must be a positive integer value, at most 100 years."
        raise S3Error("InvalidRetentionPeriod", message)


def check_ownership(wanted: Any) -> None:
    """One rule, with an ownership that there is. MalformedXML."""
    if len(wanted.Rules) != 1 or wanted.Rules[0].ObjectOwnership not in OWNERSHIPS:
        raise S3Error("MalformedXML")


def check_logging(wanted: Any) -> None:
    """Where logs go, and what their keys are like. MalformedXML, InvalidArgument."""
    logs = wanted.LoggingEnabled
    shape = None if logs is None else logs.TargetObjectKeyFormat
    if shape is None or (shape.SimplePrefix is None) == (shape.PartitionedPrefix is None):
        raise S3Error("MalformedXML")
    if len(logs.TargetPrefix.encode()) > KEY_BYTES_MAX - _LOG_KEY_BYTES:
        raise S3Error("InvalidArgument", "The target prefix is too long.")
