"""The mark of a disk: a file that says which datacenter a folder is a disk of.

Without it nothing is written there: where a disk is not mounted there is no mark.
"""

MARK = "farshore-disk"


def mark_of(dc_id: str) -> bytes:
    """What stands in the marks of a datacenter's disks."""
    return f"a disk of the Farshore datacenter {dc_id}\n".encode()
