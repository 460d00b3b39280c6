"""What events are of; each kind is a level of their topics."""

from typing import Literal, get_args

EventKind = Literal[
    "object", "marker", "deletion", "conflict", "bucket", "user", "key", "datacenter"
]
KINDS: tuple[EventKind, ...] = get_args(EventKind)
