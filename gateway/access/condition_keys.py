"""The keys that conditions and variables of policies may ask for, all in lower-case letters.

Source: "Actions, resources, and condition keys for Amazon S3" in the Service Authorization
Reference, and "AWS global condition context keys" in the IAM User Guide. Keys for what there is
not here (roles, organizations, networks of a cloud, access points) are known and never have a
value: a policy means what it meant at Amazon, for a request that has none of that.
"""

from collections.abc import Mapping

EXISTING_TAG = "s3:existingobjecttag/"
REQUEST_TAG = "s3:requestobjecttag/"
_WITH_NAME = (EXISTING_TAG, REQUEST_TAG, "s3:buckettag/", "s3:accesspointtag/")
_GLOBAL_WITH_NAME = ("aws:principaltag/", "aws:requesttag/", "aws:resourcetag/")
"""Keys with a name of a tag after them."""

_PUTS = frozenset(("PutObject", "BypassGovernanceRetention"))
_PUTS_ACL = frozenset(("PutObjectAcl", "PutObjectVersionAcl"))
_LISTINGS = frozenset(("ListBucket", "ListBucketVersions"))
_GRANTS = _PUTS | _PUTS_ACL | {"CreateBucket", "PutBucketAcl"}
_ENCRYPTS = _PUTS | {"ReplicateObject"}
_ENCRYPTS_ANEW = _ENCRYPTS | {"UpdateObjectEncryption"}
_RETAINS = frozenset(("PutObject", "PutObjectRetention"))
_PUTS_TAGS = frozenset(("PutObjectTagging", "PutObjectVersionTagging"))
_HAVE_TAGS = _PUTS_ACL | frozenset(
    (
        *("DeleteObjectTagging", "DeleteObjectVersionTagging", "GetObject", "GetObjectAcl"),
        *("GetObjectAttributes", "GetObjectTagging", "GetObjectVersion", "GetObjectVersionAcl"),
        *("GetObjectVersionAttributes", "GetObjectVersionTagging", *_PUTS_TAGS),
        "UpdateObjectEncryption",
    )
)
_OF_VERSIONS = frozenset(
    (
        *("DeleteObjectVersion", "DeleteObjectVersionTagging", "GetObjectVersion"),
        *("GetObjectVersionAcl", "GetObjectVersionAttributes", "GetObjectVersionTagging"),
        *("GetObjectVersionTorrent", "PutObjectVersionAcl", "PutObjectVersionTagging"),
    )
)
_SSE = "s3:x-amz-server-side-encryption"

ANY_ACTION: frozenset[str] = frozenset()
OF_S3: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("s3:prefix", "s3:delimiter", "s3:max-keys"), _LISTINGS),
    **dict.fromkeys(
        (
            *("s3:x-amz-acl", "s3:x-amz-grant-full-control", "s3:x-amz-grant-read"),
            *("s3:x-amz-grant-read-acp", "s3:x-amz-grant-write", "s3:x-amz-grant-write-acp"),
        ),
        _GRANTS,
    ),
    **dict.fromkeys((_SSE, f"{_SSE}-aws-kms-key-id"), _ENCRYPTS_ANEW),
    f"{_SSE}-customer-algorithm": _ENCRYPTS,
    **dict.fromkeys(
        (
            *("s3:x-amz-copy-source", "s3:x-amz-metadata-directive"),
            "s3:x-amz-website-redirect-location",
        ),
        _PUTS,
    ),
    "s3:x-amz-storage-class": _PUTS | _PUTS_ACL,
    "s3:x-amz-object-ownership": frozenset(("CreateBucket",)),
    "s3:x-amz-bucket-namespace": frozenset(("CreateBucket",)),
    "s3:locationconstraint": frozenset(("CreateBucket",)),
    EXISTING_TAG: _HAVE_TAGS,
    REQUEST_TAG: _PUTS | _PUTS_TAGS,
    "s3:requestobjecttagkeys": _PUTS | _PUTS_TAGS,
    "s3:versionid": _OF_VERSIONS,
    "s3:object-lock-mode": _RETAINS,
    "s3:object-lock-retain-until-date": _RETAINS,
    "s3:object-lock-remaining-retention-days": _RETAINS,
    "s3:object-lock-legal-hold": frozenset(("PutObject", "PutObjectLegalHold")),
    "s3:if-match": frozenset(("PutObject", "DeleteObject")),
    "s3:if-none-match": frozenset(("PutObject",)),
    "s3:objectcreationoperation": frozenset(("PutObject",)),
    "s3:inventoryaccessibleoptionalfields": frozenset(("PutInventoryConfiguration",)),
    "s3:destinationregion": frozenset(("PauseReplication",)),
    "s3:isreplicationpauserequest": frozenset(("PutReplicationConfiguration",)),
    **dict.fromkeys(
        (
            *("s3:authtype", "s3:signatureage", "s3:signatureversion", "s3:tlsversion"),
            *("s3:x-amz-content-sha256", "s3:resourceaccount", "s3:buckettag/"),
            *("s3:dataaccesspointaccount", "s3:dataaccesspointarn", "s3:accesspointtag/"),
            *("s3:accesspointnetworkorigin", "s3:accessgrantsinstancearn"),
        ),
        ANY_ACTION,
    ),
}
"""Keys of S3, and the actions that know them (`ANY_ACTION`: all)."""

GLOBAL = frozenset(
    f"aws:{name}"
    for name in (
        *("currenttime", "epochtime", "tokenissuetime", "securetransport", "sourceip", "referer"),
        *("useragent", "userid", "username", "principaltype", "principalarn", "principalaccount"),
        *("principalorgid", "principalorgpaths", "principalisawsservice", "principalservicename"),
        *("principalservicenameslist", "federatedprovider", "multifactorauthpresent"),
        *("multifactorauthage", "sourceidentity", "sourcearn", "sourceaccount", "sourceowner"),
        *("sourceorgid", "sourceorgpaths", "sourcevpc", "sourcevpcarn", "sourcevpce"),
        *("vpcsourceip", "vpceaccount", "vpceorgid", "vpceorgpaths", "viaawsservice"),
        *("calledvia", "calledviafirst", "calledvialast", "requestedregion", "tagkeys"),
        *("resourceaccount", "resourceorgid", "resourceorgpaths", "assumedroot"),
        *("ec2instancesourcevpc", "ec2instancesourceprivateipv4", "chatbotsourcearn"),
        *("viaawsmcpservice", "calledviaawsmcp", "signinsessionarn"),
    )
)


def normal_key(text: str) -> str | None:
    """A key as facts are asked for it; None when there is no such key."""
    key = text.lower()
    kind, slash, name = key.partition("/")
    if slash:
        return key if name and f"{kind}/" in (*_WITH_NAME, *_GLOBAL_WITH_NAME) else None
    return key if key in OF_S3 or key in GLOBAL else None


def actions_with(key: str) -> frozenset[str]:
    """The actions that know a normal key; `ANY_ACTION` for all."""
    kind, slash, _ = key.partition("/")
    return OF_S3.get(f"{kind}{slash}", ANY_ACTION)
