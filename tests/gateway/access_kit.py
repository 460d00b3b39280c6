"""Requests of some users to the bucket of another, and what came of them."""

import json
from typing import Any

from gateway_kit import USERS, Answer, House

from dc.accounts import secret_context
from dc.names.model import AccessKey, User
from tokens.secret_store import SecretStore

ANN, BOB = USERS["ann"], USERS["bob"]
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
OWNER_ENFORCED, OWNER_PREFERRED = "BucketOwnerEnforced", "BucketOwnerPreferred"


async def add_users(house: House, secrets: SecretStore | None = None) -> None:
    """Make those who can sign known by their email addresses, too; elsewhere as well, with the
    `secrets` of the datacenter."""
    for name, user_id in USERS.items():
        stamp, secret = house.names.clock.now(), b""
        if secrets is not None:
            secret = secrets.encrypt(b"secret", secret_context(user_id, name))
        user = User(id=user_id, email=f"{name}@example.com", stamp=stamp)
        await house.names.add_user(
            user, AccessKey(id=name, user=user_id, secret=secret, stamp=stamp)
        )


def statement(action: str | list[str], effect: str = "Allow", **more: Any) -> dict[str, Any]:
    """For everyone, everything in the bucket, unless `more` says otherwise."""
    resources = ["arn:aws:s3:::photos", "arn:aws:s3:::photos/*"]
    return {
        "Effect": effect, "Principal": "*", "Action": action, "Resource": resources, **more
    }  # fmt: skip


async def put_policy(house: House, *statements: dict[str, Any]) -> Answer:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return await house.ask("PUT", "/photos?policy", json.dumps(document).encode())


async def put_ownership(house: House, ownership: str) -> Answer:
    rule = f"<Rule><ObjectOwnership>{ownership}</ObjectOwnership></Rule>"
    body = f"<OwnershipControls>{rule}</OwnershipControls>".encode()
    return await house.ask("PUT", "/photos?ownershipControls", body)


async def block(house: House, *switches: str) -> Answer:
    inside = "".join(f"<{name}>true</{name}>" for name in switches)
    body = f"<PublicAccessBlockConfiguration>{inside}</PublicAccessBlockConfiguration>"
    return await house.ask("PUT", "/photos?publicAccessBlock", body.encode())


async def put_acl(house: House, target: str, acl: str, user: str | None = "ann") -> Answer:
    return await house.ask("PUT", f"{target}?acl", headers={"x-amz-acl": acl}, user=user)


async def grants(house: House, target: str, user: str = "ann") -> list[tuple[str, str]]:
    """(grantee, permission) of a list, in its order."""
    answer = await house.ask("GET", f"{target}?acl", user=user)
    assert answer.status == 200, answer
    assert answer.texts("Grant"), answer
    who = answer.texts("ID")[1:]
    groups = answer.texts("URI")
    return list(zip(groups + who, answer.texts("Permission"), strict=True))


async def owner(house: House, target: str, user: str = "ann") -> str:
    """Whose it is, by its access control list."""
    answer = await house.ask("GET", f"{target}?acl", user=user)
    assert answer.status == 200, answer
    return answer.texts("ID")[0]


async def put(house: House, key: str, user: str | None, **headers: str) -> Answer:
    said = {name.replace("_", "-"): text for name, text in headers.items()}
    return await house.ask("PUT", f"/photos/{key}", key.encode(), said, user=user)


async def code(house: House, method: str, target: str, user: str | None, **headers: str) -> str:
    """The error's code, or the status, of a request without a body."""
    said = {name.replace("_", "-"): text for name, text in headers.items()}
    answer = await house.ask(method, target, headers=said, user=user)
    return answer.code or str(answer.status)
