"""Who sent a request, whichever way it is signed: the one entrance to all of them.

It is called once for each request, before anything is looked up. The forms that browsers post carry
their signature in the body (`gateway.post`); until that was read they are anonymous.
"""

from __future__ import annotations

from gateway import sigv2, sigv4
from gateway.context import Config
from gateway.sigv4 import AuthResult, Lookup, SignedRequest


def authenticate(request: SignedRequest, lookup: Lookup, now: float, config: Config) -> AuthResult:
    """Who sent `request`, ANONYMOUS when it carries no authentication at all. Raises `S3Error`."""
    if sigv2.is_version_2(request):
        return sigv2.authenticate_v2(request, lookup, now, config)
    return sigv4.authenticate(request, lookup, now, config.region, config.region_aliases)
