"""The actions of S3 that policies may name, and what each is done to.

Source: "Actions, resources, and condition keys for Amazon S3" in the Service Authorization
Reference. It has far more of them than this gateway has operations: a policy that works at Amazon
is no worse for naming what is never asked here. What is in no list is refused, as there.
"""

from gateway.access.patterns import Pattern, parse_pattern

PREFIX = "s3:"

OF_OBJECTS = frozenset(
    (
        *("AbortMultipartUpload", "BypassGovernanceRetention", "DeleteObject"),
        *("DeleteObjectTagging", "DeleteObjectVersion", "DeleteObjectVersionTagging"),
        *("GetObject", "GetObjectAcl", "GetObjectAttributes", "GetObjectLegalHold"),
        *("GetObjectRetention", "GetObjectTagging", "GetObjectTorrent", "GetObjectVersion"),
        *("GetObjectVersionAcl", "GetObjectVersionAttributes", "GetObjectVersionForReplication"),
        *("GetObjectVersionTagging", "GetObjectVersionTorrent", "InitiateReplication"),
        *("ListMultipartUploadParts", "ObjectOwnerOverrideToBucketOwner", "PutObject"),
        *("PutObjectAcl", "PutObjectLegalHold", "PutObjectRetention", "PutObjectTagging"),
        *("PutObjectVersionAcl", "PutObjectVersionTagging", "ReplicateDelete", "ReplicateObject"),
        *("ReplicateTags", "RestoreObject", "UpdateObjectEncryption"),
    )
)

OF_BUCKETS = frozenset(
    (
        *("CreateBucket", "CreateBucketMetadataTableConfiguration", "DeleteBucket"),
        *("DeleteBucketMetadataTableConfiguration", "DeleteBucketPolicy", "DeleteBucketWebsite"),
        *("GetAccelerateConfiguration", "GetAnalyticsConfiguration", "GetBucketAbac"),
        *("GetBucketAcl", "GetBucketCORS", "GetBucketLocation", "GetBucketLogging"),
        *("GetBucketMetadataTableConfiguration", "GetBucketNotification"),
        *("GetBucketObjectLockConfiguration", "GetBucketOwnershipControls", "GetBucketPolicy"),
        *("GetBucketPolicyStatus", "GetBucketPublicAccessBlock", "GetBucketRequestPayment"),
        *("GetBucketTagging", "GetBucketVersioning", "GetBucketWebsite"),
        *("GetEncryptionConfiguration", "GetIntelligentTieringConfiguration"),
        *("GetInventoryConfiguration", "GetLifecycleConfiguration", "GetMetricsConfiguration"),
        *("GetReplicationConfiguration", "ListBucket", "ListBucketMultipartUploads"),
        *("ListBucketVersions", "ListTagsForResource", "PauseReplication"),
        *("PutAccelerateConfiguration", "PutAnalyticsConfiguration", "PutBucketAbac"),
        *("PutBucketAcl", "PutBucketCORS", "PutBucketLogging", "PutBucketNotification"),
        *("PutBucketObjectLockConfiguration", "PutBucketOwnershipControls", "PutBucketPolicy"),
        *("PutBucketPublicAccessBlock", "PutBucketRequestPayment", "PutBucketTagging"),
        *("PutBucketVersioning", "PutBucketWebsite", "PutEncryptionConfiguration"),
        *("PutIntelligentTieringConfiguration", "PutInventoryConfiguration"),
        *("PutLifecycleConfiguration", "PutMetricsConfiguration", "PutReplicationConfiguration"),
        *("TagResource", "UntagResource", "UpdateBucketMetadataInventoryTableConfiguration"),
        "UpdateBucketMetadataJournalTableConfiguration",
    )
)

OF_ACCOUNTS = frozenset(
    ("GetAccountPublicAccessBlock", "ListAllMyBuckets", "PutAccountPublicAccessBlock")
)
"""Known, and done to no bucket: no policy of one can allow them."""

ACTIONS = OF_OBJECTS | OF_BUCKETS | OF_ACCOUNTS
_BY_LOWER = {action.lower(): action for action in ACTIONS}


def actions_of(text: str) -> frozenset[str]:
    """The actions that a text of a policy names, without "s3:"; empty when there are none such."""
    if text == "*":
        return ACTIONS
    name = text.lower()
    if not name.startswith(PREFIX):
        return frozenset()
    name = name.removeprefix(PREFIX)
    if name in _BY_LOWER:
        return frozenset((_BY_LOWER[name],))
    if not is_wild(name):
        return frozenset()
    glob = Pattern(parse_pattern(name, wildcards=True, variables=False)).widest()
    return frozenset(action for lower, action in _BY_LOWER.items() if glob.matches(lower))


def is_wild(text: str) -> bool:
    """Whether it is a pattern, not a name."""
    return "*" in text or "?" in text
