"""Everything that can go wrong with identities, tokens and sealed secrets, as one small tree.

    TokensError
        TokenError              a token was not accepted
            TokenMalformed      it is not a token of this format
            TokenAltered        it is one, but what it says is not what its key signed
            TokenExpired        it was good once
            TokenNotYetValid    it comes from the future: a clock is wrong
            TokenMisused        it is genuine, and meant for something or somebody else
            AccessDenied        the answer to a caller: always the same words
        PlaceInvalid            a name, region, endpoint or fingerprint that cannot be used
        IdentityError           an identity file or key that cannot be used
        PrivateFileError        a private file that others can read, or that is no file
        CertificateError        text that is not one PEM certificate
        SecretError             a secret that cannot be encrypted, sealed, or opened again

Messages say what is wrong, with which value, and what to do. No message holds a secret or
repeats a token.
"""


class TokensError(Exception):
    """The root of the tree."""


class TokenError(TokensError):
    """A token was not accepted."""


class TokenMalformed(TokenError):
    """Not a token of this format: cut short, mangled by copying, or something else entirely."""


class TokenAltered(TokenError):
    """The signature does not cover what the token says, or was made with another key."""


class TokenExpired(TokenError):
    """The token's time is over."""


class TokenNotYetValid(TokenError):
    """The token was issued in this machine's future."""


class TokenMisused(TokenError):
    """A genuine token of another purpose, for another DC, or for another exchange."""


class AccessDenied(TokenError):
    """The caller is not let in. The text never varies; `reason` is for our own log only."""

    def __init__(self, reason: str) -> None:
        super().__init__("access denied")
        self.reason = reason


class PlaceInvalid(TokensError):
    """A name, region, endpoint or certificate fingerprint that cannot be used."""


class IdentityError(TokensError):
    """An identity file or an identity key that cannot be used."""


class PrivateFileError(TokensError):
    """A file with a secret in it is readable by others, or is not a regular file."""


class CertificateError(TokensError):
    """The text is not exactly one PEM certificate."""


class SecretError(TokensError):
    """A secret could not be encrypted or sealed, or could not be opened again."""
