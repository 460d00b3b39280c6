"""What happens in one simulated world, drawn from its seed before it runs.

A plan is data: knobs and a list of events with their times. So a failing one can be shrunk by
leaving events out, and printed. Which kinds of operations and faults there are at all, and how
often, is itself drawn ("swarm"): a world with everything seldom gets far in anything.
"""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from sim_plan_notary import Proving, proving_of, switches

TOPOLOGIES = ("pair", "mesh", "chain", "hub", "ring")
OPERATIONS = {
    "put": 30,
    "delete": 10,
    "version_put": 10,
    "version_delete": 5,
    "marker": 3,
    "multipart": 4,
    "conflict_settle": 4,
    "object_attribute": 3,
    "bucket_attribute": 3,
    "get": 8,
    "bucket_create": 6,
    "bucket_delete": 5,
    "user_add": 2,
    "user_delete": 1,
    "key_add": 2,
    "key_revoke": 2,
}
FAULTS = {
    "crash": 3,
    "burn": 3,
    "burn_database": 4,
    "restart": 2,
    "partition": 4,
    "one_way": 2,
    "reset": 4,
    "replay": 4,
    "cut": 2,
    "slow": 2,
    "skew": 3,
    "disk_full": 1,
    "database_full": 1,
    "disk_errors": 1,
    "database_errors": 1,
    "commit_fails": 2,
    "commit_lost": 2,
    "freeze": 2,
    "old_backup": 2,
}
ON_DEMAND = {"replay_feed": 4}
"""Faults that are not withstood yet; drawn when they are asked for by name."""
REGISTER_KINDS = (
    "bucket_create",
    "bucket_delete",
    "user_add",
    "user_delete",
    "key_add",
    "key_revoke",
)
COMPACTING = 0.35
GAP_SECONDS = 600.0
"""As in the product; where only one DC is put back nothing need be waited for."""
HOW_TO_LEAVE = ("it removes", "they remove", "both", "dead")


@dataclass(frozen=True)
class Event:
    """`number` names it for ever; `dc` is where it happens."""

    number: int
    at: float
    kind: str
    dc: int
    args: dict[str, Any]

    def __str__(self) -> str:
        args = " ".join(f"{name}={value}" for name, value in self.args.items())
        return f"{self.at:8.3f} s  #{self.number:<4} dc{self.dc} {self.kind} {args}"


@dataclass(frozen=True)
class Plan:
    """One world. `knobs` are limits of the product made small, so that little data reaches them."""

    seed: int
    dcs: int
    topology: str
    fault_seconds: float
    latency_s: float
    stalls: float
    shuffle: float
    knobs: dict[str, int]
    pace: dict[str, float]
    """How often things are done, in seconds."""
    skews_ms: list[int]
    drifts: list[float]
    edges: list[tuple[int, int]]
    events: list[Event] = field(default_factory=list)
    compaction: tuple[float, int, float, float] | None = None
    """Threshold, bytes a second, grace and how often (seconds); None where nothing is compacted."""
    proving: Proving | None = None
    """How the notaries are; None where there are none."""

    def only(self, events: list[Event]) -> "Plan":
        return replace(self, events=events)

    def __str__(self) -> str:
        head = (
            f"seed {self.seed}: {self.dcs} DCs in a {self.topology} {self.edges}, latency"
            f" {self.latency_s * 1000:.0f} ms, stalls {self.stalls:.3f}, shuffle {self.shuffle},"
            f" skews {self.skews_ms} ms, drifts {self.drifts}, {self.knobs}, {self.pace},"
            f" compaction {self.compaction}, {self.proving}"
        )
        return "\n".join([head, *map(str, self.events)])


def plan_of(seed: int, also: tuple[str, ...] = ()) -> Plan:
    """The world of a seed; `also` with faults of `ON_DEMAND`."""
    rng = random.Random(f"{seed}/plan")
    topology = rng.choice(TOPOLOGIES)
    dcs = 2 if topology == "pair" else rng.choice([3, 3, 3, 3, 4, 5])
    seconds = rng.choice([20.0, 60.0, 120.0])
    skew_ms = rng.choice([0, 5, 1000, 25_000, 90_000, 600_000])
    # DCs whose clocks are far apart do not let each other in: that far they jump later.
    first_ms = rng.choice([skew_ms, min(skew_ms, 25_000), min(skew_ms, 25_000)])
    plan = Plan(
        seed=seed,
        dcs=dcs,
        topology=topology,
        fault_seconds=seconds,
        latency_s=rng.choice([0.0005, 0.005, 0.05, 0.15]),
        stalls=rng.choice([0.0, 0.0, 0.002, 0.03]),
        shuffle=rng.choice([0.0, 0.0, 0.1, 0.5]),
        knobs={
            "inline": rng.choice([2 << 10, 16 << 10, 256 << 10]),
            "range": rng.choice([8 << 10, 64 << 10, 1 << 20]),
            "feed_items": rng.choice([2, 10, 400]),
            "container": rng.choice([32 << 10, 512 << 10]),
        },
        pace=_pace(seed),
        skews_ms=[rng.randint(-first_ms, first_ms) for _ in range(dcs)],
        drifts=[rng.choice([0.0, 0.0, -1e-3, 1e-3]) for _ in range(dcs)],
        edges=_edges(topology, dcs),
        compaction=_compaction(seed),
        proving=proving_of(seed, dcs),
    )
    if plan.compaction is not None:
        # So that there are many containers, and some that are sealed.
        plan.knobs["container"] = random.Random(f"{seed}/small").choice([4, 16, 64]) << 10
    operations = _operations(rng, plan)
    kinds = FAULTS | {kind: ON_DEMAND[kind] for kind in also}
    faults = _faults(rng, plan, kinds, skew_ms, [event.at for event in operations])
    events = [*_pairings(rng, plan), *operations, *faults, *_revivals(rng, plan)]
    if topology != "pair" and rng.random() < 0.15:
        events = _with_leaving(rng, plan, events)
    events.sort(key=lambda event: event.at)
    numbered = [replace(event, number=n) for n, event in enumerate(events)]
    numbered += _rewound(plan, numbered)
    numbered += _set_apart(plan, numbered)
    numbered += _contested(plan, numbered)
    numbered += _placed(plan, numbered)
    numbered += _switched(plan, numbered)
    put_back = {event.dc for event in numbered if event.kind == "old_backup"}
    # Of two that forget at the same time each may wait for what only others know.
    plan.pace["gap"] = GAP_SECONDS if len(put_back) > 1 else 0.0
    return plan.only(sorted(numbered, key=lambda event: event.at))


def _pace(seed: int) -> dict[str, float]:
    """As often as in the product, or less: what is done less often comes together."""
    rng = random.Random(f"{seed}/pace")
    return {
        "ack": rng.choice([0.1, 1.0, 4.0, 4.0]),
        "progress": rng.choice([0.25, 1.0, 4.0, 4.0]),
        "measure": rng.choice([1.0, 20.0, 20.0, 20.0, 20.0, 20.0]),
        "quiet": rng.choice([3.0, 3.0, 3.0, 20.0]),
        "upkeep": rng.choice((1.0, 3.0, 10.0, 30.0)),
        "gap": 0.0,
    }


def _compaction(seed: int) -> tuple[float, int, float, float] | None:
    """In a third of the worlds; in some so slowly that much happens in between. Drawn apart, so
    that the others are what they were."""
    rng = random.Random(f"{seed}/compaction")
    if rng.random() > COMPACTING:
        return None
    return (
        rng.choice([0.05, 0.3]),
        rng.choice([2 << 10, 64 << 10, 8 << 20]),
        rng.choice([0.01, 0.3, 2.0]),
        rng.choice([0.2, 1.0, 5.0]),
    )


def _edges(topology: str, dcs: int) -> list[tuple[int, int]]:
    match topology:
        case "mesh":
            return [(a, b) for a in range(dcs) for b in range(a + 1, dcs)]
        case "hub":
            return [(0, b) for b in range(1, dcs)]
        case "ring":
            return [(a, (a + 1) % dcs) for a in range(dcs)]
        case _:
            return [(a, a + 1) for a in range(dcs - 1)]


def _pairings(rng: random.Random, plan: Plan) -> list[Event]:
    """Most DCs are paired at the beginning; some join when there is data."""
    late = rng.random() < 0.3
    events = []
    for a, b in plan.edges:
        at = rng.uniform(0, plan.fault_seconds * 0.7) if late and rng.random() < 0.5 else 0.0
        events.append(Event(0, at, "pair", a, {"other": b}))
    return events


def _weights(rng: random.Random, kinds: dict[str, int]) -> dict[str, float]:
    """Some kinds, each as often as the seed says."""
    share = rng.choice([0.3, 0.6, 1.0])
    chosen = {kind: weight * rng.uniform(0.2, 2) for kind, weight in kinds.items()}
    return {kind: weight for kind, weight in chosen.items() if rng.random() < share}


def _operations(rng: random.Random, plan: Plan) -> list[Event]:
    weights = _weights(rng, OPERATIONS) | {"put": 30.0, "bucket_create": 3.0}
    count = rng.choice([12, 24, 48, 120]) // (2 if plan.dcs > 3 else 1)
    buckets, keys = rng.choice([1, 3]), rng.choice([1, 3, 12])
    events = [
        Event(0, 0.5, "bucket_create", rng.randrange(plan.dcs), {"bucket": n, "owner": 0})
        for n in range(buckets)
    ]
    events += [
        Event(0, 0.6, "user_add", rng.randrange(plan.dcs), {"key": n})
        for n in range(rng.choice([0, 2]))
    ]
    kinds, shares = list(weights), list(weights.values())
    # Bursts: operations at the same moment share transactions and race.
    bursts = rng.choice([count // 3, count // 8, 4])
    moments = [rng.uniform(1, plan.fault_seconds) for _ in range(max(1, bursts))]
    for _ in range(count):
        kind = rng.choices(kinds, shares)[0]
        at = rng.choice(moments) + rng.choice([0.0, rng.uniform(0, 0.01), rng.uniform(0, 1)])
        args = {
            "bucket": rng.randrange(buckets),
            "key": rng.randrange(keys),
            "owner": rng.choice([0, 0, 0, 1]),
            "size": _size(rng, plan),
            "pick": rng.randrange(1000),
        }
        events.append(Event(0, at, kind, rng.randrange(plan.dcs), args))
    return events


def _revivals(rng: random.Random, plan: Plan) -> list[Event]:
    """A bucket is emptied and deleted in one DC while another one, cut off, writes into it; what
    it wrote may be deleted again before somebody else, cut off for longer, has seen it."""
    events: list[Event] = []
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        order = list(range(plan.dcs))
        rng.shuffle(order)
        deletes, writes, late = order[0], order[1], order[-1]
        at = rng.uniform(2, plan.fault_seconds)
        seconds = rng.choice([2.0, 8.0])
        what = {"bucket": 0, "key": rng.randrange(3), "owner": 0, "size": 7, "pick": 1}
        cut = [(writes, one, at, seconds) for one in order if one != writes]
        if late != writes:
            cut += [
                (late, one, at + 0.1, seconds + 5) for one in order if one not in (late, writes)
            ]
        for one, other, when, length in cut:
            args = {"other": other, "seconds": length}
            events.append(Event(0, when, "partition", one, args))
        events.append(Event(0, at - 1, "bucket_create", deletes, what))
        events.append(Event(0, at + 0.5, "put", writes, what))
        events.append(Event(0, at + rng.uniform(0.3, 0.7), "bucket_delete", deletes, what))
        if rng.random() < 0.7:
            again = at + seconds + rng.uniform(0.5, 4)
            events.append(Event(0, again, "delete", rng.choice([deletes, writes]), what))
        if rng.random() < 0.3:
            events.append(Event(0, at + seconds + 1, "bucket_create", late, what))
    return events


def _rewound(plan: Plan, events: list[Event]) -> list[Event]:
    """In some worlds a DC is put back to an old state when it has made something and others have
    deleted something since, and goes on from there. Drawn apart from all else, so that worlds
    without it are what they were."""
    rng = random.Random(f"{plan.seed}/rewound")
    if rng.random() > 0.2 or any(event.kind in ("skew", "leave") for event in events):
        return []
    dc = rng.randrange(plan.dcs)
    other = (dc + rng.randrange(1, plan.dcs)) % plan.dcs
    at, kept = rng.uniform(4, 6), rng.uniform(3, 8)
    # Now and then for long enough that what was deleted is forgotten.
    kept = min(kept + rng.choice([0.0, 5.0]) * plan.pace["upkeep"], 0.6 * plan.fault_seconds)
    alone = rng.choice([0.0, 1.0, 1.0]) * rng.uniform(0.5, 5.0) * plan.pace["upkeep"]
    early = random.Random(f"{plan.seed}/early").choice([0.0, 1.0, 4.0])
    drawn = [(at, "old_backup", dc, {"seconds": kept, "alone": alone, "early": early})]
    twice = random.Random(f"{plan.seed}/twice")
    if twice.random() < 0.3:
        near = [one for edge in plan.edges if dc in edge for one in edge if one != dc]
        also = {"seconds": kept, "alone": twice.choice([0.0, alone]), "early": 0.0}
        drawn.append((at, "old_backup", twice.choice(near), also))
    drawn += [(at - 1, "put", dc, {"key": key}) for key in range(2)]
    drawn += [(at + rng.uniform(0.1, 2), "put", dc, {"key": 4 + rng.randrange(6)}) for _ in "1234"]
    drawn += [(at + 0.1, "delete", other, {"key": key}) for key in range(2)]
    after = at + kept + 0.5
    drawn += [(after + rng.uniform(0, 4), "put", dc, {"key": rng.randrange(6)}) for _ in range(8)]
    what = {"bucket": 0, "owner": 0, "size": 9, "pick": 2}
    return [
        Event(len(events) + n, when, kind, where, args if kind == "old_backup" else what | args)
        for n, (when, kind, where, args) in enumerate(drawn)
    ]


def _set_apart(plan: Plan, events: list[Event]) -> list[Event]:
    """In a few worlds two DCs that are cut off from each other set attributes of the same versions.
    Drawn apart, like `_rewound`."""
    rng = random.Random(f"{plan.seed}/attributes")
    if rng.random() > 0.1:
        return []
    dc, other = rng.choice(plan.edges)
    what: dict[str, Any] = {"bucket": 0, "owner": 0, "size": 9, "pick": 0}
    drawn = [(6.0, "partition", dc, {"other": other, "seconds": rng.uniform(1, 4)})]
    for key in range(20, 26):
        drawn.append((3.0, "put", dc, what | {"key": key}))
        drawn += [
            (rng.uniform(6.1, 6.9), "object_attribute", one, what | {"key": key})
            for one in (dc, other)
        ]
    return [
        Event(len(events) + n, when, kind, where, args)
        for n, (when, kind, where, args) in enumerate(drawn)
    ]


def _contested(plan: Plan, events: list[Event]) -> list[Event]:
    """In some worlds two users make a bucket of one name, in DCs that are cut off from each other,
    and both go on writing into what they have; perhaps one of them deletes it later. Drawn apart,
    like `_rewound`."""
    rng = random.Random(f"{plan.seed}/contested")
    if rng.random() > 0.15 or any(event.kind == "leave" for event in events):
        return []
    dcs = rng.choice(plan.edges)
    at, cut = rng.uniform(4, 10), rng.uniform(1, 4)
    what: dict[str, Any] = {"bucket": 7, "size": 8}
    drawn = [(at, "partition", dcs[0], {"other": dcs[1], "seconds": cut})]
    for user, dc in enumerate(rng.sample(dcs, 2)):
        drawn.append((at + rng.uniform(0.1, 0.4), "bucket_create", dc, {"owner": user}))
        drawn.append((at + rng.uniform(0.5, 0.9), "put", dc, {"owner": user, "key": 0}))
    begun = at + rng.choice([0.5, cut, cut + 2])
    for _ in range(rng.choice([4, 12])):
        kind = rng.choice(["put", "put", "get", "delete", "multipart", "conflict_settle"])
        args = {"owner": rng.randrange(2), "key": rng.randrange(2), "pick": rng.randrange(1000)}
        drawn.append((begun + rng.uniform(0, 6), kind, rng.randrange(plan.dcs), args))
    if rng.random() < 0.6:
        args = {"owner": rng.randrange(2), "key": 0, "pick": 1}
        drawn.append((begun + rng.uniform(1, 5), "bucket_delete", rng.randrange(plan.dcs), args))
    base = {"key": 0, "pick": 0}
    return [
        Event(
            len(events) + n,
            when,
            kind,
            where,
            args if kind == "partition" else what | base | args,
        )
        for n, (when, kind, where, args) in enumerate(drawn)
    ]


def _placed(plan: Plan, events: list[Event]) -> list[Event]:
    """In some worlds rules say which DCs hold the bytes of which keys, and are changed now and
    then. Not where a DC forgets or leaves: it may have had the only copy. Nor where a bucket is
    deleted and changes are relayed: its rules can be changed no more then. Drawn apart, like
    `_rewound`."""
    rng = random.Random(f"{plan.seed}/placed")
    hinders = {"leave", "old_backup"}
    if plan.topology not in ("pair", "mesh"):
        hinders.add("bucket_delete")
    if rng.random() > 0.4 or any(event.kind in hinders for event in events):
        return []
    buckets = sorted({event.args["bucket"] for event in events if event.kind == "bucket_create"})
    drawn = []
    for _ in range(rng.choice([1, 3, 8])):
        rules = [
            (
                rng.choice(["", "", "key-", "key-0", "key-1", "key-2"]),
                f"dc{rng.randrange(plan.dcs)}",
            )
            for _ in range(rng.choice([0, 1, 1, 2, 3]))
        ]
        # Empty: everything goes everywhere again.
        args = {"bucket": rng.choice(buckets), "owner": 0, "key": 0, "rules": rules}
        drawn.append((rng.uniform(0.7, plan.fault_seconds), rng.randrange(plan.dcs), args))
    return [
        Event(len(events) + n, when, "placement", where, args)
        for n, (when, where, args) in enumerate(drawn)
    ]


def _switched(plan: Plan, events: list[Event]) -> list[Event]:
    """Where there is a notary, it is switched on and off for buckets."""
    made = {
        event.args["bucket"]: event.dc
        for event in events
        if event.kind == "bucket_create" and event.at == 0.5
    }
    if plan.proving is None or not made:
        return []
    drawn = switches(plan.seed, plan.dcs, plan.fault_seconds, list(made.items()))
    return [
        Event(len(events) + n, when, kind, where, args)
        for n, (when, kind, where, args) in enumerate(drawn)
    ]


def _with_leaving(rng: random.Random, plan: Plan, events: list[Event]) -> list[Event]:
    """One DC leaves in the middle: one without which the others are still connected, and which
    makes nothing but objects, so that what it made may be there or not."""
    leaver = plan.dcs - 1
    at = rng.uniform(0.2, 0.8) * plan.fault_seconds
    left = Event(0, at, "leave", leaver, {"how": rng.choice(HOW_TO_LEAVE)})
    stays = [one for one in events if one.dc != leaver or one.kind not in REGISTER_KINDS]
    return [*stays, left]


def _size(rng: random.Random, plan: Plan) -> int:
    """Mostly small; some just around the limits."""
    inline, span = plan.knobs["inline"], plan.knobs["range"]
    choice = rng.random()
    if choice < 0.8:
        return rng.choice([0, 1, rng.randrange(2000)])
    if choice < 0.9:
        return inline + rng.choice([-1, 0, 1])
    return min(inline + rng.randrange(3 * span), 1_200_000)


def _faults(
    rng: random.Random, plan: Plan, kinds: dict[str, int], skew_ms: int, busy: list[float]
) -> list[Event]:
    """Half of them fall where something is going on: `busy` are moments of operations."""
    weights = _weights(rng, kinds)
    count = rng.choice([0, 3, 10, 25])
    if not weights:
        return []
    events = []
    for _ in range(count):
        kind = rng.choices(list(weights), list(weights.values()))[0]
        others = list(range(plan.dcs))
        dc = rng.choice(others)
        others.remove(dc)
        args = {
            "other": rng.choice(others),
            "seconds": round(rng.choice([0.1, 1.0, 5.0, 40.0]) * rng.uniform(0.5, 1.5), 3),
            "silent": rng.random() < 0.6,
            "pick": rng.randrange(1000),
            "calls": rng.randint(1, 12),
            "rate": rng.choice([0.02, 0.2, 1.0]),
            "skew_ms": rng.randint(-skew_ms, skew_ms),
        }
        at = rng.uniform(1, plan.fault_seconds)
        if rng.random() < 0.5:
            at = rng.choice(busy) + rng.uniform(0, 0.02 + 4 * plan.latency_s)
        used = _USED.get(kind, ())
        events.append(
            Event(
                0,
                at,
                kind,
                dc,
                {name: args[name] for name in used},
            )
        )
    return events


_USED: dict[str, tuple[str, ...]] = {
    "crash": ("seconds", "silent"),
    "burn": ("seconds", "calls", "silent"),
    "burn_database": ("seconds", "calls", "silent"),
    "restart": ("seconds",),
    "partition": ("other", "seconds"),
    "one_way": ("other", "seconds"),
    "reset": ("pick",),
    "replay": ("pick", "seconds"),
    "replay_feed": ("pick", "seconds"),
    "cut": ("calls",),
    "commit_fails": ("calls",),
    "old_backup": ("seconds",),
    "commit_lost": ("calls",),
    "slow": ("other", "seconds"),
    "skew": ("skew_ms",),
    "disk_full": ("seconds",),
    "database_full": ("seconds",),
    "disk_errors": ("seconds", "rate"),
    "database_errors": ("seconds", "rate"),
    "freeze": ("seconds",),
}
