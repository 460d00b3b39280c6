"""The notaries of a world: what must be true of their logs, mirrors, witnesses and alarms.

Logs are read with the second reader of the tests (`tests/notary/notary_checker.py`). A log that was
put back to an old copy takes back from its peers what it has forgotten. If nobody who has that can
be reached it goes on without: that they alarm is right then, and of its mirrors nothing more is
demanded than that each is a log that this DC has signed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).parent.parent / "notary"))

from notary_checker import CheckFailed, leaf, mth, read_head, verify_certificate, verify_checkpoint
from sim_clients import Fail
from sim_dc import Dc
from sim_entries import Ledger, entries_of, notarized
from sim_model import Model

from notary import tables
from notary.certificate import certificate_of
from notary.note import log_key, origin_of, witness_key

SETTLE_SECONDS_MAX = 600.0
PUT_SECONDS_MAX = 1.0
"""Simulated: nothing that is done in a PUT waits for a notary or its hooks."""
CERTIFICATES_MAX = 4
"""Of each log, that are made in every DC and compared."""


class Shown(NamedTuple):
    """A log in a DC's database."""

    size: int
    sealed: int
    notes: list[tuple[int, str]]
    timestamps: list[tuple[Any, ...]]

    def __str__(self) -> str:
        rows = {size: note.count("/witness ") for size, note in self.notes}
        stamps = [row[:2] for row in self.timestamps]
        return f"{self.sealed}/{self.size}, cosignatures by size {rows}, timestamps {stamps}"


_NOTHING = Shown(0, 0, [], [])


def _shown(dc: Dc) -> dict[str, Shown]:
    """By origin what there is."""
    assert dc.proving is not None
    db, found = dc.proving.tables, {}
    for number, origin, size, sealed in db.execute(
        "SELECT number, origin, size, sealed FROM logs"
    ).fetchall():
        found[origin] = Shown(
            size,
            sealed,
            db.execute(
                "SELECT size, note FROM checkpoints WHERE log = ? ORDER BY size", (number,)
            ).fetchall(),
            db.execute(
                "SELECT kind, size, data, signature FROM timestamps WHERE log = ? ORDER BY 1, 2",
                (number,),
            ).fetchall(),
        )
    return found


def _forgets(dc: Dc) -> bool:
    return dc.proving is not None and dc.proving.forgets


def _is_forked(dc: Dc, dcs: list[Dc]) -> bool:
    """Whether a log that was put back is not what others have of it any more."""
    if not _forgets(dc):
        return False
    own, origin = entries_of(dc), origin_of(dc.dc_id)
    for other in dcs:
        assert other.proving is not None
        there = entries_of(other, origin)
        row = other.proving.tables.execute(
            "SELECT size, note FROM witnessed WHERE origin = ?", (origin,)
        ).fetchone()
        size, root = (
            (row[0], read_head(row[1].partition("\n\n")[0] + "\n").root) if row else (0, b"")
        )
        if own[: len(there)] != there or len(own) < size:
            return True
        if size and mth(list(map(leaf, own[:size]))) != root:
            return True
    return False


def _witness(dc: Dc) -> str:
    return f"{origin_of(dc.dc_id)}/witness "


def _keys(dcs: Sequence[Dc]) -> list[str]:
    public = [dc.identity.public.signing_key for dc in dcs]
    return [str(make(one)) for one in public for make in (log_key, witness_key)]


# -- what is waited for ---------------------------------------------------------------------------


def unsettled(dcs: list[Dc]) -> str:
    """What has yet to come; "" when all logs are published, cosigned and mirrored."""
    shown = {dc.name: _shown(dc) for dc in dcs}
    lines = []
    for dc in dcs:
        assert dc.proving is not None
        origin = origin_of(dc.dc_id)
        own = shown[dc.name].get(origin, _NOTHING)
        (waiting,) = dc.tables.execute("SELECT count(*) FROM notary_outbox").fetchone()
        if waiting or own.size > own.sealed:
            lines.append(f"{dc.name}: {waiting} wait, {own.sealed} of {own.size} are published")
        told = max((first + len(page) for first, page in dc.proving.told), default=own.size)
        if dc.proving.stamps and told < own.size and not _forgets(dc):
            lines.append(f"{dc.name}: a hook was told of {told} of {own.size}")
        peers = {one.dc_id for one in dc.names.peers()} if dc.ready else set()
        is_forked = _is_forked(dc, dcs)
        for other in dcs:
            if other is dc:
                continue
            there = shown[other.name].get(origin, _NOTHING)
            if not is_forked and there != own:
                lines.append(f"{other.name} has not the log of {dc.name}: {there} for {own}")
            if other.dc_id in peers and own.notes and _witness(other) not in own.notes[-1][1]:
                if not is_forked:
                    lines.append(f"{other.name} has not cosigned the log of {dc.name}")
                elif origin not in {one for one, _, _ in _alarms(other)}:
                    lines.append(f"{other.name} does not alarm: {dc.name} has forgotten entries")
    return "\n    ".join([*lines, *_troubles(dcs)] if lines else [])


def _troubles(dcs: list[Dc]) -> list[str]:
    """What the notaries say themselves of what goes wrong."""
    return [
        f"{dc.name}: {dc.notary._mirror_errors} {dc.notary.publisher.refusals}"
        f" { {one.name: one.last_error for one in dc.notary._all_workers() if one.last_error} }"
        for dc in dcs
        if dc.notary is not None
    ]


def _alarms(dc: Dc) -> list[tuple[str, str, str]]:
    assert dc.proving is not None
    return dc.proving.tables.execute("SELECT origin, reason, text FROM alarms").fetchall()


# -- what is checked ------------------------------------------------------------------------------


def check_given(witness: Dc, dcs: list[Dc], fail: Fail) -> None:
    """A cosignature that is out is durable where it was given: of a later tree, or of that one. To
    be looked at when the process has just died."""
    if witness.proving is None or _forgets(witness):
        return
    for dc in dcs:
        assert dc.proving is not None
        query = (
            "SELECT max(c.size) FROM checkpoints c JOIN logs ON log = number"
            " WHERE origin = ? AND instr(note, ?)"
        )
        (given,) = dc.proving.tables.execute(
            query, (origin_of(dc.dc_id), _witness(witness))
        ).fetchone()
        row = witness.proving.tables.execute(
            "SELECT size FROM witnessed WHERE origin = ?", (origin_of(dc.dc_id),)
        ).fetchone()
        if given is not None and dc is not witness and (row[0] if row else 0) < given:
            fail(
                "witness",
                f"{witness.name} has cosigned {given} entries of {dc.name} and knows of {row}",
            )


async def check_notaries(dcs: list[Dc], everybody: list[Dc], model: Model, fail: Fail) -> None:
    """`dcs`: those that have not left."""
    for dc in dcs:
        Ledger(dc, model, fail).check()
        check_given(dc, dcs, fail)
        _check_told(dc, fail)
        for other in everybody:
            if other is dc or not _same_as(dc, other):
                _check_log(dc, other, everybody, fail)
    for dc in everybody:
        for origin, reason, text in _alarms(dc):
            if origin not in {origin_of(one.dc_id) for one in everybody if _forgets(one)}:
                fail("alarm", f"{dc.name} alarms without a cause: {reason} of {origin}: {text}")
    for dc in dcs:
        if not _is_forked(dc, dcs):
            await _check_certificates(dc, dcs, fail)


def _same_as(dc: Dc, log: Dc) -> bool:
    """Whether a mirror is what the log itself is, which is looked into there."""
    mirror = _shown(dc).get(origin_of(log.dc_id), _NOTHING)
    whole = _shown(log).get(origin_of(log.dc_id), _NOTHING)
    return mirror == whole and entries_of(dc, origin_of(log.dc_id)) == entries_of(log)


def _check_log(dc: Dc, log: Dc, everybody: list[Dc], fail: Fail) -> None:
    """A log, or a mirror of one: each checkpoint is signed, and its root is that of the entries."""
    origin = origin_of(log.dc_id)
    leaves = [leaf(one) for one in entries_of(dc, origin)]
    for size, note in _shown(dc).get(origin, _NOTHING).notes:
        try:
            head = verify_checkpoint(note.encode(), _keys([log, *everybody]))
        except CheckFailed as error:
            fail("log", f"{dc.name}, of {log.name}: {type(error).__name__}: {error}")
            continue
        if (head.origin, head.size) != (origin, size) or mth(leaves[:size]) != head.root:
            fail("log", f"{dc.name}: {size} of {len(leaves)} entries of {log.name} are others")
    if dc is log:
        _check_tiles(dc, leaves, fail)
    elif not _forgets(log) and (whole := entries_of(log))[: len(leaves)] != entries_of(dc, origin):
        fail("log", f"{dc.name} has other entries of {log.name} than it has: {len(whole)}")


def _check_tiles(dc: Dc, leaves: list[bytes], fail: Fail) -> None:
    """Each tile has the roots of the subtrees that it stands for, and there are no others."""
    assert dc.proving is not None
    width = 1 << dc.proving.terms.tile_bits
    expected = {}
    level, hashes = 0, leaves
    while hashes:
        tiles = [hashes[at : at + width] for at in range(0, len(hashes), width)]
        expected |= {(level, n): b"".join(tile) for n, tile in enumerate(tiles)}
        level, hashes = level + 1, [mth(tile) for tile in tiles if len(tile) == width]
    found = {
        (row[0], row[1]): bytes(row[2])
        for row in dc.proving.tables.execute(
            "SELECT level, t.number, hashes FROM tiles t JOIN logs ON log = logs.number"
            " WHERE origin = ?",
            (origin_of(dc.dc_id),),
        )
    }
    if found != expected:
        wrong = sorted(k for k in found | expected if found.get(k) != expected.get(k))
        fail("log", f"{dc.name}: the tiles {wrong} are not those of the entries")


def _check_told(dc: Dc, fail: Fail) -> None:
    """A hook was told of all entries in their order, some of them more than once."""
    assert dc.proving is not None
    told = dc.proving.told
    if not told or _forgets(dc):
        return
    whole, following = entries_of(dc), told[0][0]
    for first, page in told:
        if first > following:
            fail("hook", f"{dc.name}: entry {first} came when {following} was to come")
        following = max(following, first + len(page))
        for place, entry in enumerate(page, first):
            if f'"{entry.stamp}"'.encode() not in whole[place]:
                fail("hook", f"{dc.name}: {entry} came as entry {place}")


async def _check_certificates(dc: Dc, dcs: list[Dc], fail: Fail) -> None:
    """Of some entries: all DCs have the same certificate, and it verifies."""
    assert dc.proving is not None
    rows = dc.proving.tables.execute(
        "SELECT stamp FROM entries JOIN logs ON log = number WHERE origin = ? AND kind = 0",
        (origin_of(dc.dc_id),),
    ).fetchall()
    keys = _keys(dcs)
    for (stamp,) in rows[:: len(rows) // CERTIFICATES_MAX + 1]:
        here = _certificate(dc, stamp)
        for other in dcs:
            if _certificate(other, stamp) != here:
                fail("certificate", f"{other.name} has another one of {stamp} than {dc.name}")
        try:
            if verify_certificate(here or b"", keys)["stamp"] != stamp:
                fail("certificate", f"that of {stamp} in {dc.name} is of something else")
        except CheckFailed as error:
            fail("certificate", f"{stamp} in {dc.name}: {type(error).__name__}: {error}")
    if rows and dcs[-1].notary is not None and not await dcs[-1].notary.is_proven(rows[-1][0]):
        fail("certificate", f"{dcs[-1].name} does not know that {rows[-1][0]} is notarized")


def _certificate(dc: Dc, stamp: str) -> bytes | None:
    assert dc.proving is not None
    place = tables.place_of(dc.proving.tables, stamp)
    return None if place is None else certificate_of(dc.proving.tables, place)


def check_speed(model: Model, frozen: set[str], fail: Fail) -> None:
    """No notarized write has waited for a notary. `frozen`: DCs that stood still for a while."""
    for item, attempts in model.items.items():
        for one in attempts:
            if notarized(one) is None or one.told < 0 or one.dc in frozen:
                continue
            if one.told - one.begun > PUT_SECONDS_MAX:
                fail("slow", f"{item}: the {one} took {one.told - one.begun:.1f} s")


def limits(terms: Any) -> dict[str, Any]:
    """The product's limits as a world has them."""
    return {
        "notary.service.MIRROR_SECONDS": terms.mirror_seconds,
        "notary.service.IDLE_SECONDS": 60.0,
        "notary.mirror.MIRROR_SECONDS": terms.mirror_seconds,
        "notary.publishing.AGAIN_SECONDS": terms.again_seconds,
        "notary.log.BATCH": terms.batch,
        "notary.mirror.ROWS_MAX": terms.page,
        "notary.tables.SPAN_ENTRIES": terms.page,
        "notary.tree.TILE_BITS": terms.tile_bits,
        "notary.tree.TILE_HASHES": 1 << terms.tile_bits,
        "notary.tree.TILE_BYTES": 32 << terms.tile_bits,
    }
