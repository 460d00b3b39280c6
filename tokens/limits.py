"""Every bound of this package, in one place, each with its reason."""

from typing import Final

# The longest pairing token there can be has 3,552 characters; nothing longer than this is parsed.
TOKEN_CHARACTERS_MAX: Final = 8 * 1024

# How far the clocks of two DCs may differ. Both ends of every token's life get this much.
CLOCK_SKEW_SECONDS: Final = 60

# The last second of the year 9999: what a datetime can still print.
EPOCH_SECONDS_MAX: Final = 253_402_300_799

# Long enough to walk over to the other operator, short enough to be forgotten in a chat log.
PAIRING_LIFETIME_SECONDS_DEFAULT: Final = 3_600
PAIRING_LIFETIME_SECONDS_MAX: Final = 7 * 86_400

# A pair request or answer is sent at once; this leaves room for retries.
EXCHANGE_LIFETIME_SECONDS: Final = 600

# An access token is bearer proof inside the TLS channel: it lives for minutes.
ACCESS_LIFETIME_SECONDS_MAX: Final = 300

# Callers renew a token every few minutes, so a handful per peer are alive at any time.
ACCESS_CACHE_ENTRIES_MAX: Final = 1_024

# Addresses to try in turn; more would only lengthen a failing connect.
ENDPOINTS_MAX: Final = 8

# One DNS label, so that a name can be used wherever a host name can.
NAME_CHARACTERS_MAX: Final = 63

# RFC 1035, 2.3.4.
HOST_CHARACTERS_MAX: Final = 253

# An identity file has about 260 bytes.
IDENTITY_FILE_BYTES_MAX: Final = 4 * 1024

# Secret keys and small configuration values, never bodies.
SECRET_BYTES_MAX: Final = 64 * 1024

# "user/access key" and the like.
CONTEXT_BYTES_MAX: Final = 4 * 1024
