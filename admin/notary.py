"""The notary in the admin API.

GET    /notary                      entries, checkpoints, witnesses, mirrors, alarms, hooks
GET    /notary/keys                 the public keys that certificates are verified with
GET    /notary/buckets              the buckets that are notarized, or were
PUT    /notary/buckets/{name}       {"on": true or false}
GET    /notary/certificate          ?bucket=NAME&key=KEY[&version=ID]: the certificate
DELETE /notary/alarms/{id}          it was looked into
POST   /notary/accept-loss          {"name": this datacenter's}: go on without what is lost
GET    /notary/service              which notary service is told; never its key
PUT    /notary/service              {"dns": ..., "key": ..., "port": 443, "ca": ""}
DELETE /notary/service              tell none
"""

from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from admin.reply import answer, body
from dc.names.api import Names, NoSuchBucket, NoSuchKey, NoSuchVersion
from dc.names.model import Bucket, Kind, Version
from dc.notary import NOTARY, OFF, ON, is_notarized, notarizes
from dc.ports import Disk
from notary.errors import NotaryRefused
from notary.hooks import Settings
from notary.plugins import service, service_file
from notary.service import Notary

NULL = "null"


class PutBucket(msgspec.Struct, forbid_unknown_fields=True):
    on: bool


class PostAcceptLoss(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class NotaryApi:
    """Of one datacenter. `url`: where its log is served, "" when it is not; `settings`: what
    plug-ins are made with."""

    def __init__(
        self, notary: Notary, names: Names, disk: Disk, settings: Settings, url: str
    ) -> None:
        self._notary = notary
        self._disk = disk
        self._settings = settings
        self._names = names
        self._url = url

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/notary", self._status),
            web.get("/notary/keys", self._keys),
            web.get("/notary/buckets", self._buckets),
            web.put("/notary/buckets/{name}", self._put_bucket),
            web.get("/notary/certificate", self._certificate),
            web.delete("/notary/alarms/{id:[0-9]{1,12}}", self._forget_alarm),
            web.post("/notary/accept-loss", self._accept_loss),
            web.get("/notary/service", self._service),
            web.put("/notary/service", self._put_service),
            web.delete("/notary/service", self._delete_service),
        ]

    async def _status(self, _: web.Request) -> web.Response:
        status = await self._notary.status()
        return answer({**status, "url": self._url, "buckets": self._shown()})

    async def _keys(self, _: web.Request) -> web.Response:
        known = await self._notary.public_keys()
        keys = [{"key": str(key), "name": name} for key, name in known]
        return answer({"keys": keys})

    async def _buckets(self, _: web.Request) -> web.Response:
        return answer({"buckets": self._shown()})

    def _shown(self) -> list[dict[str, Any]]:
        directory = self._names.directory
        found = [
            {"name": name, "notarized": notarizes(bucket)}
            for bucket in directory.all_buckets()
            if bucket.live and NOTARY in bucket.registers
            if (name := directory.shown_name(bucket.id))
        ]
        return sorted(found, key=lambda one: str(one["name"]))

    async def _put_bucket(self, request: web.Request) -> web.Response:
        wanted = (await body(request, PutBucket)).on
        name = request.match_info["name"]
        bucket = self._bucket(name)
        if wanted != notarizes(bucket):
            await self._names.set_bucket_registers(bucket.id, {NOTARY: ON if wanted else OFF})
        return answer({"name": name, "notarized": wanted})

    def _bucket(self, name: str) -> Bucket:
        bucket = self._names.directory.bucket(name)
        if bucket is None:
            raise NoSuchBucket(f"there is no bucket {name!r}")
        return bucket

    async def _certificate(self, request: web.Request) -> web.Response:
        query = request.query
        bucket, key = self._bucket(query.get("bucket", "")), query.get("key", "")
        version = await self._version(bucket, key, query.get("version"))
        if not is_notarized(version.registers):
            raise NotaryRefused(
                f"{key!r} is not notarized: it was written before `farshore notary enable"
                f" {query['bucket']}`, or while that was off"
            )
        found = await self._notary.certificate(version.stamp)
        if found is None:
            raise NotaryRefused(
                f"{key!r} is not under a published checkpoint yet: try again in a few seconds,"
                " `farshore notary status` tells how far the notary is"
            )
        return answer({"certificate": found.decode()})

    async def _version(self, bucket: Bucket, key: str, version_id: str | None) -> Version:
        names = self._names
        if version_id is None:
            found = await names.current(bucket.id, key)
        else:
            vid = "" if version_id == NULL else version_id
            found = await names.version(bucket.id, key, vid)
        if found is not None and found.kind is Kind.OBJECT:
            return found
        if version_id is not None:
            raise NoSuchVersion(f"there is no version {version_id!r} of {key!r}")
        deleted = ": it was deleted, its versions can be named with ?versionId=ID"
        raise NoSuchKey(f"there is no object {key!r}{deleted if found is not None else ''}")

    async def _forget_alarm(self, request: web.Request) -> web.Response:
        await self._notary.forget_alarm(int(request.match_info["id"]))
        return await self._status(request)

    async def _accept_loss(self, request: web.Request) -> web.Response:
        wanted = (await body(request, PostAcceptLoss)).name
        if wanted != self._notary.name:
            raise NotaryRefused(f"this datacenter is {self._notary.name!r}, not {wanted!r}")
        await self._notary.accept_loss()
        return await self._status(request)

    async def _service(self, _: web.Request) -> web.Response:
        folder = self._settings.folder
        found = await self._disk.run(lambda: service_file.read(folder))
        if found is None:
            return answer({"dns": "", "port": 0, "ca": ""})
        return answer({"dns": found.dns, "port": found.port, "ca": found.ca})

    async def _put_service(self, request: web.Request) -> web.Response:
        wanted, folder = await body(request, service_file.Service), self._settings.folder
        await self._disk.run(lambda: service_file.check_all(folder, wanted))
        if await self._disk.run(lambda: _dns_in(folder)) != wanted.dns:
            # What was written before it was set is none of its business.
            await self._notary.forget_hook(service.NAME)
        try:
            await self._disk.run(lambda: service_file.write(self._disk, folder, wanted))
        finally:
            await self._set_service()
        return await self._service(request)

    async def _delete_service(self, request: web.Request) -> web.Response:
        folder = self._settings.folder
        await self._disk.run(lambda: service_file.remove(self._disk, folder))
        await self._set_service()
        return await self._service(request)

    async def _set_service(self) -> None:
        await self._notary.set_hook(service.NAME, service.make(self._settings))


def _dns_in(folder: Path) -> str:
    """Of the service that is set; "" when there is none, or none that can be read."""
    try:
        found = service_file.read(folder)
    except NotaryRefused:
        return ""
    return "" if found is None else found.dns
