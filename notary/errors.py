"""What can be wrong. Each text says what, which value, and what to do."""


class NotaryError(Exception):
    """Base of all of them."""


class NoteInvalid(NotaryError):
    """A signed note, a checkpoint or a key that is none."""


class ProofInvalid(NotaryError):
    """A proof that does not prove it."""


class Forked(NotaryError):
    """A log's entries are not those of a checkpoint, `note`, that it has signed. `known`: what it
    has signed too, if that contradicts it whatever the entries are; else ""."""

    def __init__(self, origin: str, note: str, known: str = "") -> None:
        super().__init__(f"the entries of {origin} are not those of a checkpoint that it signed")
        self.note = note
        self.known = known


class NotaryRefused(NotaryError):
    """What was asked cannot be done."""


class CertificateRefused(NotaryError):
    """A certificate does not show what it is to show. `reason` is a word for programs."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class HookFailed(NotaryError):
    """What a hook asked of somebody was not done; it is to be asked again later. `retry_seconds`:
    how long they want to be left alone; 0 when they did not say."""

    def __init__(self, text: str, retry_seconds: float = 0.0) -> None:
        super().__init__(text)
        self.retry_seconds = retry_seconds
