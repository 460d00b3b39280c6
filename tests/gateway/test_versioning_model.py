"""Any history of writes, deletions and switches of versioning, against S3's rules in a dict."""

import asyncio
from pathlib import Path
from typing import Any

from gateway_kit import House, open_house
from hypothesis import given, settings
from hypothesis import strategies as st

KEYS = ("a", "b/c")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("state"), st.sampled_from(["Enabled", "Suspended"])),
        st.tuples(st.sampled_from(["put", "copy", "delete"]), st.sampled_from(KEYS)),
        st.tuples(
            st.sampled_from(["delete version", "delete versions"]), st.sampled_from(KEYS),
            st.integers(0, 5),
        ),
        st.tuples(st.sampled_from(["put if none", "put if any"]), st.sampled_from(KEYS)),
    ),
    max_size=14,
)  # fmt: skip


class Model:
    """What S3 would have: of each key (version id, body, None for a delete marker), oldest first.
    Null versions are those of the id `null`."""

    def __init__(self) -> None:
        self.state = ""
        self.there: dict[str, list[tuple[str, bytes | None]]] = {key: [] for key in KEYS}

    def write(self, key: str, version_id: str, body: bytes | None) -> None:
        self.drop(key, version_id)
        self.there[key].append((version_id, body))

    def drop(self, key: str, version_id: str) -> None:
        self.there[key] = [one for one in self.there[key] if one[0] != version_id]

    def current(self, key: str) -> bytes | None:
        return self.there[key][-1][1] if self.there[key] else None


class Run:
    """The model beside the gateway."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.model = Model()
        self.count = 0

    async def step(self, what: str, *about: Any) -> None:
        if what == "state":
            self.model.state = about[0]
            bucket = self.house.names.directory.bucket("photos")
            assert bucket is not None
            await self.house.names.set_bucket_registers(bucket.id, {"versioning": about[0]})
        elif what in ("delete version", "delete versions"):
            await self.delete_version(*about, many=what == "delete versions")
        elif what == "delete":
            await self.delete(about[0])
        else:
            await self.put(about[0], what)
        await self.check()

    async def put(self, key: str, what: str) -> None:
        self.count += 1
        body, headers = b"body %d" % self.count, {}
        there = self.model.current(key) is not None
        if what == "copy":
            headers, body = {"x-amz-copy-source": "other/source"}, b"source"
        elif what == "put if none":
            headers = {"If-None-Match": "*"}
        elif what == "put if any":
            headers = {"If-Match": "*"}
        sent = b"" if what == "copy" else body
        answer = await self.house.ask("PUT", f"/photos/{key}", sent, headers)
        if what == "put if none" and there:
            assert answer.code == "PreconditionFailed"
        elif what == "put if any" and not there:
            assert answer.code == "NoSuchKey"
        else:
            assert answer.status == 200
            self.model.write(key, self.id_of(answer.headers), body)

    def id_of(self, headers: dict[str, str]) -> str:
        told = headers.get("x-amz-version-id")
        assert (told is not None) == (self.model.state == "Enabled")
        return told or "null"

    async def delete(self, key: str) -> None:
        headers = (await self.house.ask("DELETE", f"/photos/{key}")).headers
        if not self.model.state:
            assert "x-amz-delete-marker" not in headers
            self.model.drop(key, "null")
            return
        assert headers["x-amz-delete-marker"] == "true"
        version_id = headers["x-amz-version-id"]
        assert (version_id == "null") == (self.model.state == "Suspended")
        self.model.write(key, version_id, None)

    async def delete_version(self, key: str, index: int, *, many: bool) -> None:
        there = self.model.there[key]
        if not there:
            return
        version_id, body = there[index % len(there)]
        if many:
            client = self.house.boto()
            named = {"Objects": [{"Key": key, "VersionId": version_id}]}
            answer = await asyncio.to_thread(client.delete_objects, Bucket="photos", Delete=named)
            assert answer["Deleted"][0].get("DeleteMarker", False) == (body is None)
        else:
            target = f"/photos/{key}?versionId={version_id}"
            headers = (await self.house.ask("DELETE", target)).headers
            assert headers["x-amz-version-id"] == version_id
            assert ("x-amz-delete-marker" in headers) == (body is None)
        self.model.drop(key, version_id)

    async def check(self) -> None:
        """Everything that can be asked is as the model has it."""
        for key, there in self.model.there.items():
            answer = await self.house.ask("GET", f"/photos/{key}")
            body = self.model.current(key)
            assert (answer.status == 200) == (body is not None)
            if body is not None:
                assert answer.body == body
            marker = bool(there) and body is None
            assert (answer.headers.get("x-amz-delete-marker") == "true") == marker
        listed = await self.house.ask("GET", "/photos?versions")
        expected = [(key, one[0]) for key in KEYS for one in reversed(self.model.there[key])]
        assert [*zip(listed.texts("Key"), listed.texts("VersionId"), strict=True)] == expected
        latest = [at == 0 for key in KEYS for at in range(len(self.model.there[key]))]
        assert listed.texts("IsLatest") == ["true" if one else "false" for one in latest]
        assert await self.house.keys() == [
            key for key in KEYS if self.model.current(key) is not None
        ]

    async def check_versions(self) -> None:
        for key, there in self.model.there.items():
            for version_id, body in there:
                answer = await self.house.ask("GET", f"/photos/{key}?versionId={version_id}")
                assert answer.status == (405 if body is None else 200)
                assert body is None or answer.body == body


@given(steps=STEPS)
@settings(max_examples=20, deadline=None)
def test_any_history_is_as_s3_has_it(tmp_path_factory: Any, steps: list[Any]) -> None:
    async def go(path: Path) -> None:
        async with open_house(path) as house:
            await house.bucket()
            await house.bucket("other")
            await house.ask("PUT", "/other/source", b"source")
            run = Run(house)
            for step in steps:
                await run.step(*step)
            await run.check_versions()

    asyncio.run(go(tmp_path_factory.mktemp("model")))
