"""Buckets, to which datacenters their bytes go, and how these are kept, for the admin API.

    GET /buckets                        the buckets, and their rules
    GET /buckets/{name}/replication     the rules of one
    PUT the same                        {"prefix", "to": [NAME...]}: where the bytes of a prefix go;
                                        {"everywhere": true}: no rules any more
    GET /buckets/{name}/tier            how its bytes are kept
    PUT the same                        {"tier": NAME}
    GET /buckets/{name}/read-through    whether what is not here is read from other datacenters
    PUT the same                        {"on": true or false}

The rules are the same that S3 clients set with `PutBucketReplication` (`dc/placement.py`). What
those set beyond prefixes and destinations (the rules' names, rules that are disabled) is kept.
"""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from admin.reply import answer, body, utc
from dc.names.api import Names, NoSuchBucket
from dc.names.attributes import REGISTER_CHARACTERS_MAX
from dc.names.model import Bucket
from dc.objects.api import STANDARD
from dc.objects.redundancy import Mode
from dc.objects.tiers import TIER, Tiers, tier_of
from dc.placement import DATACENTER_ARN, ENABLED, REPLICATION, placement
from dc.read_through import ON, READ_THROUGH, reads_through
from dc.stamps import stamp_ms

ONE_DISK = Tiers(Mode(1, 0))
RULES_MAX = 1000
"""As many as S3 takes."""
PREFIX_CHARACTERS_MAX = 1024
Prefix = Annotated[str, Meta(max_length=PREFIX_CHARACTERS_MAX)]
Rule = dict[str, Any]


class PutRules(msgspec.Struct, forbid_unknown_fields=True):
    """`to` empty: nothing is said of the prefix any more."""

    prefix: Prefix = ""
    to: Annotated[list[str], Meta(max_length=64)] = []
    everywhere: bool = False


class PutTier(msgspec.Struct, forbid_unknown_fields=True):
    tier: Annotated[str, Meta(max_length=64)]


class PutReadThrough(msgspec.Struct, forbid_unknown_fields=True):
    on: bool


class BucketsApi:
    """Of one datacenter; `own` is its name. `moved` is told when a bucket's tier was changed."""

    def __init__(
        self,
        names: Names,
        own: str,
        tiers: Tiers = ONE_DISK,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        self._names = names
        self._own = own
        self._tiers = tiers
        self._moved = moved

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/buckets", self._list),
            web.get("/buckets/{name}/replication", self._show),
            web.put("/buckets/{name}/replication", self._put),
            web.get("/buckets/{name}/tier", self._show_tier),
            web.put("/buckets/{name}/tier", self._put_tier),
            web.get("/buckets/{name}/read-through", self._show_read_through),
            web.put("/buckets/{name}/read-through", self._put_read_through),
        ]

    async def _list(self, _: web.Request) -> web.Response:
        directory = self._names.directory
        found = [
            (name, bucket)
            for bucket in directory.all_buckets()
            if bucket.live and (name := directory.shown_name(bucket.id))
        ]
        return answer({"buckets": [self._shown(name, bucket) for name, bucket in sorted(found)]})

    async def _show(self, request: web.Request) -> web.Response:
        bucket = self._bucket(request)
        return answer(self._shown(request.match_info["name"], bucket))

    async def _put(self, request: web.Request) -> web.Response:
        wanted = await body(request, PutRules)
        bucket = self._bucket(request)
        if wanted.everywhere:
            if wanted.to or wanted.prefix:
                raise msgspec.ValidationError("`everywhere` is for the whole bucket, and alone")
            text = ""
        else:
            text = self._changed(bucket, wanted)
        await self._names.set_bucket_registers(bucket.id, {REPLICATION: text})
        return answer(self._shown(request.match_info["name"], self._bucket(request)))

    async def _show_tier(self, request: web.Request) -> web.Response:
        return answer(self._tier(request.match_info["name"], self._bucket(request)))

    async def _put_tier(self, request: web.Request) -> web.Response:
        wanted = (await body(request, PutTier)).tier
        bucket = self._bucket(request)
        known = [tier.name for tier in self._tiers.all()]
        if wanted not in known:
            raise msgspec.ValidationError(
                f"there is no tier {wanted!r} here: there are {', '.join(known)}"
            )
        if wanted != tier_of(bucket):
            text = "" if wanted == STANDARD else wanted
            await self._names.set_bucket_registers(bucket.id, {TIER: text})
            self._moved()
        return answer(self._tier(request.match_info["name"], self._bucket(request)))

    async def _show_read_through(self, request: web.Request) -> web.Response:
        bucket = self._bucket(request)
        name = request.match_info["name"]
        return answer({"name": name, "read_through": reads_through(bucket)})

    async def _put_read_through(self, request: web.Request) -> web.Response:
        wanted = (await body(request, PutReadThrough)).on
        bucket = self._bucket(request)
        if wanted != reads_through(bucket):
            text = ON if wanted else ""
            await self._names.set_bucket_registers(bucket.id, {READ_THROUGH: text})
        return await self._show_read_through(request)

    def _tier(self, name: str, bucket: Bucket) -> dict[str, Any]:
        wanted = tier_of(bucket)
        here = self._tiers.of(wanted)
        return {"name": name, "tier": wanted, "here": here.name, "redundancy": str(here.mode)}

    def _changed(self, bucket: Bucket, wanted: PutRules) -> str:
        """The configuration with other rules for one prefix."""
        names = self._datacenters()
        unknown = [name for name in wanted.to if name not in names]
        if unknown:
            raise msgspec.ValidationError(
                f"no datacenter is called {unknown[0][:64]!r}: there are {', '.join(names)}"
            )
        configuration = _configuration(bucket)
        kept = [rule for rule in configuration["Rules"] if not _is_of(rule, wanted.prefix)]
        if not wanted.to and len(kept) == len(configuration["Rules"]):
            of = f"the prefix {wanted.prefix[:80]!r}" if wanted.prefix else "all keys"
            raise msgspec.ValidationError(f"there is no rule for {of} that could be taken away")
        rules = kept + _rules(kept, wanted.prefix, sorted(set(wanted.to)))
        if not rules:
            raise msgspec.ValidationError(
                "there would be no rule left: name datacenters, or let everything go everywhere"
            )
        if len(rules) > RULES_MAX:
            raise msgspec.ValidationError(f"a bucket may have {RULES_MAX} rules")
        text = msgspec.json.encode(configuration | {"Rules": rules}).decode()
        if len(text.encode()) > REGISTER_CHARACTERS_MAX:
            raise msgspec.ValidationError(
                f"the rules of a bucket may have {REGISTER_CHARACTERS_MAX} bytes together"
            )
        return text

    def _datacenters(self) -> list[str]:
        """The names of all that are known of."""
        sites = {site.name for site in self._names.directory.sites()}
        return sorted({self._own, *sites, *(peer.name for peer in self._names.peers())})

    def _bucket(self, request: web.Request) -> Bucket:
        name = request.match_info["name"]
        bucket = self._names.directory.bucket(name)
        if bucket is None:
            raise NoSuchBucket(f"there is no bucket {name[:80]!r} here")
        # What is shown under a name that two want has its own name in the table.
        return self._names.directory.bucket_by_id(bucket.id) or bucket

    def _shown(self, name: str, bucket: Bucket) -> dict[str, Any]:
        rules, owner = placement(bucket), self._names.directory.user(bucket.owner)
        by_prefix: dict[str, set[str]] = {}
        for prefix, datacenter in [] if rules is None else rules.rules:
            by_prefix.setdefault(prefix, set()).add(datacenter)
        return {
            "name": name,
            "owner": owner.email if owner else bucket.owner,
            "created": utc(stamp_ms(bucket.created) // 1000),
            "tier": tier_of(bucket),
            "read_through": reads_through(bucket),
            "everywhere": rules is None,
            "rules": [{"prefix": one, "to": sorted(to)} for one, to in sorted(by_prefix.items())],
        }


def _configuration(bucket: Bucket) -> dict[str, Any]:
    register = bucket.registers.get(REPLICATION)
    if register is None or not register.value:
        return {"Role": "", "Rules": []}
    try:
        found = msgspec.json.decode(register.value, type=dict[str, Any])
        if isinstance(found.get("Rules"), list):
            return found
    except msgspec.MsgspecError:
        pass
    raise msgspec.ValidationError(
        "the rules that the bucket has cannot be read: let everything go everywhere, then say anew"
    )


def _is_of(rule: Rule, prefix: str) -> bool:
    """Whether a rule is in force and for just this prefix."""
    given = rule.get("Filter") or {}
    both = given.get("And") or {}
    its = rule.get("Prefix") or given.get("Prefix") or both.get("Prefix") or ""
    return rule.get("Status") == ENABLED and its == prefix


def _rules(kept: list[Rule], prefix: str, datacenters: list[str]) -> list[Rule]:
    """A rule for each datacenter, with ids and priorities that no other rule has."""
    ids = {rule.get("ID") for rule in kept}
    priority = max([rule.get("Priority") or 0 for rule in kept], default=0)
    made: list[Rule] = []
    for number, name in enumerate(datacenters, priority + 1):
        own_id = f"farshore-{number}"
        while own_id in ids:
            own_id += "-"
        made.append(
            {
                "ID": own_id,
                "Priority": number,
                "Status": ENABLED,
                "Filter": {"Prefix": prefix},
                "DeleteMarkerReplication": {"Status": ENABLED},
                "Destination": {"Bucket": DATACENTER_ARN + name},
            }
        )
    return made
