"""Who can read what: nobody reads what another one's client wrote, whatever became of the names.

Of two owners' buckets of one name one is shown under another name (`dc/names/directory.py`). Here
every name is resolved as a gateway does it: by the directory, and then the bucket's owner must be
who asks. What is found there must have been written by clients of that same user. Who that was is
what the clients remember of each operation, not what any datacenter says.
"""

from collections.abc import Mapping

from sim_clients import OWNERS, Fail
from sim_dc import Dc

from dc.names.model import Bucket

_CONTENTS = """
SELECT DISTINCT meta ->> '$.user.op' FROM versions WHERE bucket = ?1 AND kind = 0
UNION SELECT DISTINCT meta ->> '$.user.op' FROM conflicts WHERE bucket = ?1 AND NOT gone
"""
"""The operations that wrote what is in a bucket: what is kept of a conflict may be restored."""


def check_access(dc: Dc, writers: Mapping[int, str], fail: Fail) -> None:
    """What each user reaches by the names of buckets; `writers`: by operation, whose client."""
    directory = dc.names.directory
    for user in OWNERS:
        for mine in directory.buckets_of(user):
            found = directory.bucket(mine.name)
            if found is None or found.id != mine.id:
                fail("access", f"{dc.name}: {user[:4]} has {mine.name!r}, which leads to {found}")
    for bucket in directory.all_buckets():
        name = directory.shown_name(bucket.id)
        if bucket.live != bool(name):
            fail("access", f"{dc.name}: {bucket} is shown as {name!r}")
        reached = directory.bucket(name) if name else None
        if reached is not None:
            _check_contents(dc, reached, writers, fail)


def _check_contents(dc: Dc, bucket: Bucket, writers: Mapping[int, str], fail: Fail) -> None:
    """What the owner of a bucket finds in it."""
    number = dc.names.directory.number(bucket.id)
    for (operation,) in dc.tables.execute(_CONTENTS, (number,)):
        writer = writers.get(int(operation)) if operation else None
        if writer != bucket.owner:
            fail(
                "access",
                f"{dc.name}: {bucket.owner[:4]} reads in {bucket.name!r} what #{operation} wrote"
                f" for {writer and writer[:4]}",
            )
