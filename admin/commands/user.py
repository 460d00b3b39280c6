"""`farshore user`: the users of a datacenter and their keys. All paired datacenters share them."""

from typing import Annotated, Any

import typer

from admin.commands.common import AsJson, client, family
from admin.output import print_fields, print_json, print_note, print_table

NewEmail = Annotated[str, typer.Argument(metavar="EMAIL", help="The user's email address.")]
Email = Annotated[
    str,
    typer.Argument(
        metavar="EMAIL", help="The user's email address, or canonical id: several may share one."
    ),
]

app = family("Users and their keys, shared by all paired datacenters.")
key_app = family("The keys of a user, at most two at a time.")
app.add_typer(key_app, name="key")


@app.command()
def add(context: typer.Context, email: NewEmail, as_json: AsJson = False) -> None:
    """Add a user and print the first key pair. The secret key is shown only now.

    \b
    Examples:
      farshore -C paris user add ann@example.com
      farshore -C paris user add ann@example.com --json
    """
    _print_new_key(client(context).post("users", body={"email": email}), as_json)


@app.command("list")
def list_users(context: typer.Context, as_json: AsJson = False) -> None:
    """List the users.

    \b
    Example:
      farshore -C paris user list
    """
    users = client(context).get("users")["users"]
    if as_json:
        print_json(users)
        return
    columns = {
        "email": "EMAIL",
        "canonical_id": "CANONICAL ID",
        "created": "CREATED",
        "access_keys": "ACCESS KEYS",
    }
    print_table(users, columns)
    shared = sorted({user["email"] for user in users if user["shared_email"]})
    for email in shared:
        print_note(
            f"several users have {email}: name them by their canonical ids;"
            " see `farshore conflicts list`"
        )


@app.command()
def keys(context: typer.Context, email: Email, as_json: AsJson = False) -> None:
    """List the access keys of a user (never their secrets).

    \b
    Example:
      farshore -C paris user keys ann@example.com
    """
    found = client(context).get("users", email, "keys")["keys"]
    if as_json:
        print_json(found)
        return
    print_table(found, {"access_key": "ACCESS KEY", "created": "CREATED"})


@app.command()
def delete(context: typer.Context, email: Email, as_json: AsJson = False) -> None:
    """Delete a user and their keys, at all paired datacenters. Their buckets stay.

    \b
    Example:
      farshore -C paris user delete ann@example.com
    """
    deleted = client(context).delete("users", email)
    if as_json:
        print_json(deleted)
        return
    print(f"deleted {deleted['email']}")


@key_app.command("add")
def add_key(context: typer.Context, email: Email, as_json: AsJson = False) -> None:
    """Give a user a second key pair. The secret key is shown only now.

    \b
    Example:
      farshore -C paris user key add ann@example.com
    """
    _print_new_key(client(context).post("users", email, "keys"), as_json)


@key_app.command("revoke")
def revoke_key(
    context: typer.Context,
    email: Email,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The access key to revoke.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key of a user, at all paired datacenters.

    \b
    Example:
      farshore -C paris user key revoke ann@example.com FSQ3V5N7WZ2K4JH6TD2A
    """
    revoked = client(context).delete("users", email, "keys", key)
    if as_json:
        print_json(revoked)
        return
    print(f"revoked {revoked['access_key']} of {revoked['email']}")


def _print_new_key(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    print_fields(
        {
            "email": made["email"],
            "canonical id": made["canonical_id"],
            "access key": made["access_key"],
            "secret key": made["secret_key"],
        }
    )
