"""Buckets: list, create, head, delete, and the little that clients ask about them."""

from collections.abc import Awaitable, Callable
from typing import Any

from dc.names.api import BucketExists, BucketNotEmpty
from dc.names.model import Bucket
from gateway.access.acl import ACL, register_text
from gateway.access.acl_requests import acl_of_headers
from gateway.access.ownership import BUCKET_OWNER_ENFORCED
from gateway.context import Context
from gateway.dates import iso_date
from gateway.errors import S3Error
from gateway.limits import BUCKETS_PER_PAGE_MAX, BUCKETS_PER_USER_MAX
from gateway.listing import make_token, read_token
from gateway.model.writer import output
from gateway.owners import ANONYMOUS_ID, owner
from gateway.positions import position_line
from gateway.request import Request
from gateway.settings import encoded, setting_text

Handler = Callable[[Context, Request, Any], Awaitable[Any]]

REGIONS_OF_OLD = ("", "us-east-1")
"""In S3's first region (and for SigV2, which knows none) to make a bucket that one has succeeds."""

_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")
_NAME_EDGES = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_PREFIXES_RESERVED = ("xn--", "sthree-", "amzn-s3-demo-")
_SET_WITH_BUCKET = ("acl", "ownership", "object-lock")
_SUFFIXES_RESERVED = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def check_bucket_name(name: str) -> None:
    """S3's rules for the names of general purpose buckets. InvalidBucketName."""
    good = (
        3 <= len(name) <= 63
        and _NAME_CHARS.issuperset(name)
        and name[0] in _NAME_EDGES
        and name[-1] in _NAME_EDGES
        and not any(pair in name for pair in ("..", ".-", "-."))
        and not _is_address(name)
        and not name.startswith(_PREFIXES_RESERVED)
        and not name.endswith(_SUFFIXES_RESERVED)
    )
    if not good:
        raise S3Error("InvalidBucketName", extra={"BucketName": name})


def _is_address(name: str) -> bool:
    parts = name.split(".")
    return len(parts) == 4 and all(part.isdigit() for part in parts)


async def list_buckets(context: Context, request: Request, asked: Any) -> Any:
    """The caller's buckets, by name: all of them, unless a number is given."""
    directory = context.names.directory
    prefix, region = asked.Prefix or "", asked.BucketRegion
    after = read_token(asked.ContinuationToken) if asked.ContinuationToken else ""
    found = [
        bucket
        for bucket in directory.buckets_of(request.user)
        if bucket.name.startswith(prefix)
        and bucket.name > after
        and region in (None, bucket.region)
    ]
    limit = len(found) if asked.MaxBuckets is None else asked.MaxBuckets
    if asked.MaxBuckets is not None and not 1 <= limit <= BUCKETS_PER_PAGE_MAX:
        raise S3Error(
            "InvalidArgument",
            f"Argument max-buckets must be an integer between 1 and {BUCKETS_PER_PAGE_MAX}",
            extra={"ArgumentName": "max-buckets", "ArgumentValue": str(limit)},
        )
    page = found[:limit]
    rows = [
        {
            "Name": bucket.name,
            "CreationDate": iso_date(bucket.created),
            "BucketRegion": bucket.region,
        }
        for bucket in page
    ]
    return output(
        "ListBuckets",
        Owner=owner(directory, request.user or ANONYMOUS_ID),
        Buckets=rows,
        ContinuationToken=make_token(page[-1].name) if len(page) < len(found) else None,
        Prefix=asked.Prefix,
    )


async def create_bucket(context: Context, request: Request, asked: Any) -> Any:
    """Make a bucket in this DC's region, with the settings that the request's headers give."""
    name, config = asked.Bucket, context.config
    check_bucket_name(name)
    region = _location_constraint(asked.CreateBucketConfiguration)
    if region and region != config.region and region not in config.region_aliases:
        raise S3Error(
            "IllegalLocationConstraintException",
            f"The {region} location constraint is incompatible with the region of this endpoint, "
            f"{config.region}.",
        )
    values = _first_settings(context, request, asked)
    if len(context.names.directory.buckets_of(request.user)) >= BUCKETS_PER_USER_MAX:
        raise S3Error("TooManyBuckets")
    try:
        made = await context.names.create_bucket(
            name, request.user, config.region, registers=values
        )
    except BucketExists as error:
        _check_again(error.bucket, request, values)
    else:
        request.common += position_line(made.created, made.id)
    return output("CreateBucket", Location=f"/{name}")


def _location_constraint(wanted: Any) -> str:
    """The region that the body names, "" for none."""
    if wanted is None:
        return ""
    if any((wanted.Location, wanted.Bucket, wanted.Tags)):
        raise S3Error("NotImplemented", "Only LocationConstraint is implemented.")
    region = (wanted.LocationConstraint or "").strip()
    return "eu-west-1" if region == "EU" else region


def _first_settings(context: Context, request: Request, asked: Any) -> dict[str, str]:
    """The settings that a bucket is made with."""
    values: dict[str, str] = {}
    user = request.user
    acl = acl_of_headers(context.names.directory, request.headers, user, None)
    if acl is not None and (text := register_text(acl, user)):
        if asked.ObjectOwnership == BUCKET_OWNER_ENFORCED:
            raise S3Error("InvalidBucketAclWithObjectOwnership")
        values[ACL] = text
    if asked.ObjectOwnership is not None:
        rule = {"ObjectOwnership": asked.ObjectOwnership}
        values["ownership"] = encoded({"Rules": [rule]})
    if asked.ObjectLockEnabledForBucket:
        values["versioning"] = "Enabled"
        values["object-lock"] = encoded({"ObjectLockEnabled": "Enabled"})
    return values


def _check_again(bucket: Bucket, request: Request, values: dict[str, str]) -> None:
    """Making what is there already is an error; but not, as in S3, for its owner in the region of
    old, if the bucket has the very settings that were asked for."""
    mine = bucket.owner == request.user
    old = request.auth.region in REGIONS_OF_OLD
    same = all(setting_text(bucket, name) == values.get(name, "") for name in _SET_WITH_BUCKET)
    if mine and same and old:
        return
    code = "BucketAlreadyOwnedByYou" if mine and not old else "BucketAlreadyExists"
    raise S3Error(code, extra={"BucketName": bucket.name})


async def head_bucket(_context: Context, request: Request, _asked: Any) -> Any:
    return output("HeadBucket", BucketRegion=request.bucket.region, AccessPointAlias=False)


async def delete_bucket(context: Context, request: Request, _asked: Any) -> Any:
    try:
        stamp = await context.names.delete_bucket(request.bucket.id)
    except BucketNotEmpty:
        raise S3Error("BucketNotEmpty", extra={"BucketName": request.bucket.name}) from None
    request.common += position_line(stamp, request.bucket.id)
    return None


async def get_location(_context: Context, request: Request, _asked: Any) -> Any:
    region = request.bucket.region
    return output(
        "GetBucketLocation", LocationConstraint="" if region in REGIONS_OF_OLD else region
    )
