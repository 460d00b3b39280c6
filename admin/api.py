"""The admin API: HTTP with JSON on the admin address, for the command line and for programs.

    GET    /health                      no token needed: {"status": "ok"}
    GET    /status                      what the datacenter is and holds
    GET    /users                       POST /users {"email"}
    DELETE /users/{email}               {email}: or the canonical id
    GET    /users/{email}/keys          POST the same: a further key
    DELETE /users/{email}/keys/{key}
    POST   /tokens {"lifetime_seconds"} a pairing token
    GET    /datacenters                 POST the same {"token", "timeout_seconds", "offline"}: pair
    DELETE /datacenters/{name}          PUT /datacenters/{name}/endpoints {"endpoints"}
    /datacenters/{name}/link, /limit, /pause, /resume: admin/links.py, admin/limits.py
    GET    /replication                 how far each peer is
    /buckets                            admin/buckets.py
    /disks, /nodes                      admin/fleet_api.py
    /conflicts                          admin/conflicts.py
    /events                             admin/events.py
    /objects, /tiers                    admin/objects.py
    GET    /failover                    admin/failover_api.py
    POST   /replication/export, /replication/import: admin/files_api.py
    POST   /replication/verify, /datacenters/preview: admin/comparisons.py

Who may: the bearer of the token in DIR/admin.token, for every path but /health, whether it exists
or not. Without it the answer is always the same 401. A request whose Host is a domain name other
than localhost or the configured one is refused, so that a web page cannot reach the API by making
its own name point here. Unknown fields in a request are refused. An error is
{"error": code, "message": one line}; what is unforeseen is logged and answered without detail.
"""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Protocol

import msgspec
import structlog
from aiohttp import web
from msgspec import Meta

from admin.conflicts import twins
from admin.errors import AdminError
from admin.reply import answer, body, utc
from dc.accounts import Accounts, InvalidEmail, NewKey, SeveralUsers
from dc.events.publisher import EventsRefused
from dc.names import api as names_api
from dc.names.model import Peer
from dc.objects.api import OutOfSpace
from dc.rate_text import InvalidRate
from dc.stamps import stamp_ms
from notary.errors import NotaryRefused
from replicator.errors import PairingError
from replicator.limits import PAIRING_WAIT_SECONDS
from replicator.pairing import IssuedToken, PairingReport
from replicator.status import ReplicationStatus
from tokens.errors import PlaceInvalid, TokensError
from tokens.limits import ENDPOINTS_MAX

log = structlog.get_logger("admin")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BODY_BYTES_MAX = 64 * 1024
PUBLIC_PATH = "/health"
_UNAUTHORIZED = {"error": "unauthorized", "message": "the admin token is missing or wrong"}

ERRORS: list[tuple[type[Exception], int, str]] = [
    (InvalidEmail, 400, "invalid_email"),
    (SeveralUsers, 409, "several_users"),
    (PlaceInvalid, 400, "invalid_endpoint"),
    (TokensError, 400, "token_refused"),
    (PairingError, 409, "pairing_refused"),
    (InvalidRate, 400, "invalid_rate"),
    (names_api.UserExists, 409, "user_exists"),
    (names_api.NoSuchUser, 404, "no_such_user"),
    (names_api.NoSuchKey, 404, "no_such_key"),
    (names_api.NoSuchVersion, 404, "no_such_version"),
    (names_api.TooManyKeys, 409, "too_many_keys"),
    (names_api.NoSuchBucket, 404, "no_such_bucket"),
    (names_api.NoSuchConflict, 404, "no_such_conflict"),
    (names_api.NoSuchPeer, 404, "no_such_datacenter"),
    (names_api.PeerExists, 409, "datacenter_exists"),
    (names_api.TokenUsed, 409, "token_used"),
    (names_api.NamesClosed, 503, "unavailable"),
    (names_api.NamesFull, 507, "disk_full"),
    (OutOfSpace, 507, "disk_full"),
    (EventsRefused, 409, "events_refused"),
    (NotaryRefused, 409, "notary_refused"),
    (AdminError, 409, "refused"),
]


class AddUser(msgspec.Struct, forbid_unknown_fields=True):
    email: str


class IssueToken(msgspec.Struct, forbid_unknown_fields=True):
    lifetime_seconds: Annotated[int, Meta(ge=1, le=7 * 86_400)] = 3_600


class AddDatacenter(msgspec.Struct, forbid_unknown_fields=True):
    token: Annotated[str, Meta(max_length=16_384)]
    timeout_seconds: Annotated[float, Meta(ge=0, le=3_600)] = PAIRING_WAIT_SECONDS
    offline: bool = False


class MoveDatacenter(msgspec.Struct, forbid_unknown_fields=True):
    endpoints: Annotated[list[str], Meta(max_length=ENDPOINTS_MAX)]


class Replication(Protocol):
    """What the API asks of the replicator."""

    def issue_token(self, lifetime_seconds: int) -> IssuedToken: ...

    async def join(self, token: str, timeout_seconds: float) -> PairingReport: ...

    async def join_offline(self, token: str) -> Peer: ...

    async def remove_peer(self, dc_id: str) -> None: ...

    async def move_peer(self, dc_id: str, endpoints: Sequence[str]) -> Peer: ...

    async def silent_at(self, peer: Peer) -> list[str]: ...

    async def counted_status(self) -> ReplicationStatus: ...


class AdminApi:
    """The API of one datacenter."""

    def __init__(
        self,
        token: str,
        hosts: frozenset[str],
        accounts: Accounts,
        replicator: Replication,
        peers: Callable[[], list[Peer]],
        status: Callable[[], Awaitable[dict[str, Any]]],
        more: Sequence[web.RouteDef] = (),
    ) -> None:
        """`more`: routes of other files of this API."""
        assert len(token) >= 32
        self._token = token.encode()
        self._hosts = hosts | {"localhost"}
        self._accounts = accounts
        self._replicator = replicator
        self._peers = peers
        self._status = status
        self._more = more

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_BYTES_MAX)
        app.add_routes(
            [
                web.get(PUBLIC_PATH, self._health),
                web.get("/status", self._get_status),
                web.get("/users", self._list_users),
                web.post("/users", self._add_user),
                web.delete("/users/{email}", self._delete_user),
                web.get("/users/{email}/keys", self._list_keys),
                web.post("/users/{email}/keys", self._add_key),
                web.delete("/users/{email}/keys/{key}", self._revoke_key),
                web.post("/tokens", self._issue_token),
                web.get("/datacenters", self._list_datacenters),
                web.post("/datacenters", self._add_datacenter),
                web.delete("/datacenters/{name}", self._remove_datacenter),
                web.put("/datacenters/{name}/endpoints", self._move_datacenter),
                web.get("/replication", self._replication),
            ]
        )
        app.add_routes(self._more)
        return app

    # -- who may, and what an error looks like ------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if not self._host_is_ours(request):
                return answer({"error": "bad_host", "message": "not known by this name"}, 421)
            if request.path != PUBLIC_PATH and not self._authorized(request):
                return answer(_UNAUTHORIZED, 401, {"WWW-Authenticate": "Bearer"})
            return await handler(request)
        except web.HTTPException as error:
            code = (error.reason or "error").lower().replace(" ", "_")
            return answer({"error": code, "message": str(error.reason)}, error.status)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return answer({"error": "invalid_request", "message": str(error)}, 400)
        except Exception as error:
            for kind, status, code in ERRORS:
                if isinstance(error, kind):
                    return answer({"error": code, "message": str(error)}, status)
            log.error("admin request failed", path=request.path, exc_info=True)
            text = "the datacenter failed to do this; its log says why"
            return answer({"error": "internal", "message": text}, 500)

    def _authorized(self, request: web.Request) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)
        return right and scheme.lower() == "bearer"

    def _host_is_ours(self, request: web.Request) -> bool:
        host = request.headers.get("Host", "")
        host = host[1:].partition("]")[0] if host[:1] == "[" else host.partition(":")[0]
        if host.lower() in self._hosts:
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    # -- the datacenter -----------------------------------------------------------------------

    async def _health(self, _: web.Request) -> web.Response:
        return answer({"status": "ok"})

    async def _get_status(self, _: web.Request) -> web.Response:
        return answer(await self._status())

    # -- users --------------------------------------------------------------------------------

    async def _list_users(self, _: web.Request) -> web.Response:
        known = self._accounts.users()
        shared = {user.id for user in twins(known)}
        users = [
            {
                "email": user.email,
                "canonical_id": user.id,
                "access_keys": [key.key_id for key in self._accounts.keys_of(user.id)],
                "created": utc(stamp_ms(user.stamp) // 1000),
                "shared_email": user.id in shared,
            }
            for user in known
        ]
        return answer({"users": users})

    async def _add_user(self, request: web.Request) -> web.Response:
        wanted = await body(request, AddUser)
        return answer(_new_key(await self._accounts.add_user(wanted.email)), 201)

    async def _delete_user(self, request: web.Request) -> web.Response:
        deleted = await self._accounts.delete_user(request.match_info["email"])
        return answer({"email": deleted.email, "canonical_id": deleted.id})

    async def _list_keys(self, request: web.Request) -> web.Response:
        user = self._accounts.user(request.match_info["email"])
        keys = [
            {"access_key": key.key_id, "created": utc(stamp_ms(key.stamp) // 1000)}
            for key in self._accounts.keys_of(user.id)
        ]
        return answer({"email": user.email, "canonical_id": user.id, "keys": keys})

    async def _add_key(self, request: web.Request) -> web.Response:
        return answer(_new_key(await self._accounts.add_key(request.match_info["email"])), 201)

    async def _revoke_key(self, request: web.Request) -> web.Response:
        email, key = request.match_info["email"], request.match_info["key"]
        await self._accounts.revoke_key(email, key)
        return answer({"email": email, "access_key": key})

    # -- other datacenters --------------------------------------------------------------------

    async def _issue_token(self, request: web.Request) -> web.Response:
        wanted = await body(request, IssueToken)
        issued = self._replicator.issue_token(wanted.lifetime_seconds)
        return answer({"token": issued.token, "expires": utc(issued.expires_at)}, 201)

    async def _list_datacenters(self, _: web.Request) -> web.Response:
        return answer({"datacenters": [_shown(peer) for peer in self._peers()]})

    async def _add_datacenter(self, request: web.Request) -> web.Response:
        wanted = await body(request, AddDatacenter)
        if wanted.offline:
            return answer(_shown(await self._replicator.join_offline(wanted.token)), 201)
        report = await self._replicator.join(wanted.token, wanted.timeout_seconds)
        facts = {
            "code": report.short_code,
            "steps": report.steps,
            "went": report.went,
            "came": report.came,
            "missing": report.missing,
            "complete": report.complete,
        }
        return answer(_shown(report.peer) | facts, 201)

    async def _remove_datacenter(self, request: web.Request) -> web.Response:
        peer = self._named(request)
        await self._replicator.remove_peer(peer.dc_id)
        return answer(_shown(peer))

    async def _move_datacenter(self, request: web.Request) -> web.Response:
        peer, wanted = self._named(request), await body(request, MoveDatacenter)
        moved = await self._replicator.move_peer(peer.dc_id, wanted.endpoints)
        return answer(_shown(moved) | {"silent": await self._replicator.silent_at(moved)})

    def _named(self, request: web.Request) -> Peer:
        name = request.match_info["name"]
        for peer in self._peers():
            if name in (peer.name, peer.dc_id):
                return peer
        raise names_api.NoSuchPeer(f"{name[:80]!r} is not paired with this datacenter")

    async def _replication(self, _: web.Request) -> web.Response:
        return answer(await self._replicator.counted_status())


def _new_key(made: NewKey) -> dict[str, str]:
    return {
        "email": made.user.email,
        "canonical_id": made.user.id,
        "access_key": made.key_id,
        "secret_key": made.secret,
    }


def _shown(peer: Peer) -> dict[str, Any]:
    return {
        "name": peer.name,
        "region": peer.region,
        "dc_id": peer.dc_id,
        "endpoints": peer.endpoints,
        "fingerprint": peer.fingerprint,
        "link": "doorbell" if peer.poll_seconds else "stream",
        "poll_seconds": peer.poll_seconds,
        "paired": utc(stamp_ms(peer.paired) // 1000) if peer.paired else None,
        "code": peer.code,
        "by_files": peer.by_files,
    }
