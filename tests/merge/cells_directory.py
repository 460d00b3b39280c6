"""The cells of docs/conflicts.md about buckets, users and keys, as in `cells_objects.py`."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest
from cells_objects import cell
from merge_kit import OTHER_OWNER, Outcome, Place, Stage

from dc.names.api import (
    BucketExists,
    BucketNotEmpty,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUser,
    TooManyKeys,
    UserExists,
)
from dc.names.model import Bucket

Look = Callable[[Place], Awaitable[bool]]


def shown(*buckets: Bucket, **attributes: str) -> Look:
    """Whether these are the buckets besides `photos`, or, without any, whether `photos` has these
    attributes and no others."""

    async def look(place: Place) -> bool:
        found = (await place.facts())["buckets"]
        assert isinstance(found, dict)
        if buckets:
            return {one.id for one in found.values() if one.name != "photos"} == {
                one.id for one in buckets
            }
        registers = found["photos"].registers
        return {name: one.value for name, one in registers.items()} == attributes

    return look


def gone(bucket_id: str) -> Look:
    async def look(place: Place) -> bool:
        bucket = place.names.directory.bucket_by_id(bucket_id)
        return bucket is not None and not bucket.live

    return look


def keys(*live: str) -> Look:
    """Whether these keys work, and no others."""

    async def look(place: Place) -> bool:
        found = (await place.facts())["keys"]
        assert isinstance(found, dict)
        return {key for key, (_, works) in found.items() if works} == set(live)

    return look


# -- buckets -------------------------------------------------------------------------------------


@cell("create-create")
async def _(t: Stage) -> Outcome:
    one = await t.first.create("new")
    early = await t.first.put("a", bucket=one.id)
    await t.between()
    if t.seen:
        with pytest.raises(BucketExists):
            await t.second.create("new")
    else:
        assert (await t.second.create("new")).id == one.id
    late = await t.second.put("b", bucket=one.id)
    t.bucket = one.id
    return Outcome({"a": early, "b": late}, {"a": [early], "b": [late]}, also=shown(one))


@cell("create-othercreate")
async def _(t: Stage) -> Outcome:
    one = await t.first.create("new")
    early = await t.first.put("a", bucket=one.id)
    await t.between()
    t.bucket = one.id
    if t.seen:
        with pytest.raises(BucketExists):
            await t.second.create("new", OTHER_OWNER)
        return Outcome({"a": early}, {"a": [early]}, also=shown(one))
    two = await t.second.create("new", OTHER_OWNER)
    late = await t.second.put("a", bucket=two.id)

    async def both(place: Place) -> bool:
        directory = place.names.directory
        name = f"new--conflict-{t.second.name}"
        assert {one.name for one in directory.buckets_of(OTHER_OWNER)} == {name}
        assert directory.bucket("new") == one
        renamed = directory.bucket(name)
        assert renamed is not None and renamed.owner == OTHER_OWNER and renamed.id == two.id
        assert [one.id for one in directory.renamed_buckets()] == [two.id]
        theirs = await place.names.current(two.id, "a")
        return theirs is not None and theirs.stamp == late.stamp

    return Outcome({"a": early}, {"a": [early, late]}, also=both)


@cell("attribute-attribute")
async def _(t: Stage) -> Outcome:
    await t.first.attribute(t.bucket, policy="early")
    await t.between()
    await t.second.attribute(t.bucket, policy="late")
    return Outcome(also=shown(policy="late"))


@cell("attribute-otherattribute")
async def _(t: Stage) -> Outcome:
    await t.first.attribute(t.bucket, policy="early", acl="early")
    await t.between()
    await t.second.attribute(t.bucket, tags="late", acl="")
    return Outcome(also=shown(policy="early", tags="late", acl=""))


@cell("attribute-create")
async def _(t: Stage) -> Outcome:
    one = await t.first.create("new")
    await t.first.attribute(one.id, policy="early")
    await t.between()
    if t.seen:
        with pytest.raises(BucketExists):
            await t.second.create("new")
    else:
        await t.second.create("new")

    async def look(place: Place) -> bool:
        found = place.names.directory.bucket("new")
        assert found is not None
        return set(found.registers) == ({"policy"} if t.seen else set())

    return Outcome(also=look)


@cell("versioning-put")
async def _(t: Stage) -> Outcome:
    await t.first.attribute(t.bucket, versioning="Enabled")
    early = await t.first.put("k", bucket=t.bucket, versioned=True)
    await t.between()
    late = await t.second.put("k", bucket=t.bucket, versioned=t.seen)
    return Outcome({"k": late}, {"k": [early, late]}, also=shown(versioning="Enabled"))


@cell("versioning-versioning")
async def _(t: Stage) -> Outcome:
    await t.first.attribute(t.bucket, versioning="Enabled")
    await t.between()
    await t.second.attribute(t.bucket, versioning="Suspended")
    return Outcome(also=shown(versioning="Suspended"))


@cell("deletebucket-put")
async def _(t: Stage) -> Outcome:
    await t.first.delete_bucket(t.bucket)
    await t.between()
    if t.seen:
        with pytest.raises(NoSuchBucket):
            await t.second.put("k", bucket=t.bucket)
        return Outcome({"k": None}, also=gone(t.bucket))
    late = await t.second.put("k", bucket=t.bucket)
    return Outcome({"k": late}, {"k": [late]}, also=shown())


@cell("put-deletebucket")
async def _(t: Stage) -> Outcome:
    await t.second.attribute(t.bucket, policy="kept")
    await t.share()
    early = await t.first.put("k", bucket=t.bucket)
    await t.between()
    if t.seen:
        with pytest.raises(BucketNotEmpty):
            await t.second.delete_bucket(t.bucket)
    else:
        await t.second.delete_bucket(t.bucket)
    return Outcome({"k": early}, {"k": [early]}, also=shown(policy="kept"))


@cell("deletebucket-attribute")
async def _(t: Stage) -> Outcome:
    await t.first.delete_bucket(t.bucket)
    await t.between()
    if t.seen:
        with pytest.raises(NoSuchBucket):
            await t.second.attribute(t.bucket, policy="late")
    else:
        await t.second.attribute(t.bucket, policy="late")
    return Outcome(also=gone(t.bucket))


@cell("attribute-deletebucket")
async def _(t: Stage) -> Outcome:
    await t.first.attribute(t.bucket, policy="early")
    await t.between()
    await t.second.delete_bucket(t.bucket)
    return Outcome(also=gone(t.bucket))


@cell("deletebucket-deletebucket")
async def _(t: Stage) -> Outcome:
    await t.first.delete_bucket(t.bucket)
    await t.between()
    if t.seen:
        with pytest.raises(NoSuchBucket):
            await t.second.delete_bucket(t.bucket)
    else:
        await t.second.delete_bucket(t.bucket)
    return Outcome(also=gone(t.bucket))


@cell("deletebucket-recreate")
async def _(t: Stage) -> Outcome:
    await t.second.attribute(t.bucket, policy="old")
    await t.share()
    await t.first.delete_bucket(t.bucket)
    await t.between()
    if not t.seen:
        await t.second.delete_bucket(t.bucket)
    assert (await t.second.create("photos")).id == t.bucket
    return Outcome(also=shown())


@cell("recreate-deletebucket")
async def _(t: Stage) -> Outcome:
    await t.first.delete_bucket(t.bucket)
    assert (await t.first.create("photos")).id == t.bucket
    await t.between()
    await t.second.delete_bucket(t.bucket)
    return Outcome(also=gone(t.bucket))


@cell("conflict-deletebucket")
async def _(t: Stage) -> Outcome:
    early = await t.first.put("k", bucket=t.bucket)
    await t.between()
    await t.second.put("k", bucket=t.bucket)
    await t.second.delete("k", bucket=t.bucket)
    await t.second.delete_bucket(t.bucket)
    if t.seen:
        return Outcome({"k": None}, also=gone(t.bucket))
    # The object was there, and is not any more, before the bucket's deletion arrives.
    return Outcome({"k": None}, {}, [early], also=gone(t.bucket))


# -- users and keys --------------------------------------------------------------------------------


@cell("user-user")
async def _(t: Stage) -> Outcome:
    one = await t.first.add_user("c")
    await t.between()
    if t.seen:
        with pytest.raises(UserExists):
            await t.second.add_user("d")
        return Outcome(also=keys("Kc"))
    two = await t.second.add_user("d")

    async def both(place: Place) -> bool:
        assert place.names.directory.users() == [one, two]
        return await keys("Kc", "Kd")(place)

    return Outcome(also=both)


@cell("deleteuser-deleteuser")
async def _(t: Stage) -> Outcome:
    user = await t.first.add_user("c")
    await t.share()
    await t.first.names.delete_user(user.id)
    await t.between()
    if t.seen:
        with pytest.raises(NoSuchUser):
            await t.second.names.delete_user(user.id)
    else:
        await t.second.names.delete_user(user.id)
    return Outcome(also=keys())


@cell("deleteuser-key")
async def _(t: Stage) -> Outcome:
    user = await t.first.add_user("c")
    await t.share()
    await t.first.names.delete_user(user.id)
    await t.between()
    if t.seen:
        with pytest.raises(NoSuchUser):
            await t.second.names.add_key(t.second.key(user.id, "K2"))
    else:
        await t.second.names.add_key(t.second.key(user.id, "K2"))
    return Outcome(also=keys())


@cell("key-deleteuser")
async def _(t: Stage) -> Outcome:
    user = await t.first.add_user("c")
    await t.share()
    await t.first.names.add_key(t.first.key(user.id, "K2"))
    await t.between()
    await t.second.names.delete_user(user.id)
    return Outcome(also=keys())


@cell("deleteuser-anything")
async def _(t: Stage) -> Outcome:
    user = await t.first.add_user("c")
    await t.share()
    await t.first.names.delete_user(user.id)
    await t.between()
    # No command does this to a user who is there; a record that says so changes nothing.
    again = msgspec.structs.replace(user, email="new@example.com", stamp=t.second.stamp())
    await t.second.apply([again])

    async def nobody(place: Place) -> bool:
        assert place.names.directory.users() == []
        return await keys()(place)

    return Outcome(also=nobody)


@cell("deleteuser-bucket")
async def _(t: Stage) -> Outcome:
    user = await t.first.add_user("c")
    await t.share()
    await t.first.names.delete_user(user.id)
    await t.between()
    # Their requests are refused where the deletion is known: the gateway finds no key.
    if t.seen:
        assert t.second.names.directory.key("Kc") is None
        return Outcome(also=keys())
    made = await t.second.create("theirs", user.id)
    late = await t.second.put("k", bucket=made.id)
    t.bucket = made.id
    return Outcome({"k": late}, {"k": [late]}, also=keys())


@cell("key-key")
async def _(t: Stage) -> Outcome:
    user = await t.first.add_user("c")
    await t.share()
    await t.first.names.add_key(t.first.key(user.id, "K2"))
    await t.between()
    if t.seen:
        with pytest.raises(TooManyKeys):
            await t.second.names.add_key(t.second.key(user.id, "K3"))
        return Outcome(also=keys("Kc", "K2"))
    await t.second.names.add_key(t.second.key(user.id, "K3"))
    return Outcome(also=keys("Kc", "K2", "K3"))


@cell("revoke-revoke")
async def _(t: Stage) -> Outcome:
    await t.first.add_user("c")
    await t.share()
    await t.first.names.revoke_key("Kc")
    await t.between()
    if t.seen:
        with pytest.raises(NoSuchKey):
            await t.second.names.revoke_key("Kc")
    else:
        await t.second.names.revoke_key("Kc")
    return Outcome(also=keys())


@cell("revoke-anything")
async def _(t: Stage) -> Outcome:
    user = await t.first.add_user("c")
    await t.share()
    await t.first.names.revoke_key("Kc")
    await t.between()
    # No command does this to a key that is there; a record that says so changes nothing.
    await t.second.apply([t.second.key(user.id, "Kc")])
    return Outcome(also=keys())


@cell("revoke-deleteuser")
async def _(t: Stage) -> Outcome:
    user = await t.first.add_user("c")
    await t.share()
    await t.first.names.revoke_key("Kc")
    await t.between()
    await t.second.names.delete_user(user.id)
    return Outcome(also=keys())
