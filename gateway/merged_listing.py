"""Listings of a bucket that is read through: pages of several datacenters, merged into one.

A page ends at the smallest end of those that have more, so nothing is left out and nothing comes
twice, and what it ends with is where the next one starts, whoever is asked for it. What is here
goes before what others say of a key. A common prefix that only others have is shown when they have
a key below it that was not deleted here, which is looked into for some of a page; then the page
ends, and is shorter.

The page of this datacenter is read last: what comes here meanwhile is in one of them, or in both.

    x-farshore-merged: paris        whose page is in it
    x-farshore-not-merged: oslo     who could not be asked, or did not answer in time

Listings of versions are merged by the same, in `gateway/merged_versions.py`.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from dc.names.pages import Listed, Page, VersionPage
from dc.read_through import Others, TooManyAsked
from gateway.context import Context
from gateway.read_through import slow_down
from gateway.reply import header_line
from gateway.request import Request

MERGED = "x-farshore-merged"
NOT_MERGED = "x-farshore-not-merged"
DOUBTFUL_MAX = 64
"""Common prefixes of one page that are looked into: each is a request to a peer."""
_ROUNDS_MAX = 8
"""Pages that turn out to be empty, because all was deleted here, before one is answered so."""
_ROUNDS_S = 2.0
"""After this long no more of them are asked for: who does not answer is waited for in each, twice
or thrice (pages, common prefixes, the null version of a key). So the last takes up to 8."""

Place = TypeVar("Place", str, tuple[str, str])
P = TypeVar("P", Page, VersionPage)
A = TypeVar("A")


class Span(NamedTuple):
    """What a page is asked for by; see `GatewayNames.list_objects`."""

    bucket_id: str
    prefix: str
    delimiter: str
    limit: int


class Merging(NamedTuple):
    """A page, and its common prefixes of which only others know, with who does."""

    page: Page
    doubtful: dict[str, list[str]]


class Cut(NamedTuple, Generic[Place]):
    """What a page shows, whether there is more, and where the next one begins."""

    shown: list[Place]
    truncated: bool
    last: Place | None


def cut(
    found: list[Place], ends: Sequence[Place], doubtful: Sequence[Place], limit: int
) -> Cut[Place]:
    """Of what several pages have, in order, what one may show. `ends`: the last of those that have
    more; `doubtful`: of common prefixes."""
    if ends:
        del found[bisect_right(found, min(ends)) :]
    stop = min(limit, len(found))
    doubted = set(doubtful)
    places = [number for number, one in enumerate(found) if one in doubted]
    if len(places) > DOUBTFUL_MAX:
        stop = min(stop, places[DOUBTFUL_MAX])
    if stop < len(found):
        return Cut(found[:stop], True, found[stop - 1])
    return Cut(found, bool(ends), min(ends) if ends else None)


def prefixes_of(here: P, there: Mapping[str, P]) -> dict[str, list[str]]:
    """Common prefixes, with who has them where this datacenter has not."""
    prefixes: dict[str, list[str]] = {}
    for name, page in there.items():
        for prefix in page.prefixes:
            prefixes.setdefault(prefix, []).append(name)
    return prefixes | {prefix: [] for prefix in here.prefixes}


def merge(here: Page, there: Mapping[str, Page], limit: int) -> Merging:
    """Pages that start after the same, by the names of the datacenters; of a key that several tell
    of the latest counts."""
    objects: dict[str, Listed] = {}
    for page in there.values():
        for one in page.objects:
            if one.key not in objects or objects[one.key].stamp < one.stamp:
                objects[one.key] = one
    objects |= {one.key: one for one in here.objects}
    prefixes = prefixes_of(here, there)
    ends = [page.last for page in (here, *there.values()) if page.truncated]
    doubtful = [prefix for prefix, names in prefixes.items() if names]
    shown, truncated, last = cut(sorted([*objects, *prefixes]), ends, doubtful, limit)
    return Merging(
        Page(
            [objects[key] for key in shown if key in objects],
            [key for key in shown if key in prefixes],
            truncated,
            last or "",
        ),
        {key: prefixes[key] for key in shown if prefixes.get(key)},
    )


async def merged_page(context: Context, request: Request, span: Span, after: str) -> Page:
    """A page of the listing of what is here and elsewhere. SlowDown."""
    bucket_id, prefix, delimiter, limit = span
    names = context.names

    async def here(start: str) -> Page:
        return await names.list_objects(
            bucket_id, prefix=prefix, delimiter=delimiter, after=start, limit=limit
        )

    async def merged(others: Others, start: str) -> tuple[Page, list[str]]:
        told = await others.pages(
            bucket_id, prefix=prefix, delimiter=delimiter, after=start, limit=limit
        )
        page, doubtful = merge(await here(start), told.pages, limit)
        real = await others.with_news(bucket_id, doubtful) if doubtful else set()
        await take_out(page.prefixes, doubtful.keys() - real, is_here)
        return page, told.unasked

    async def is_here(below: str) -> bool:
        return bool((await names.list_objects(bucket_id, prefix=below, limit=1)).objects)

    return await first_page(context, request, after, here, merged, lambda page: page.last)


async def take_out(
    prefixes: list[str], unreal: Iterable[str], is_here: Callable[[str], Awaitable[bool]]
) -> None:
    """Take out common prefixes below which others have no news, unless something has come here
    meanwhile."""
    for prefix in unreal:
        if not await is_here(prefix):
            prefixes.remove(prefix)


async def first_page(
    context: Context,
    request: Request,
    after: A,
    here: Callable[[A], Awaitable[P]],
    merged: Callable[[Others, A], Awaitable[tuple[P, list[str]]]],
    last_of: Callable[[P], A],
) -> P:
    """The next page that shows anything, within bounds, and in the answer who is in it. `merged`
    also says who is not."""
    names = {peer.name for peer in context.names.peers()}
    missing: set[str] = set()
    if context.others is None:
        missing = names
        page = await here(after)
    else:
        now = asyncio.get_running_loop().time
        until = now() + _ROUNDS_S
        for _ in range(_ROUNDS_MAX):
            try:
                page, unasked = await merged(context.others, after)
            except TooManyAsked:
                raise slow_down() from None
            missing.update(unasked)
            if not (page.is_empty and page.truncated) or now() >= until:
                break
            after = last_of(page)
    for name, datacenters in ((MERGED, names - missing), (NOT_MERGED, missing)):
        if datacenters:
            request.common += header_line(name, ", ".join(sorted(datacenters)))
    return page
