"""Tagging of buckets and objects. What tags may be is in `gateway/tags.py`."""

from typing import Any

from dc.names.model import Version
from gateway.access.facts import facts_of_tags
from gateway.context import Context
from gateway.errors import S3Error
from gateway.model.writer import output
from gateway.notifications.records import What, told
from gateway.read import find_version
from gateway.request import Request
from gateway.settings import put_setting, setting
from gateway.tags import TAGS, check_bucket_tags, check_tags, register_text, tags_in


async def get_bucket_tagging(_context: Context, request: Request, _asked: Any) -> Any:
    tagging = setting(request.bucket, TAGS)
    if tagging is None:
        raise S3Error("NoSuchTagSet", extra={"BucketName": request.bucket.name})
    return output("GetBucketTagging", TagSet=tagging.TagSet)


async def put_bucket_tagging(context: Context, request: Request, asked: Any) -> Any:
    check_bucket_tags([(tag.Key, tag.Value) for tag in asked.Tagging.TagSet])
    await put_setting(context, request, TAGS, asked.Tagging)


async def delete_bucket_tagging(context: Context, request: Request, _asked: Any) -> Any:
    await put_setting(context, request, TAGS, None)


async def get_object_tagging(context: Context, request: Request, asked: Any) -> Any:
    version = await _version(context, request, asked)
    return output(
        "GetObjectTagging",
        VersionId=_shown(version),
        TagSet=[{"Key": key, "Value": value} for key, value in tags_in(version.registers).items()],
    )


async def put_object_tagging(context: Context, request: Request, asked: Any) -> Any:
    tags = check_tags([(tag.Key, tag.Value) for tag in asked.Tagging.TagSet])
    version = await find_version(context, request, asked.VersionId, facts_of_tags(tags))
    await _set(context, request, version, register_text(tags))
    return output("PutObjectTagging", VersionId=_shown(version))


async def delete_object_tagging(context: Context, request: Request, asked: Any) -> Any:
    version = await _version(context, request, asked)
    await _set(context, request, version, "")
    return output("DeleteObjectTagging", VersionId=_shown(version))


async def _version(context: Context, request: Request, asked: Any) -> Version:
    return await find_version(context, request, asked.VersionId)


async def _set(context: Context, request: Request, version: Version, text: str) -> None:
    names, event = context.names, "ObjectTagging:Put" if text else "ObjectTagging:Delete"
    what = What(version.key, await names.stamp(), version.vid, version.size, version.etag)
    await names.set_registers(
        version.bucket,
        version.key,
        version.vid,
        {TAGS: text},
        written=version.stamp,
        events=told(context, request, event, what),
    )


def _shown(version: Version) -> str | None:
    return version.vid or None
