"""Users and keys: made, found, revoked, and never with a secret in plain on the disk."""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from dc import accounts as accounts_module
from dc.accounts import Accounts, InvalidEmail, check_email, secret_context
from dc.names.api import NoSuchKey, NoSuchUser, TooManyKeys, UserExists
from dc.names.service import SqliteNames, open_names
from dc.system import SystemClock, SystemDatabases, SystemRandomness
from tokens.errors import SecretError
from tokens.secret_store import SecretStore

DATA_KEY = bytes(range(32))
DC = "00000000000000aa"


@pytest.fixture
async def names(tmp_path: Path) -> AsyncIterator[SqliteNames]:
    opened = await open_names(
        tmp_path / "names.db",
        databases=SystemDatabases(),
        clock=SystemClock(),
        randomness=SystemRandomness(),
        dc_id=DC,
    )
    yield opened
    await opened.close()


@pytest.fixture
def accounts(names: SqliteNames) -> Accounts:
    randomness = SystemRandomness()
    return Accounts(names, SecretStore(DATA_KEY, randomness.token), randomness)


async def test_a_new_user_has_a_key_that_is_found(accounts: Accounts) -> None:
    made = await accounts.add_user(" ann@example.com ")
    assert made.user.email == "ann@example.com"
    assert re.fullmatch(r"[0-9a-f]{64}", made.user.id)
    assert re.fullmatch(r"FS[A-Z2-7]{18}", made.key_id)
    assert re.fullmatch(r"[A-Za-z0-9]{40}", made.secret)
    found = accounts.lookup(made.key_id)
    assert found is not None
    assert (found.user, found.secret) == (made.user.id, made.secret)
    assert found is accounts.lookup(made.key_id)
    assert made.secret not in repr(found)
    assert accounts.lookup("FSNOBODY") is None
    assert [user.email for user in accounts.users()] == ["ann@example.com"]


async def test_no_secret_is_in_plain_on_the_disk(accounts: Accounts, tmp_path: Path) -> None:
    made = await accounts.add_user("ann@example.com")
    for name in os.listdir(tmp_path):  # noqa: PTH208
        assert made.secret.encode() not in (tmp_path / name).read_bytes()


async def test_two_keys_and_no_third(accounts: Accounts) -> None:
    first = await accounts.add_user("ann@example.com")
    second = await accounts.add_key("ann@example.com")
    assert [key.key_id for key in accounts.keys_of(first.user.id)] == [first.key_id, second.key_id]
    with pytest.raises(TooManyKeys, match="revoke one first"):
        await accounts.add_key("ann@example.com")
    await accounts.revoke_key("ann@example.com", first.key_id)
    assert accounts.lookup(first.key_id) is None
    found = accounts.lookup(second.key_id)
    assert found is not None and found.secret == second.secret
    await accounts.add_key("ann@example.com")


async def test_a_revoked_key_is_refused_though_it_was_used(accounts: Accounts) -> None:
    made = await accounts.add_user("ann@example.com")
    assert accounts.lookup(made.key_id) is not None
    await accounts.revoke_key("ann@example.com", made.key_id)
    assert accounts.lookup(made.key_id) is None


async def test_deleting_a_user_ends_its_keys(accounts: Accounts) -> None:
    made = await accounts.add_user("ann@example.com")
    assert accounts.lookup(made.key_id) is not None
    await accounts.delete_user("ann@example.com")
    assert accounts.lookup(made.key_id) is None
    assert accounts.users() == []
    with pytest.raises(NoSuchUser):
        accounts.user("ann@example.com")
    await accounts.add_user("ann@example.com")


async def test_what_does_not_exist_or_exists_already(accounts: Accounts) -> None:
    ann = await accounts.add_user("ann@example.com")
    await accounts.add_user("bob@example.com")
    with pytest.raises(UserExists, match=r"ann@example\.com"):
        await accounts.add_user("ann@example.com")
    with pytest.raises(NoSuchUser, match="eve"):
        await accounts.add_key("eve@example.com")
    with pytest.raises(NoSuchUser):
        await accounts.delete_user("eve@example.com")
    with pytest.raises(NoSuchKey):
        await accounts.revoke_key("bob@example.com", ann.key_id)
    assert accounts.lookup(ann.key_id) is not None


async def test_a_secret_of_another_record_does_not_open(
    accounts: Accounts, names: SqliteNames
) -> None:
    """A ciphertext moved to another user's key is refused, and a changed record is opened anew."""
    ann = await accounts.add_user("ann@example.com")
    bob = await accounts.add_user("bob@example.com")
    assert accounts.lookup(bob.key_id) is not None
    record = names.directory.key(bob.key_id)
    stolen = names.directory.key(ann.key_id)
    assert record is not None and stolen is not None
    moved = msgspec.structs.replace(record, secret=stolen.secret, stamp=names.clock.now())
    await names.apply([moved])
    with pytest.raises(SecretError):
        accounts.lookup(bob.key_id)


async def test_a_key_that_changed_is_opened_anew(accounts: Accounts, names: SqliteNames) -> None:
    made = await accounts.add_user("ann@example.com")
    assert accounts.lookup(made.key_id) is not None
    record = names.directory.key(made.key_id)
    assert record is not None
    store = SecretStore(DATA_KEY, SystemRandomness().token)
    secret = store.encrypt(b"another", secret_context(made.user.id, made.key_id))
    await names.apply([msgspec.structs.replace(record, secret=secret, stamp=names.clock.now())])
    found = accounts.lookup(made.key_id)
    assert found is not None and found.secret == "another"


async def test_opened_secrets_are_bounded(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts_module, "OPENED_SECRETS_MAX", 3)
    made = [await accounts.add_user(f"user{number}@example.com") for number in range(5)]
    for each in made * 2:
        found = accounts.lookup(each.key_id)
        assert found is not None and found.secret == each.secret
    assert len(accounts.keys._opened) == 3


@pytest.mark.parametrize(
    "text",
    ["", "ann", "@", "a@", "@b", "a b@c", "a@b c", "a@b@c", "a\n@b", "a\0@b", "a" * 251 + "@b.c"],
)
def test_what_is_no_email_address(text: str) -> None:
    with pytest.raises(InvalidEmail):
        check_email(text)
