"""Users and their keys: what the admin API changes, and what the gateway asks on every request.

A user has an email address, a canonical id of 64 hex digits, and up to two key pairs. Either tells
which user is meant; but two datacenters may have given one address to two users. The records
live in the name servers and travel to all peers; this file is where their secrets are made,
encrypted, and opened again.

A secret is encrypted for rest with the datacenter's data key, bound to its owner and its key id
(`secret_context`), so that a ciphertext moved to another row does not open. `lookup` is called for
every request and must not decrypt each time: opened secrets are kept, up to a limit, together with
the very record they were opened from. A record that changed, by whatever way, is another record,
so its old secret cannot be served.
"""

import base64
import re
from collections import OrderedDict
from typing import NamedTuple

from dc.names.api import Directory, Names, NoSuchKey, NoSuchUser, TooManyKeys, UserExists
from dc.names.model import AccessKey, User
from dc.ports import Randomness
from tokens.secret_store import SecretStore

KEYS_PER_USER_MAX = 2
OPENED_SECRETS_MAX = 10_000
"""About 300 bytes each; beyond it, a secret is decrypted again in some microseconds."""
EMAIL_CHARACTERS_MAX = 254
_EMAIL = re.compile(r"[^\s@\x00-\x20\x7f]+@[^\s@\x00-\x20\x7f]+")


class SeveralUsers(Exception):
    """Several users have that email address; each has a canonical id of their own."""


class InvalidEmail(Exception):
    """The text is no email address."""


class Credential(NamedTuple):
    """Who a key belongs to, and its secret in plain, which `repr` keeps out of logs."""

    user: str
    secret: str

    def __repr__(self) -> str:
        return f"Credential(user={self.user!r})"


class NewKey(NamedTuple):
    """A user with a key pair just made. This is the only time that the secret is shown."""

    user: User
    key_id: str
    secret: str


class KeyInfo(NamedTuple):
    """A key as it may be shown."""

    key_id: str
    stamp: str


def secret_context(user_id: str, key_id: str) -> bytes:
    """What an encrypted secret is bound to."""
    return f"{user_id}/{key_id}".encode()


def check_email(text: str) -> str:
    """The address, without white space around it; InvalidEmail when it is none."""
    email = text.strip()
    if len(email) > EMAIL_CHARACTERS_MAX or not email.isprintable() or not _EMAIL.fullmatch(email):
        raise InvalidEmail(f"{text[:80]!r} is not an email address, for instance ann@example.com")
    return email


class AccessKeys:
    """The keys of one DC, decrypted: what its gateways ask on every request."""

    def __init__(self, directory: Directory, secrets: SecretStore) -> None:
        self._directory = directory
        self._secrets = secrets
        self._opened: OrderedDict[str, tuple[AccessKey, Credential]] = OrderedDict()

    def lookup(self, access_key: str) -> Credential | None:
        """The secret and the owner of a live key; None for every other text."""
        record = self._directory.key(access_key)
        if record is None:
            self._opened.pop(access_key, None)
            return None
        kept = self._opened.get(access_key)
        if kept is not None and (kept[0] is record or kept[0] == record):
            return kept[1]
        context = secret_context(record.user, record.id)
        secret = self._secrets.decrypt(record.secret, context).decode()
        credential = Credential(record.user, secret)
        self._opened[access_key] = (record, credential)
        if len(self._opened) > OPENED_SECRETS_MAX:
            self._opened.popitem(last=False)
        return credential


class Accounts:
    """The users of one DC."""

    def __init__(self, names: Names, secrets: SecretStore, randomness: Randomness) -> None:
        self._names = names
        self._directory = names.directory
        self._secrets = secrets
        self._randomness = randomness
        self.keys = AccessKeys(names.directory, secrets)
        self.lookup = self.keys.lookup

    def users(self) -> list[User]:
        """By email."""
        return self._directory.users()

    def user(self, wanted: str) -> User:
        """By email address or canonical id: NoSuchUser; SeveralUsers when two datacenters that did
        not know of each other's gave one address to two users."""
        wanted = wanted.strip()
        user = self._directory.user(wanted)
        if user is not None:
            return user
        found = [user for user in self._directory.users() if user.email == wanted]
        if not found:
            raise NoSuchUser(f"there is no user {wanted[:80]!r}")
        if len(found) > 1:
            ids = " and ".join(user.id for user in found)
            raise SeveralUsers(f"{len(found)} users have {wanted!r}: say which by its id, {ids}")
        return found[0]

    def keys_of(self, user_id: str) -> list[KeyInfo]:
        """The keys of a user, oldest first."""
        keys = self._directory.keys_of(user_id)
        return sorted((KeyInfo(key.id, key.stamp) for key in keys), key=lambda key: key.stamp)

    async def add_user(self, email: str) -> NewKey:
        """A new user with a first key. InvalidEmail, UserExists."""
        email = check_email(email)
        if self._directory.users_of_email(email):
            raise UserExists(f"there is a user {email!r} already")
        user_id = self._randomness.token(32).hex()
        user = User(id=user_id, email=email, stamp=self._names.clock.now())
        record, secret = self._new_key(user_id)
        await self._names.add_user(user, record)
        return NewKey(user, record.id, secret)

    async def delete_user(self, email: str) -> User:
        """The user that was deleted, and its keys with it; its buckets stay. NoSuchUser."""
        user = self.user(email)
        await self._names.delete_user(user.id)
        return user

    async def add_key(self, email: str) -> NewKey:
        """NoSuchUser; TooManyKeys at two."""
        user = self.user(email)
        if len(self._directory.keys_of(user.id)) >= KEYS_PER_USER_MAX:
            raise TooManyKeys(
                f"{user.email} has {KEYS_PER_USER_MAX} keys, the most there may be: revoke one"
                " first (farshore user key revoke)"
            )
        record, secret = self._new_key(user.id)
        await self._names.add_key(record)
        return NewKey(user, record.id, secret)

    async def revoke_key(self, email: str, key_id: str) -> None:
        """NoSuchUser; NoSuchKey, also when the key is somebody else's."""
        user = self.user(email)
        record = self._directory.key(key_id)
        if record is None or record.user != user.id:
            raise NoSuchKey(f"{user.email} has no key {key_id[:80]!r}")
        await self._names.revoke_key(key_id)

    def _new_key(self, user_id: str) -> tuple[AccessKey, str]:
        """A record, and its secret in plain: 20 and 40 letters and digits."""
        key_id = "FS" + base64.b32encode(self._randomness.token(15)).decode()[:18]
        # Two letters stand in for "+" and "/", which people and shells mistake; it is never
        # decoded, and 40 characters keep more than 230 bits.
        secret = base64.b64encode(self._randomness.token(30), altchars=b"Fs").decode()
        assert len(key_id) == 20 and len(secret) == 40
        encrypted = self._secrets.encrypt(secret.encode(), secret_context(user_id, key_id))
        stamp = self._names.clock.now()
        return AccessKey(id=key_id, user=user_id, secret=encrypted, stamp=stamp), secret
