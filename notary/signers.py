"""Signers: the witnesses of a log, as its own DC names them.

Of each peer that has cosigned its log a DC signs the key. That travels with the log, so a mirror
knows whose cosignatures belong to it, also of DCs that it has never heard of, and no relay can make
one up: a cosignature more would put a checkpoint before others, and lists have an end.

A signer is the 32 bytes of a witness's key and the 64 of the log's signature.
"""

from collections.abc import Iterable

from notary.note import (
    KEY_BYTES,
    SIGNATURE_BYTES,
    Checkpoint,
    Key,
    origin_of,
    signed_text,
    verifies_text,
    witness_key,
)
from tokens.identity import Identity, dc_id_of

SIGNER_BYTES = KEY_BYTES + SIGNATURE_BYTES


def signer(identity: Identity, public: bytes) -> bytes:
    """That the DC with this signing key is a witness of this DC's log."""
    return public + signed_text(identity, _text(identity.public.signing_key, public))


def is_signer(log: bytes, one: bytes) -> bool:
    """Whether that was said by the log with this key, and not of itself."""
    public = public_of(one)
    is_other = len(one) == SIGNER_BYTES and public != log
    return is_other and verifies_text(log, _text(log, public), one[KEY_BYTES:])


def public_of(one: bytes) -> bytes:
    """The signing key."""
    return one[:KEY_BYTES]


def key_of(one: bytes) -> Key:
    """What its cosignatures are verified with."""
    return witness_key(public_of(one))


def of_checkpoint(checkpoint: Checkpoint, some: Iterable[bytes]) -> list[bytes]:
    """Those that have cosigned it, as it says."""
    return [one for one in some if checkpoint.by(key_of(one))]


def _text(log: bytes, public: bytes) -> str:
    return f"farshore notary witness\n{origin_of(dc_id_of(log))}\n{public.hex()}\n"
