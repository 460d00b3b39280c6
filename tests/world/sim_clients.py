"""The clients: each operation as a gateway does it, with what must be true at once.

A body is durable before its version is named; the version's stamp is drawn after that. An error is
an answer, too: what was refused must leave nothing; what failed otherwise may have happened.
"""

import hashlib
import json
import random
from collections.abc import Awaitable, Callable

from awscrt.checksums import combine_crc64nvme, crc64nvme
from msgspec.structs import replace
from sim_dc import Dc
from sim_model import ACKED, OPEN, REFUSED, Attempt, Item, KeyLife, Model, Switch, UserLife
from sim_plan import Event

from dc.names.api import (
    BucketExists,
    BucketNotEmpty,
    BytesMissing,
    NamesClosed,
    NamesError,
    NamesFull,
    NoSuchBucket,
    NoSuchConflict,
    NoSuchUpload,
    StampTooOld,
)
from dc.names.model import (
    Bucket,
    Extent,
    Kind,
    Meta,
    Part,
    Register,
    Registers,
    Tombstone,
    Upload,
    UploadPart,
    User,
    Version,
    bucket_id,
)
from dc.names.seen import saw
from dc.notary import NOTARY, OFF, ON, TO_BE_READ, notarizes
from dc.objects.api import BytesElsewhere, CorruptData, MissingData, ObjectsError
from dc.objects.ident import body_ident
from dc.placement import DATACENTER_ARN, REPLICATION
from dc.stamps import Stamp, version_id

OWNERS = ("a" * 64, "b" * 64)
REFUSALS = (NoSuchBucket, BucketExists, BucketNotEmpty, NoSuchUpload, StampTooOld)
SMALL = 100_000
RETRY_SECONDS = 0.5
Fail = Callable[[str, str], None]


_BYTES = random.Random("bytes").randbytes(4 << 20)


def content(seed: int, event: Event) -> bytes:
    """Bytes that only this operation writes, as far as there is room to tell."""
    size = event.args["size"]
    own = f"{event.number} of {seed};".encode()
    start = event.number * 7919 % (len(_BYTES) - size)
    return own[:size] + _BYTES[start : start + max(0, size - len(own))]


def etag_of(body: bytes) -> str:
    """What stands for the MD5 here."""
    return f"{crc64nvme(body):032x}"


def rules_text(rules: list[tuple[str, str]]) -> str:
    """The setting that sends prefixes to DCs by name; "" without any."""
    found = [
        {
            "ID": str(number),
            "Status": "Enabled",
            "Filter": {"Prefix": prefix},
            "Destination": {"Bucket": DATACENTER_ARN + name},
        }
        for number, (prefix, name) in enumerate(rules)
    ]
    return json.dumps({"Role": "", "Rules": found}) if found else ""


def _born(bucket: Bucket, stamp: Stamp, body: bytes, is_known: bool) -> tuple[Registers, str]:
    """What a version has from its birth on, and its SHA-256, which of several parts, or of a copy,
    is not known when it is stored."""
    if not notarizes(bucket):
        return {}, ""
    sha256 = hashlib.sha256(body).hexdigest()
    return {NOTARY: Register(stamp, sha256 if is_known else TO_BE_READ)}, sha256


def _replaces(dc: Dc, item: Item) -> set[Stamp]:
    """The conflicts of an item that who writes it now has seen."""
    return dc.kept_of(*item[:2]) if not item[2] else set()


class Clients:
    """Runs operations; `fail(check, text)` is told of what must not be."""

    def __init__(self, seed: int, model: Model, fail: Fail) -> None:
        self._seed = seed
        self._model = model
        self._fail = fail
        self.outcomes: dict[int, str] = {}
        """By operation, what became of it."""
        self.writers: dict[int, str] = {}
        """By operation that wrote an object, the user whose client did it."""

    async def run(self, event: Event, dc: Dc) -> None:
        work: Callable[[Event, Dc], Awaitable[str]] = getattr(self, f"_{event.kind}")
        try:
            outcome = await work(event, dc)
        except (CorruptData, MissingData) as error:
            self._fail("bytes", f"#{event.number} at {dc.name}: {error}")
            return
        except BytesElsewhere as error:
            if not self._model.placed:
                self._fail("bytes", f"#{event.number} at {dc.name}: {error}")
            outcome = str(error)
        except (NamesError, ObjectsError) as error:
            outcome = f"{type(error).__name__}: {error}"
        except Exception as error:
            self._fail("error", f"#{event.number} at {dc.name}: {type(error).__name__}: {error}")
            return
        self.outcomes[event.number] = outcome
        dc.loop.note(f"#{event.number} {event.kind} at {dc.name}: {outcome}")

    # -- objects --------------------------------------------------------------------------------

    def _where(self, event: Event, dc: Dc) -> tuple[Bucket | None, str]:
        """The bucket that the event's user has under its name, or under that of a conflict; else,
        for its owner, the one that has the name."""
        directory, name = dc.names.directory, f"bucket-{event.args['bucket']}"
        for mine in directory.buckets_of(OWNERS[event.args["owner"]]):
            if mine.name == name or mine.name.startswith(f"{name}--conflict-"):
                return mine, f"key-{event.args['key']}"
        return directory.bucket(name), f"key-{event.args['key']}"

    async def _store(self, dc: Dc, ident: bytes, body: bytes) -> list[Extent]:
        if len(body) < SMALL:
            return await dc.objects.put(ident, body)
        writer = dc.objects.writer(ident)
        try:
            for start in range(0, len(body), SMALL):
                await writer.write(body[start : start + SMALL])
            return await writer.finish()
        finally:
            writer.abort()

    async def _stamp(self, dc: Dc, event: Event, bucket: str, key: str, vid: str) -> Stamp:
        """A new stamp: later than what this DC shows, and than all it has acknowledged."""
        seen = await dc.stamp_of(bucket, key, vid)
        acked = self._model.acked.get(dc.name, "")
        stamp = dc.names.clock.now()
        if stamp <= seen or stamp <= acked:
            self._fail(
                "order",
                f"#{event.number} in {dc.name} got stamp {stamp}, though {seen} is shown there"
                f" and {acked} was acknowledged",
            )
        return stamp

    async def _commit(
        self, dc: Dc, item: Item, attempt: Attempt, work: Callable[[], Awaitable[None]]
    ) -> str:
        """Do a write; note its fate; see that it is there at once."""
        self._model.attempt(item, attempt)
        before = _replaces(dc, item)
        attempt.begun = dc.loop.time()
        if dc.proving is not None:
            attempt.replaces = dc.write_of(*item)[0]
        try:
            await work()
        except REFUSALS:
            attempt.fate = REFUSED
            raise
        self._model.was_acked(attempt)
        attempt.told = dc.loop.time()
        shown, seen = dc.write_of(*item)
        if shown == attempt.stamp:
            attempt.seen = seen
            unseen = [one for one in before & dc.kept_of(*item[:2]) if not saw(shown, seen, one)]
            if unseen:
                self._fail("seen", f"{attempt} of {item} has not seen {unseen}, shown in {dc.name}")
        collected = attempt.version is None and not shown
        if shown < attempt.stamp and not collected:
            self._fail("read your write", f"{item} in {dc.name}: {attempt}, but shown is {shown!r}")
        return f"{item[1]} {item[2][:8]} {attempt.stamp}"

    async def _put(self, event: Event, dc: Dc) -> str:
        return await self._put_any(event, dc, versioned=False)

    async def _version_put(self, event: Event, dc: Dc) -> str:
        return await self._put_any(event, dc, versioned=True)

    async def _put_any(self, event: Event, dc: Dc, versioned: bool) -> str:
        bucket, key = self._where(event, dc)
        if bucket is None:
            return "no such bucket"
        self.writers[event.number] = bucket.owner
        body = content(self._seed, event)
        ident = body_ident(bucket.id, key, "", dc.names.clock.now())
        extents = await self._store(dc, ident, body)
        stamp = await self._stamp(dc, event, bucket.id, key, "")
        vid = version_id(stamp) if versioned else ""
        meta = Meta(crc64=crc64nvme(body), user={"op": str(event.number)})
        etag = etag_of(body)
        version = Version(bucket.id, key, vid, stamp, Kind.OBJECT, len(body), etag, meta, extents)
        registers, sha256 = _born(bucket, stamp, body, event.args["pick"] % 4 != 3)
        version = replace(version, registers=registers)
        attempt = Attempt(event.number, dc.name, stamp, version, sha256=sha256)
        return await self._commit(dc, (bucket.id, key, vid), attempt, lambda: dc.names.put(version))

    async def _delete(self, event: Event, dc: Dc) -> str:
        return await self._delete_any(event, dc, versioned=False)

    async def _version_delete(self, event: Event, dc: Dc) -> str:
        return await self._delete_any(event, dc, versioned=True)

    async def _delete_any(self, event: Event, dc: Dc, versioned: bool) -> str:
        bucket, key = self._where(event, dc)
        if bucket is None:
            return "no such bucket"
        vid = ""
        if versioned:
            vids = self._model.vids(bucket.id, key)
            if not vids:
                return "no version"
            vid = vids[event.args["pick"] % len(vids)]
        return await self._delete_item(event, dc, (bucket.id, key, vid))

    async def _delete_item(self, event: Event, dc: Dc, item: Item) -> str:
        stamp = await self._stamp(dc, event, *item)
        gone = Tombstone(bucket=item[0], key=item[1], vid=item[2], stamp=stamp)
        attempt = Attempt(event.number, dc.name, stamp, None)
        attempt.knows = self._model.connected(dc.name)
        attempt.pairings = len(self._model.pairs)
        return await self._commit(dc, item, attempt, lambda: dc.names.delete([gone]))

    async def _get(self, event: Event, dc: Dc) -> str:
        bucket, key = self._where(event, dc)
        if bucket is None:
            return "no such bucket"
        version = await dc.names.current(bucket.id, key)
        if version is None:
            return "no such key"
        await self.check_version(dc, version)
        return f"{version.stamp}"

    async def check_version(self, dc: Dc, version: Version) -> None:
        """That somebody wrote this, and that these are its bytes."""
        item = (version.bucket, version.key, version.vid)
        attempt = self._model.find(item, version.stamp)
        if attempt is None and item in self._model.unclear:
            return
        if attempt is None or attempt.version is None or attempt.fate == REFUSED:
            self._fail("invented", f"{dc.name} shows {version}, which nobody wrote ({attempt})")
            return
        wrote = attempt.version
        if (version.size, version.etag, version.meta) != (wrote.size, wrote.etag, wrote.meta):
            self._fail("altered", f"{dc.name} shows {version}, written was {wrote}")
        try:
            body = await dc.body(version)
        except ValueError as error:
            # Its extents are those of a smaller one.
            self._fail("bytes", f"{dc.name} cannot read {attempt}: {error}")
            return
        if len(body) != wrote.size or crc64nvme(body) != wrote.meta.crc64:
            self._fail("bytes", f"{dc.name} gives {len(body)} other bytes for {attempt}")

    async def _marker(self, event: Event, dc: Dc) -> str:
        """A delete marker, as a versioned bucket gets for a deletion without a version id."""
        bucket, key = self._where(event, dc)
        if bucket is None:
            return "no such bucket"
        stamp = await self._stamp(dc, event, bucket.id, key, "")
        vid = version_id(stamp)
        marker = Version(bucket.id, key, vid, stamp, Kind.DELETE_MARKER, 0, "", Meta(), [])
        attempt = Attempt(event.number, dc.name, stamp, marker)
        return await self._commit(dc, (bucket.id, key, vid), attempt, lambda: dc.names.put(marker))

    async def _object_attribute(self, event: Event, dc: Dc) -> str:
        bucket, key = self._where(event, dc)
        if bucket is None:
            return "no such bucket"
        vids = ["", *self._model.vids(bucket.id, key)]
        vid = vids[event.args["pick"] % len(vids)]
        await dc.names.set_registers(bucket.id, key, vid, {"tags": str(event.number)})
        shown = await dc.names.version(bucket.id, key, vid)
        if shown is not None and "tags" in shown.registers:
            self._model.was_set((bucket.id, key, vid), shown.stamp, shown.registers["tags"].stamp)
        return f"{key} {vid[:8]} {shown.registers if shown else 'gone'}"

    async def _bucket_attribute(self, event: Event, dc: Dc) -> str:
        bucket, _ = self._where(event, dc)
        if bucket is None:
            return "no such bucket"
        await dc.names.set_bucket_registers(bucket.id, {"acl": str(event.number)})
        shown = dc.names.directory.bucket_by_id(bucket.id)
        assert shown is not None
        stamp = shown.registers["acl"].stamp if "acl" in shown.registers else ""
        if stamp > max(shown.created, shown.deleted):
            life = self._model.bucket(bucket.id)
            life.attribute = max(life.attribute, stamp)
        return f"{bucket.name} {stamp}"

    async def _notarize(self, event: Event, dc: Dc) -> str:
        """The notary is switched on or off for a bucket."""
        bucket, _ = self._where(event, dc)
        if bucket is None:
            return "no such bucket"
        value = ON if event.args["on"] else OFF
        switch = Switch(
            dc.name, bucket.id, value, dc.loop.time(), notarizes(bucket) != (value == ON)
        )
        self._model.switches.append(switch)
        await dc.names.set_bucket_registers(bucket.id, {NOTARY: value})
        shown = dc.names.directory.bucket_by_id(bucket.id)
        assert shown is not None
        switch.stamp, switch.told = shown.registers[NOTARY].stamp, dc.loop.time()
        return f"{bucket.name} {value} {switch.stamp}"

    async def _placement(self, event: Event, dc: Dc) -> str:
        """An operator says where the bytes of a bucket go."""
        bucket, _ = self._where(event, dc)
        if bucket is None:
            return "no such bucket"
        self._model.placed = True
        text = rules_text(event.args["rules"])
        await dc.names.set_bucket_registers(bucket.id, {REPLICATION: text})
        return f"{bucket.name} {event.args['rules']}"

    async def _conflict_settle(self, event: Event, dc: Dc) -> str:
        """A conflict is ended: its loser written again, or not kept."""
        conflicts = await dc.names.conflicts(limit=20)
        if not conflicts:
            return "no conflict"
        loser = conflicts[event.args["pick"] % len(conflicts)].loser
        where, item = (loser.bucket, loser.key, loser.stamp), (loser.bucket, loser.key, loser.vid)
        lost = self._model.find(item, loser.stamp)
        if lost is not None:
            lost.settled = True
        if event.args["pick"] % 2:
            await dc.names.drop_conflict(*where)
            return f"dropped {loser.key} {loser.stamp}"
        was_clear = item not in self._model.unclear
        begun = dc.loop.time()
        # Until it is answered: the process may die.
        self._model.unclear.add(item)
        try:
            again = await dc.names.restore_conflict(*where)
        except (NoSuchConflict, BytesMissing, *REFUSALS):
            if was_clear:
                self._model.unclear.discard(item)
            raise
        if was_clear:
            self._model.unclear.discard(item)
        attempt = Attempt(event.number, dc.name, again.stamp, again)
        attempt.begun, attempt.told = begun, dc.loop.time()
        attempt.sha256 = lost.sha256 if lost is not None else ""
        self._model.attempt((again.bucket, again.key, again.vid), attempt)
        self._model.was_acked(attempt)
        body = await dc.body(again)
        if lost is not None and crc64nvme(body) != loser.meta.crc64:
            self._fail("bytes", f"#{event.number}: restored are other bytes than {lost}")
        return f"restored {loser.key} {loser.stamp} as {again.stamp}"

    # -- multipart ------------------------------------------------------------------------------

    async def _multipart(self, event: Event, dc: Dc) -> str:
        """An upload of some parts, one of them sent twice; completed, or aborted now and then."""
        bucket, key = self._where(event, dc)
        if bucket is None:
            return "no such bucket"
        self.writers[event.number] = bucket.owner
        names = dc.names
        upload_id = f"upload-{event.number}-{dc.boots}"
        started = names.clock.now()
        await names.create_upload(
            Upload(upload_id, bucket.id, key, bucket.owner, started, Meta(user={"n": "1"}))
        )
        body = content(self._seed, event) or b"x"
        step = len(body) // (event.args["pick"] % 4 + 1) + 1
        for number, start in enumerate(range(0, len(body), step), 1):
            piece = body[start : start + step]
            if number == 1 and event.args["pick"] % 3 == 0:
                await self._part(dc, upload_id, item=(bucket.id, key), number=1, piece=b"other")
            await self._part(dc, upload_id, item=(bucket.id, key), number=number, piece=piece)
        parts = await names.parts(upload_id)
        if event.args["pick"] % 10 == 9:
            await names.abort_upload(upload_id)
            return "aborted"
        crc = 0
        for part in parts:
            crc = combine_crc64nvme(crc, part.crc64, part.size)
        meta = Meta(
            user={"op": str(event.number)},
            crc64=crc,
            parts=[Part(part.number, part.size, part.etag) for part in parts],
        )
        if await names.upload(upload_id) is None:
            return "the upload is gone, with its bucket"
        if crc != crc64nvme(body):
            self._fail("bytes", f"#{event.number}: the parts are not those that were sent")
        extents = [extent for part in parts for extent in part.extents]
        stamp = await self._stamp(dc, event, bucket.id, key, "")
        etag = f"{etag_of(body)}-{len(parts)}"
        version = Version(bucket.id, key, "", stamp, Kind.OBJECT, len(body), etag, meta, extents)
        registers, sha256 = _born(bucket, stamp, body, is_known=False)
        version = replace(version, registers=registers)
        attempt = Attempt(event.number, dc.name, stamp, version, sha256=sha256)
        try:
            return await self._complete(event, dc, upload_id, attempt)
        except (NamesClosed, NamesFull):
            await dc.clock.sleep(RETRY_SECONDS)
            return await self._complete_again(event, dc, upload_id, version)

    async def _complete(self, event: Event, dc: Dc, upload_id: str, attempt: Attempt) -> str:
        version = attempt.version
        assert version is not None
        names, item = dc.names, (version.bucket, version.key, "")
        done = await self._commit(
            dc, item, attempt, lambda: names.complete_upload(upload_id, version)
        )
        if await names.completed_upload(upload_id) != (*item, version.stamp):
            self._fail("upload", f"#{event.number}: the completed upload is not remembered")
        if event.args["pick"] % 2:
            # The answer was lost on its way.
            await self._complete_again(event, dc, upload_id, version)
        return done

    async def _complete_again(self, event: Event, dc: Dc, upload_id: str, version: Version) -> str:
        """A client that was not answered repeats its Complete, which a gateway does like this."""
        names, item = dc.names, (version.bucket, version.key, "")
        first = self._model.find(item, version.stamp)
        assert first is not None
        if await names.upload(upload_id) is None:
            done = await names.completed_upload(upload_id)
            if done is None:
                return "the upload is gone"
            if done != (*item, version.stamp):
                self._fail("upload", f"#{event.number}: {done} was made of it, not {first}")
            if first.fate == OPEN:
                self._model.was_acked(first)
            return f"{version.key} {version.stamp}, found at the second try"
        stamp = await self._stamp(dc, event, *item)
        registers = {name: Register(stamp, one.value) for name, one in version.registers.items()}
        again = replace(version, stamp=stamp, registers=registers)
        second = Attempt(event.number, dc.name, stamp, again, sha256=first.sha256)
        work = names.complete_upload(upload_id, second.version)
        done = await self._commit(dc, item, second, lambda: work)
        if first.fate == ACKED:
            self._fail("upload", f"#{event.number}: {first} and {second} were made of one upload")
        return f"{done}, at the second try"

    async def _part(
        self, dc: Dc, upload: str, *, item: tuple[str, str], number: int, piece: bytes
    ) -> None:
        stamp = dc.names.clock.now()
        ident = body_ident(*item, "", stamp, upload, number)
        extents = await self._store(dc, ident, piece)
        etag = etag_of(piece)
        part = UploadPart(number, len(piece), etag, stamp, crc64nvme(piece), {}, extents)
        await dc.names.put_part(upload, part)

    # -- buckets --------------------------------------------------------------------------------

    async def _bucket_create(self, event: Event, dc: Dc) -> str:
        name = f"bucket-{event.args['bucket']}"
        owner = OWNERS[event.args["owner"]]
        life = self._model.bucket(bucket_id(owner, name))
        place = len(life.creates)
        life.creates.append(("", OPEN))
        try:
            bucket = await dc.names.create_bucket(name, owner, f"region-{dc.name}")
        except REFUSALS:
            life.creates[place] = ("", REFUSED)
            raise
        life.creates[place] = (bucket.created, ACKED)
        self._model.told += 1
        shown = dc.names.directory.bucket_by_id(bucket.id)
        if shown is None or shown.created < bucket.created:
            self._fail("read your write", f"bucket {name} in {dc.name}: shown is {shown}")
        return f"{name} {bucket.id} {bucket.created}"

    async def _bucket_delete(self, event: Event, dc: Dc) -> str:
        bucket, _ = self._where(event, dc)
        if bucket is None:
            return "no such bucket"
        if event.args["pick"] % 3:
            await self._empty(event, dc, bucket)
        life = self._model.bucket(bucket.id)
        place = len(life.deletes)
        life.deletes.append(("", OPEN))
        before = dc.names.clock.last
        try:
            await dc.names.delete_bucket(bucket.id)
        except REFUSALS:
            life.deletes[place] = ("", REFUSED)
            raise
        shown = dc.names.directory.bucket_by_id(bucket.id)
        assert shown is not None
        life.deletes[place] = (shown.deleted, ACKED)
        self._model.told += 1
        if shown.deleted <= before:
            self._fail("order", f"#{event.number}: {bucket.name} deleted at {shown.deleted}")
        return f"{bucket.name} {bucket.id} {shown.deleted}"

    async def _empty(self, event: Event, dc: Dc, bucket: Bucket) -> None:
        """Delete all that this DC shows in a bucket."""
        for item in [item for item in self._model.items if item[0] == bucket.id]:
            if await dc.names.version(*item) is not None:
                await self._delete_item(event, dc, item)

    # -- users ----------------------------------------------------------------------------------

    async def _user_add(self, event: Event, dc: Dc) -> str:
        email = f"user{event.args['key'] % 2}@example.com"
        made = await dc.accounts.add_user(email)
        self._model.users[made.user.id] = UserLife(email, ACKED)
        self._model.keys[made.key_id] = KeyLife(made.user.id, made.secret)
        self._model.told += 1
        return f"{made.user.id[:8]} {made.key_id}"

    def _user(self, event: Event, dc: Dc) -> User:
        """The first user with an email address, which several may have."""
        email = f"user{event.args['key'] % 2}@example.com"
        found = [user.id for user in dc.names.directory.users() if user.email == email]
        return dc.accounts.user(found[0] if found else email)

    async def _user_delete(self, event: Event, dc: Dc) -> str:
        user = self._user(event, dc)
        life = self._model.users.setdefault(user.id, UserLife(user.email, OPEN))
        life.gone = life.gone or OPEN
        await dc.names.delete_user(user.id)
        life.gone = ACKED
        self._model.told += 1
        return user.id[:8]

    async def _key_add(self, event: Event, dc: Dc) -> str:
        made = await dc.accounts.add_key(self._user(event, dc).id)
        self._model.keys[made.key_id] = KeyLife(made.user.id, made.secret)
        self._model.told += 1
        return f"{made.user.id[:8]} {made.key_id}"

    async def _key_revoke(self, event: Event, dc: Dc) -> str:
        user = self._user(event, dc)
        keys = dc.accounts.keys_of(user.id)
        if not keys:
            return "no key"
        key_id = keys[event.args["pick"] % len(keys)].key_id
        life = self._model.keys.setdefault(key_id, KeyLife(user.id, ""))
        life.gone = life.gone or OPEN
        await dc.names.revoke_key(key_id)
        life.gone = ACKED
        self._model.told += 1
        return key_id
