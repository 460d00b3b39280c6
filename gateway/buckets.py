"""Buckets: list, create, head, delete, and the little that clients ask about them.

What a bucket does not have yet (policy, lifecycle, CORS, ...) is answered as S3 answers for a
bucket where it was never set: that is the truth, and many clients ask before they do anything.
"""

from collections.abc import Awaitable, Callable

from dc.names.api import BucketExists, BucketNotEmpty
from gateway.body import announced_length, receive
from gateway.checksums import BodyVerifier
from gateway.context import Context
from gateway.dates import iso_date
from gateway.errors import S3Error, xml_text
from gateway.limits import BUCKETS_PER_USER_MAX, XML_CREATE_BUCKET_BYTES_MAX
from gateway.reply import XMLNS, Reply, header_line, xml_reply
from gateway.request import Request
from gateway.xmltext import child_texts, parse_document

Operation = Callable[[Context, Request], Awaitable[Reply]]

_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")
_NAME_EDGES = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_PREFIXES_RESERVED = ("xn--", "sthree-", "amzn-s3-demo-")
_SUFFIXES_RESERVED = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def check_bucket_name(name: str) -> None:
    """S3's rules for the names of general purpose buckets. InvalidBucketName."""
    good = (
        3 <= len(name) <= 63
        and _NAME_CHARS.issuperset(name)
        and name[0] in _NAME_EDGES
        and name[-1] in _NAME_EDGES
        and ".." not in name
        and not _is_address(name)
        and not name.startswith(_PREFIXES_RESERVED)
        and not name.endswith(_SUFFIXES_RESERVED)
    )
    if not good:
        raise S3Error("InvalidBucketName", extra={"BucketName": name})


def _is_address(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 4 and all(part.isdigit() for part in parts)


async def list_buckets(context: Context, request: Request) -> Reply:
    """The caller's buckets, in one page."""
    owner = request.user
    prefix = request.query.get("prefix", "")
    rows = "".join(
        f"<Bucket><Name>{bucket.name}</Name><CreationDate>{iso_date(bucket.created)}"
        f"</CreationDate><BucketRegion>{xml_text(bucket.region)}</BucketRegion></Bucket>"
        for bucket in context.names.directory.buckets_of(owner)
        if bucket.name.startswith(prefix)
    )
    return xml_reply(
        f"<ListAllMyBucketsResult {XMLNS}><Owner><ID>{owner}</ID></Owner>"
        f"<Buckets>{rows}</Buckets></ListAllMyBucketsResult>"
    )


async def create_bucket(context: Context, request: Request) -> Reply:
    """Make a bucket in this DC's region."""
    name = request.target.bucket
    check_bucket_name(name)
    region = await _location_constraint(context, request)
    config = context.config
    if region and region != config.region and region not in config.region_aliases:
        raise S3Error(
            "IllegalLocationConstraintException",
            f"The {region} location constraint is incompatible with the region of this endpoint, "
            f"{config.region}.",
        )
    if len(context.names.directory.buckets_of(request.user)) >= BUCKETS_PER_USER_MAX:
        raise S3Error("TooManyBuckets")
    try:
        await context.names.create_bucket(name, request.user, config.region)
    except BucketExists as error:
        mine = error.bucket.owner == request.user
        code = "BucketAlreadyOwnedByYou" if mine else "BucketAlreadyExists"
        raise S3Error(code, extra={"BucketName": name}) from None
    return Reply(200, f"Location: /{name}\r\n")


async def _location_constraint(context: Context, request: Request) -> str:
    """The region that the body names, "" when there is no body."""
    if "Content-Length" not in request.headers and request.payload.is_eof():
        return ""
    length = announced_length(request, XML_CREATE_BUCKET_BYTES_MAX, "MaxMessageLengthExceeded")
    verifier = BodyVerifier(request.headers, request.auth)
    body, _ = await receive(request, length, verifier, context.offload)
    if not body:
        return ""
    found = child_texts(parse_document(body, "CreateBucketConfiguration"))
    if not {"Location", "Bucket", "Tags"}.isdisjoint(found):
        raise S3Error("NotImplemented", "Only LocationConstraint is implemented.")
    region = found.get("LocationConstraint", "").strip()
    return "eu-west-1" if region == "EU" else region


async def head_bucket(_context: Context, request: Request) -> Reply:
    region = header_line("x-amz-bucket-region", request.bucket.region)
    return Reply(200, f"{region}x-amz-access-point-alias: false\r\n")


async def delete_bucket(context: Context, request: Request) -> Reply:
    try:
        await context.names.delete_bucket(request.bucket.id)
    except BucketNotEmpty:
        raise S3Error("BucketNotEmpty", extra={"BucketName": request.bucket.name}) from None
    return Reply(204)


async def get_location(_context: Context, request: Request) -> Reply:
    region = request.bucket.region
    if region == "us-east-1":
        return xml_reply(f"<LocationConstraint {XMLNS}/>")
    text = xml_text(region)
    return xml_reply(f"<LocationConstraint {XMLNS}>{text}</LocationConstraint>")


async def get_acl(_context: Context, request: Request) -> Reply:
    """The owner, and only the owner, may do everything: of a bucket and of all its objects."""
    owner = request.bucket.owner
    return xml_reply(
        f"<AccessControlPolicy {XMLNS}><Owner><ID>{owner}</ID></Owner><AccessControlList><Grant>"
        '<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:type="CanonicalUser"><ID>{owner}</ID></Grantee>'
        "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"
    )


def _document(text: str) -> Operation:
    async def answer(_context: Context, _request: Request) -> Reply:
        return xml_reply(text)

    return answer


def _absent(code: str) -> Operation:
    async def answer(_context: Context, _request: Request) -> Reply:
        raise S3Error(code)

    return answer


NEVER_SET: dict[str, Operation] = {
    "versioning": _document(f"<VersioningConfiguration {XMLNS}/>"),
    "accelerate": _document(f"<AccelerateConfiguration {XMLNS}/>"),
    "logging": _document(f"<BucketLoggingStatus {XMLNS}/>"),
    "notification": _document(f"<NotificationConfiguration {XMLNS}/>"),
    "requestPayment": _document(
        f"<RequestPaymentConfiguration {XMLNS}><Payer>BucketOwner</Payer>"
        "</RequestPaymentConfiguration>"
    ),
    "cors": _absent("NoSuchCORSConfiguration"),
    "encryption": _absent("ServerSideEncryptionConfigurationNotFoundError"),
    "lifecycle": _absent("NoSuchLifecycleConfiguration"),
    "object-lock": _absent("ObjectLockConfigurationNotFoundError"),
    "ownershipControls": _absent("OwnershipControlsNotFoundError"),
    "policy": _absent("NoSuchBucketPolicy"),
    "publicAccessBlock": _absent("NoSuchPublicAccessBlockConfiguration"),
    "replication": _absent("ReplicationConfigurationNotFoundError"),
    "tagging": _absent("NoSuchTagSet"),
    "website": _absent("NoSuchWebsiteConfiguration"),
}
"""Answers to GET of what no bucket can have been given, by subresource."""
