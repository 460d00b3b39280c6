"""`farshore conflicts`: what two datacenters did to one thing without having seen each other."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from admin.commands.common import AsJson, client, family
from admin.errors import AdminError
from admin.output import print_fields, print_json, print_note, print_table

if TYPE_CHECKING:
    from admin.client import AdminClient

IDS_AT_ONCE = 500
PAGE = 1000
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids from `conflicts list`.")]

app = family("What two datacenters did to one thing without having seen each other.")


@app.command("list")
def list_conflicts(
    context: typer.Context,
    bucket: Annotated[str, typer.Option(help="Only of the bucket with this name.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many objects.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List writes that lost to one that had not seen them, while they are kept.

    Also: buckets that are shown by another name because two owners made one name, and users who
    have one email address.

    \b
    Examples:
      farshore -C paris conflicts list
      farshore -C paris conflicts list --bucket photos --json
    """
    found, more = _all(client(context), bucket, limit)
    if as_json:
        print_json(found)
    else:
        _print(found)
    if more:
        print_note(f"there are more than {limit} objects: --limit shows more")


@app.command()
def show(
    context: typer.Context,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="An id from `conflicts list`.")],
    as_json: AsJson = False,
) -> None:
    """Show all that is known of a conflict: what lost, and what is current now.

    \b
    Example:
      farshore -C paris conflicts show 3f6a0c91d2b84e75-019d3a52c1f40000a1b2c3d4e5f60718
    """
    facts = client(context).get("conflicts", wanted)
    if as_json:
        print_json(facts)
        return
    print_fields(_flat(facts))


@app.command()
def restore(context: typer.Context, ids: Ids, as_json: AsJson = False) -> None:
    """Write losing objects again, as new versions, at all paired datacenters.

    In a bucket without versioning that replaces the current object, as every PUT does: copy it to
    another key before, to have both.

    \b
    Example:
      farshore -C paris conflicts restore 3f6a0c91d2b84e75-019d3a52c1f40000a1b2c3d4e5f60718
    """
    _settle(client(context), "restore", "restored", ids, as_json)


@app.command()
def drop(context: typer.Context, ids: Ids, as_json: AsJson = False) -> None:
    """Let losing objects go now, at all paired datacenters. They cannot be had back.

    \b
    Example:
      farshore -C paris conflicts drop 3f6a0c91d2b84e75-019d3a52c1f40000a1b2c3d4e5f60718
    """
    _settle(client(context), "drop", "dropped", ids, as_json)


def _all(asked: "AdminClient", bucket: str, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """What there is, at most `limit` objects, and whether there are more."""
    found: list[dict[str, Any]] = []
    objects, after = 0, ""
    while True:
        query = {"limit": str(min(PAGE, limit - objects))}
        query |= {"bucket": bucket} if bucket else {}
        query |= {"after": after} if after else {}
        page = asked.get("conflicts", query=query)
        found += page["conflicts"]
        objects += sum(one["kind"] == "object" for one in page["conflicts"])
        after = page["next"]
        if not after or objects >= limit:
            return found, bool(after)


def _print(found: list[dict[str, Any]]) -> None:
    rows = [_flat(one) for one in found]
    objects, names, users = (
        [row for row in rows if row["kind"] == kind]
        for kind in ("object", "bucket-name", "user-email")
    )
    lost = {"written": "WRITTEN", "site": "AT", "lost to written": "LOST TO", "lost to site": "AT"}
    columns = {"id": "ID", "bucket": "BUCKET", "key": "KEY", **lost}
    print_table(objects, columns | {"size": "SIZE", "etag": "ETAG", "kept until": "KEPT UNTIL"})
    if names:
        print("\nBuckets whose name is an older bucket's:")
        owners = {"owner email": "OWNER", "lost to owner email": "OWNER OF THE NAME"}
        print_table(names, {"id": "ID", "bucket": "SHOWN AS", "name": "NAME", **owners, **lost})
    if users:
        print("\nUsers with one email address:")
        columns = {"email": "EMAIL", "id": "CANONICAL ID", "written": "ADDED", "site": "AT"}
        print_table(users, columns | {"access keys": "ACCESS KEYS", "buckets": "BUCKETS"})


def _settle(
    asked: "AdminClient", action: str, done_word: str, ids: list[str], as_json: bool
) -> None:
    """Exit code 1 when one of them could not be done; the others are."""
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for start in range(0, len(ids), IDS_AT_ONCE):
        some = asked.post("conflicts", action, body={"ids": ids[start : start + IDS_AT_ONCE]})
        done += some["done"]
        failed += some["failed"]
    if as_json:
        print_json({"done": done, "failed": failed})
    else:
        for one in done:
            print_fields({done_word: f"{one['key']} in {one['bucket']}{_instead(one)}"})
        for one in failed:
            print_note(f"{one['id']}: {one['reason']}")
    if failed:
        raise AdminError(f"{len(failed)} of {len(ids)} were not {done_word}")


def _instead(one: dict[str, Any]) -> str:
    before = one.get("replaced", {})
    if before.get("kind") != "object":
        return ""
    return f", instead of what was written at {before['site']}, {before['written']}"


def _flat(facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Facts inside facts, under the names of both."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        path = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, dict):
            flat |= _flat(value, f"{path} ")
        else:
            flat[path] = value
    return flat
