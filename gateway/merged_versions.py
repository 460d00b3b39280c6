"""Listings of versions of a bucket that is read through, merged as `gateway/merged_listing.py` has
it.

A version has one place: its key, the newest first. It is shown when it is here, or when others have
it and it was not deleted here. Of null versions a key shows one: the one that is here, else the
latest that others have. `IsLatest` is what a GET without a version gives: of a key of which any
version is here the latest here, though others have a newer one; else the latest that is shown.
"""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from dc.names.model import NULL_VERSION
from dc.names.pages import ListedVersion, VersionPage
from dc.read_through import Others
from dc.stamps import STAMP_LENGTH, version_id
from gateway.context import Context
from gateway.merged_listing import Span, cut, first_page, prefixes_of, take_out
from gateway.request import Request

After = tuple[str, str | None]
"""The key and the version id that a page starts after; None after all of the key."""
_BEFORE_ALL = "0" * STAMP_LENGTH
"""No version stands before the one that this would be the id of."""


class Merging(NamedTuple):
    """A page, and its common prefixes of which only others know, with who does."""

    page: VersionPage
    doubtful: dict[str, list[str]]


def merge(here: VersionPage, there: Mapping[str, VersionPage], limit: int) -> Merging:
    """Pages that start after the same, by the names of the datacenters."""
    versions = _of_others(here, there)
    versions |= {(one.key, one.vid): one for one in here.versions}
    rows = {(one.key, version_id(one.stamp)): one for one in versions.values()}
    prefixes = {(one, ""): names for one, names in prefixes_of(here, there).items()}
    ends = [
        (page.last_key, page.last_vid or "") for page in (here, *there.values()) if page.truncated
    ]
    doubtful = [place for place, names in prefixes.items() if names]
    shown, truncated, last = cut(sorted([*rows, *prefixes]), ends, doubtful, limit)
    last_key, last_vid = last or ("", "")
    page = VersionPage(
        [rows[place] for place in shown if place in rows],
        [place[0] for place in shown if place in prefixes],
        truncated,
        last_key,
        last_vid or None,
    )
    return Merging(page, {place[0]: prefixes[place] for place in shown if prefixes.get(place)})


def _of_others(
    here: VersionPage, there: Mapping[str, VersionPage]
) -> dict[tuple[str, str], ListedVersion]:
    """What others have, by key and version id, the latest of each key marked."""
    versions: dict[tuple[str, str], ListedVersion] = {}
    latest: dict[str, str] = {}
    for page in there.values():
        for one in page.versions:
            if one.latest:
                latest[one.key] = max(latest.get(one.key, ""), one.stamp)
            known = versions.get((one.key, one.vid))
            if known is None or known.stamp < one.stamp:
                versions[one.key, one.vid] = one
    own = {one.key for one in here.versions}
    return {
        place: replace(one, latest=latest.get(one.key) == one.stamp and one.key not in own)
        for place, one in versions.items()
    }


async def merged_versions(
    context: Context, request: Request, span: Span, after: After
) -> VersionPage:
    """A page of the listing of the versions that are here and elsewhere. SlowDown."""
    bucket_id, prefix, delimiter, limit = span
    names = context.names

    async def here(start: After) -> VersionPage:
        return await names.list_versions(
            bucket_id, prefix=prefix, delimiter=delimiter, after=start, limit=limit
        )

    async def merged(others: Others, start: After) -> tuple[VersionPage, list[str]]:
        told = await others.version_pages(
            bucket_id, prefix=prefix, delimiter=delimiter, after=start, limit=limit
        )
        page, doubtful = merge(await here(start), told.pages, limit)
        real = await others.with_news(bucket_id, doubtful, versions=True) if doubtful else set()
        await take_out(page.prefixes, doubtful.keys() - real, is_here)
        return page, told.unasked

    async def is_here(below: str) -> bool:
        return bool((await names.list_versions(bucket_id, prefix=below, limit=1)).versions)

    if after[1] == NULL_VERSION:
        after = after[0], await _place_of_null(context, bucket_id, after[0])
    return await first_page(
        context, request, after, here, merged, lambda page: (page.last_key, page.last_vid)
    )


async def _place_of_null(context: Context, bucket_id: str, key: str) -> str:
    """The id that stands for the null version of a key. If there is none here it is not known where
    it stood, and the key begins again."""
    version = await context.names.version(bucket_id, key, NULL_VERSION)
    return _BEFORE_ALL if version is None else version_id(version.stamp)
