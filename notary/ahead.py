"""What a log has signed and not published yet, as far as its entries were copied for a cosignature.

Entries of a mirror that are not under a published checkpoint go with the signed one that they give
the root of. It is kept until the log publishes, so that whatever the log has signed and a witness
has seen, the log can have back.
"""

from sqlite3 import Connection

from notary import tables
from notary.note import Checkpoint, read_checkpoint
from notary.tables import Log

_FACT = "ahead "
"""Its name goes on with the log's origin."""


def set_ahead(db: Connection, checkpoint: Checkpoint) -> None:
    """The entries under it are there, and give its root."""
    tables.set_fact(db, _FACT + checkpoint.origin, str(checkpoint))


def ahead(db: Connection, log: Log) -> Checkpoint | None:
    """None when nothing was copied that is further than what was published."""
    note = tables.fact(db, _FACT + log.origin)
    found = read_checkpoint(note) if note else None
    return found if found is not None and log.sealed < found.size <= log.size else None


def last(db: Connection, log: Log) -> Checkpoint | None:
    """The last checkpoint that a log has signed and the entries here give the root of."""
    return ahead(db, log) or tables.checkpoint_at(db, log.number, log.sealed)
