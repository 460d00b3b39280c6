"""Who may be a node, and which disks may go: the rules, without processes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from admin import fleet
from admin.errors import AdminError
from admin.fleet import Fleet
from admin.fleet_state import read_state
from admin.gateways import GatewayAt
from admin.layout import Layout
from admin.leaving import without
from admin.os_node import _check_disks
from dc.config import Config, Objects
from dc.objects.coded_disks import CodedDisks
from dc.objects.format import file_name
from dc.objects.marks import MARK, mark_of
from dc.objects.redundancy import parse_mode
from dc.objects.tiers import Tier
from dc.system import SideBySide, SystemClock, SystemDisk, SystemRandomness
from replicator import messages
from tokens import joining
from tokens.errors import TokenExpired, TokenMisused
from tokens.hello import NONCE_BYTES, check_answer
from tokens.identity import Identity
from tokens.place import Place

MODE = parse_mode("1+1")


def identity() -> Identity:
    return Identity.generate(SystemRandomness().token)


@dataclass
class World:
    root: Path
    paris: Identity
    fleet: Fleet
    disks: CodedDisks
    sealed: list[int]

    async def join(self, token: str, node: Identity, name: str, **more: object) -> str:
        """What is answered: the problem, or ""."""
        now = SystemClock().wall_ms() // 1000
        wanted = {"endpoint": "127.0.0.1:7", "host": name, "disks": ["/mnt/a"], "again": [], **more}
        mark = str(more.get("fingerprint", "0" * 64))
        place = Place(name, "eu", (str(wanted["endpoint"]),), mark)
        request = joining.issue_request(
            node,
            place,
            joining.read(token, now),
            host=str(wanted["host"]),
            disks=list(wanted["disks"]),  # type: ignore[call-overload]
            again=list(wanted["again"]),  # type: ignore[call-overload]
            now=now,
        )
        body = messages.encode_body(messages.PairCall(offer=token, request=request))
        reply = await self.fleet.accept(body)
        assert reply is not None
        return reply.problem or ""

    def names(self) -> list[str]:
        return [one["name"] for one in self.fleet.shown_nodes()]


Make = Callable[[], Awaitable[World]]


@pytest.fixture
async def world(tmp_path: Path) -> World:
    root = tmp_path / "paris"
    paths = [tmp_path / f"disk{number}" for number in range(3)]
    paris = identity()
    for path in (root, *paths):
        path.mkdir()
        (path / MARK).write_bytes(mark_of(paris.dc_id))
    config = Config(
        name="paris", region="eu", objects=Objects(redundancy="1+1", disks=tuple(map(str, paths)))
    )
    disk, clock = SystemDisk(), SystemClock()
    fleet = Fleet(
        Layout(root), config, paris, clock=clock, disk=disk, randomness=SystemRandomness()
    )
    disks = CodedDisks(disk, fleet.places(), paris.dc_id, MODE, clock=clock, side=SideBySide())
    fleet.opened(disks)
    made = World(tmp_path, paris, fleet, disks, [])

    async def seal() -> None:
        made.sealed.append(1)

    fleet.seal = seal
    fleet.place = lambda: Place("paris", "eu", ("127.0.0.1:9",), "0" * 64)
    await disk.run(lambda: disks.make_dirs(root))
    return made


# -- joining --------------------------------------------------------------------------------------


async def test_who_asks_again_is_the_same_node(world: World) -> None:
    token, os1 = world.fleet.token(60)[0], identity()
    assert not await world.join(token, os1, "os1")
    assert not await world.join(token, os1, "os1", endpoint="127.0.0.1:8")
    assert world.names() == ["os1"]
    # The address counts that was said last, at once and after a start.
    assert world.fleet._nodes["os1"].address.endpoints == (("127.0.0.1", 8),)
    assert read_state(Layout(world.root / "paris")).nodes[0].endpoints == ["127.0.0.1:8"]


async def test_a_node_with_another_certificate_is_shown_who_asks(world: World) -> None:
    os1, mark, nonce = identity(), "1" * 64, bytes(NONCE_BYTES)
    assert not await world.join(world.fleet.token(60)[0], os1, "os1")
    assert not await world.join(world.fleet.token(60)[0], os1, "os1", fingerprint=mark)
    node = world.fleet._nodes["os1"]
    assert node.address.fingerprint == mark
    key = world.paris.public.signing_key
    check_answer(key, nonce, node.prove(nonce), os1.dc_id, mark)


@pytest.mark.parametrize(
    "more", [{"name": "os2"}, {"host": "rack"}, {"disks": ["/mnt/b"]}, {"disks": ["/a", "/mnt/a"]}]
)
async def test_a_node_that_joins_again_as_another_one_is_refused(
    world: World, more: dict[str, str]
) -> None:
    """Its disks are known by their numbers, and would be there twice, or under other names."""
    os1 = identity()
    assert not await world.join(world.fleet.token(60)[0], os1, "os1")
    wanted = {"name": "os1", "host": "os1", **more}
    problem = await world.join(world.fleet.token(60)[0], os1, **wanted)
    assert "it is the node os1 already (os), with host os1 and the disks /mnt/a" in problem
    assert world.names() == ["os1"] and len(world.disks.disks.places) == 4


async def test_a_node_gives_more_disks_behind_those_that_it_gave(world: World) -> None:
    os1, token = identity(), world.fleet.token(60)[0]
    assert not await world.join(world.fleet.token(60)[0], os1, "os1")
    more = ["/mnt/a", "/mnt/b", "/mnt/c"]
    for _ in range(2):
        assert not await world.join(token, os1, "os1", disks=more)
        assert world.fleet.labels_of("os1") == ["os1:/mnt/a", "os1:/mnt/b", "os1:/mnt/c"]
        assert len(world.disks.disks.places) == 6
    assert read_state(Layout(world.root / "paris")).nodes[0].disks == more
    # The same token is of no use for further ones.
    assert "used already" in await world.join(token, identity(), "os2")


async def test_a_disk_that_was_removed_comes_back_only_when_it_is_said_to_be_empty(
    world: World,
) -> None:
    os1, disks = identity(), ["/mnt/a", "/mnt/b"]
    assert not await world.join(world.fleet.token(60)[0], os1, "os1", disks=disks)
    await world.fleet.remove_disk("os1:/mnt/a", lost=True)
    assert not await world.join(world.fleet.token(60)[0], os1, "os1", disks=[*disks, "/mnt/c"])
    assert world.fleet.labels_of("os1") == ["os1:/mnt/b", "os1:/mnt/c"]
    asked = {"disks": [*disks, "/mnt/c"], "again": ["/mnt/a"]}
    assert not await world.join(world.fleet.token(60)[0], os1, "os1", **asked)
    assert world.fleet.labels_of("os1") == ["os1:/mnt/a", "os1:/mnt/b", "os1:/mnt/c"]
    assert read_state(Layout(world.root / "paris")).removed == []
    shown = [one["disk"] for one in world.fleet.shown_disks()]
    assert shown.count("os1:/mnt/a") == 1 and len(shown) == 6


async def test_a_token_is_no_way_back_after_a_release(world: World) -> None:
    token, os1 = world.fleet.token(60)[0], identity()
    assert not await world.join(token, os1, "os1")
    await world.fleet.forget_node("os1", lost=True)
    assert "used already" in await world.join(token, os1, "os1")
    assert world.names() == []
    assert not await world.join(world.fleet.token(60)[0], os1, "os1")


@pytest.mark.parametrize(
    ("disks", "host"),
    [
        ([], "h"),
        (["/a"] * 2, "h"),
        ([f"/{number}" for number in range(25)], "h"),
        (["/" + "x" * 128], "h"),
        (["/a\x1b[31m"], "h"),
        (["/a"], "h\n"),
        (["/a"], ""),
    ],
)
async def test_what_no_datacenter_takes_is_refused_at_both_ends(
    world: World, disks: list[str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, os1 = world.fleet.token(60)[0], identity()
    with pytest.raises(TokenMisused):
        await world.join(token, os1, "os1", disks=disks, host=host)
    real = joining._check
    monkeypatch.setattr(joining, "_check", lambda *_: None)
    now = SystemClock().wall_ms() // 1000
    request = joining.issue_request(
        os1,
        Place("os1", "eu", ("127.0.0.1:7",), "0" * 64),
        joining.read(token, now),
        host=host,
        disks=disks,
        now=now,
    )
    monkeypatch.setattr(joining, "_check", real)
    body = messages.encode_body(messages.PairCall(offer=token, request=request))
    assert await world.fleet.accept(body) is None
    assert world.names() == []


async def test_a_request_needs_a_token_of_this_datacenter_that_it_names(world: World) -> None:
    mine, other = world.fleet.token(60)[0], world.fleet.token(60)[0]
    now, os1 = SystemClock().wall_ms() // 1000, identity()
    place = Place("os1", "eu", ("127.0.0.1:7",), "0" * 64)
    tokyo = Place("tokyo", "eu", ("127.0.0.1:9",), "0" * 64)
    stolen = joining.issue(identity(), tokyo, now=now, jti=joining.read(mine, now).jti)
    offer = joining.read(mine, now)
    request = joining.issue_request(os1, place, offer, host="h", disks=["/a"], now=now)
    for token in (other, stolen, "", "v4.public.abc", request):
        body = messages.encode_body(messages.PairCall(offer=token, request=request))
        assert await world.fleet.accept(body) is None, token[:20]
    assert await world.fleet.accept(b"") is None
    assert world.names() == []


# -- disks ----------------------------------------------------------------------------------------


async def test_a_folder_is_no_second_disk_by_another_name(world: World) -> None:
    (world.root / "link").symlink_to(world.root / "disk0")
    with pytest.raises(AdminError, match="are the same folder"):
        await world.fleet.add_disk(world.root / "link")
    with pytest.raises(AdminError, match="one is in the other"):
        await world.fleet.add_disk(world.root / "link" / "inner")
    for two in ([world.root / "disk0", world.root / "link"], [world.root, world.root / "disk0"]):
        with pytest.raises(AdminError, match=r"same folder|in the other"):
            _check_disks(two, world.paris.dc_id, two)


async def test_a_slow_disk_is_shown(world: World) -> None:
    world.disks.disks.paces.of("standard", 1, "disk1").is_slow = True
    assert [one["state"] for one in world.fleet.shown_disks()] == ["ok", "slow", "ok"]


async def test_a_disk_that_may_be_written_to_is_not_removed(world: World) -> None:
    label = str(world.root / "disk0")
    with pytest.raises(AdminError, match="drain it first"):
        await world.fleet.remove_disk(label)
    await world.fleet.drain([label])
    assert world.sealed
    path = Layout(world.root / "paris").disks
    assert read_state(Layout(path.parent)).draining == [label]
    assert path.stat().st_mode & 0o777 == 0o600
    await world.fleet.remove_disk(label)
    state = read_state(Layout(path.parent))
    assert (state.draining, state.removed) == ([], [label])
    assert label not in world.disks.disks.labels(world.disks.disks.numbers())


def open_with(world: World, tier: Tier) -> None:
    """The disks of the world anew, each container on one of them, but for those of a tier."""
    world.disks = CodedDisks(
        SystemDisk(),
        world.fleet.places(),
        world.paris.dc_id,
        parse_mode("1+0"),
        clock=SystemClock(),
        side=SideBySide(),
        tiers=[tier],
    )
    world.disks.make_dirs(world.root)
    world.fleet.opened(world.disks)


async def test_each_tier_keeps_as_many_disks_as_it_takes(world: World) -> None:
    """And each container is looked at in its own mode."""
    labels = [str(world.root / f"disk{number}") for number in range(3)]
    archive = Tier("archive", parse_mode("1+1"), tuple(labels[1:]))
    open_with(world, archive)
    with pytest.raises(AdminError, match=r"1\+1 of the tier archive takes 2 disks, and 1 would"):
        await world.fleet.drain(labels[1:2])
    await world.fleet.drain(labels[:1])
    for container, tier in ((1 << 16, archive), (2 << 16, world.disks.tiers.standard)):
        world.disks.begin(Path(file_name(container)), tier).close()
    places = {one: set(world.disks.slots.places[one << 16].values()) for one in (1, 2)}
    assert places[1] == {1, 2} and len(places[2]) == 1 and 0 not in places[2]
    # One of two copies can be done without, the only one of another container cannot.
    (only,) = places[2]
    assert without(world.disks, {only}) == 1
    assert without(world.disks, {3 - only}) == 0
    with pytest.raises(AdminError, match="1 other disks 0 are there"):
        for number in (1, 2):
            world.disks.disks.absent.add(number)
        await world.fleet.remove_disk(labels[1], lost=True)


async def test_as_many_disks_are_left_as_it_takes(world: World) -> None:
    labels = [str(world.root / f"disk{number}") for number in range(3)]
    with pytest.raises(AdminError, match="takes 2 disks, and 1 would be left"):
        await world.fleet.drain(labels[:2])
    assert not world.disks.disks.draining
    await world.fleet.drain(labels[:1])
    with pytest.raises(AdminError, match="takes 2 disks, and 1 would be left"):
        await world.fleet.drain(labels[1:2])
    # After a start it goes on.
    world.disks.disks.draining.clear()
    world.fleet.opened(world.disks)
    assert world.disks.disks.draining == {0}
    await world.fleet.drain(labels[:1], undo=True)
    assert not world.disks.disks.draining
    assert read_state(Layout(world.root / "paris")).draining == []


async def test_as_many_hosts_are_left_as_the_loss_of_one_takes(world: World) -> None:
    """2+1 on three nodes of two disks each, besides the disks of the datacenter, which stay out."""
    for name in ("os1", "os2", "os3"):
        token = world.fleet.token(60)[0]
        assert not await world.join(token, identity(), name, disks=["/mnt/a", "/mnt/b"])
    archive = Tier("archive", parse_mode("2+1"), ("os*",))
    open_with(world, archive)
    world.disks.disks.absent.clear()
    with pytest.raises(AdminError) as caught:
        await world.fleet.drain(world.fleet.labels_of("os1"))
    assert str(caught.value).startswith(
        "2+1 of the tier archive would be on 2 hosts, 3 now: one of them would have 2 of the 3"
        " slots of a container, which can lose 1."
    )
    assert not world.disks.disks.draining
    # One disk of each can go, for the host stays; what is not worse than now is not refused.
    await world.fleet.drain(["os1:/mnt/a"])
    await world.fleet.drain(world.fleet.labels_of("os1"), fewer_hosts=True)
    await world.fleet.drain(world.fleet.labels_of("os1"))
    with pytest.raises(AdminError, match="takes 3 disks, and 2 would be left"):
        await world.fleet.drain(world.fleet.labels_of("os2"), fewer_hosts=True)
    await world.fleet.drain(["os2:/mnt/a"])


async def test_disks_of_the_datacenter_itself_are_hosts_of_their_own(world: World) -> None:
    """As ever: two of three are enough for 1+1, so that one can go."""
    await world.fleet.drain([str(world.root / "disk0")])
    assert world.disks.disks.draining == {0}


async def test_a_lost_disk_is_not_let_go_while_a_container_needs_it(world: World) -> None:
    """A slot that was not written to the end is no slot."""
    container = 1 << 16
    world.disks.create(Path(file_name(container))).close()
    places = [world.disks.slots.place_of(container, slot) for slot in range(2)]
    (world.root / "disk0" / MARK).unlink()
    (world.root / "disk1" / MARK).unlink()
    (world.root / "disk2" / MARK).unlink()
    for number in range(3):
        if number != places[1]:
            (world.root / f"disk{number}" / MARK).write_bytes(mark_of(world.paris.dc_id))
    world.disks.look()
    world.disks._slot_failed(container, 0, places[0] or 0, OSError(5, "failed"))
    with pytest.raises(AdminError, match="1 containers have too few fragments"):
        await world.fleet.remove_disk(str(world.root / f"disk{places[1]}"), lost=True)


async def test_nothing_is_let_go_while_nobody_knows_what_there_is(world: World) -> None:
    for number in range(3):
        (world.root / f"disk{number}" / MARK).unlink()
    world.disks.look()
    with pytest.raises(AdminError, match="of the 2 other disks 0 are there"):
        await world.fleet.remove_disk(str(world.root / "disk0"), lost=True)
    (world.root / "disk1" / MARK).write_bytes(mark_of(world.paris.dc_id))
    world.disks.look()
    await world.fleet.remove_disk(str(world.root / "disk0"), lost=True)


async def test_a_disk_of_no_tier_is_not_let_go_either(world: World) -> None:
    """What is on it was begun when it was of one."""
    for number in range(3):
        (world.root / f"disk{number}" / MARK).unlink()
    open_with(world, Tier("standard", parse_mode("1+0"), (str(world.root / "disk1"),)))
    with pytest.raises(AdminError, match="of the 2 other disks 0 are there"):
        await world.fleet.remove_disk(str(world.root / "disk0"), lost=True)


async def test_at_the_end_nothing_is_written_any_more(world: World) -> None:
    world.disks.create(Path(file_name(1 << 16))).close()
    await world.fleet.destroy()
    assert world.sealed
    assert not list(world.root.rglob("*.fss"))
    with pytest.raises(OSError, match="can be written"):
        world.disks.create(Path(file_name(2 << 16)))


# -- disks.json -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"version": 3, "more": 1}', "newer farshore"),
        ('{"version": 1, "more": 1}', "is damaged"),
        ('{"version": 1, "nodes"', "is damaged"),
        ("", "is damaged"),
        ("{}", "is damaged"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "disks.json").write_text(text)
    with pytest.raises(AdminError, match=words):
        read_state(Layout(tmp_path))


async def test_a_node_whose_disks_were_removed_one_by_one_can_go(world: World) -> None:
    assert not await world.join(world.fleet.token(60)[0], identity(), "os1")
    await world.fleet.remove_disk("os1:/mnt/a", lost=True)
    assert [one["state"] for one in world.fleet.shown_nodes()] == ["leaving"]
    absent = world.disks.disks.absent
    world.disks.disks.absent = {0, 1}
    # Of nothing: it need not be asked whether the others are enough.
    await world.fleet.drain(world.fleet.labels_of("os1"))
    world.disks.disks.absent = absent
    written: list[object] = []
    real = world.fleet._write

    async def write(state: object) -> None:
        written.append(state)
        await real(state)  # type: ignore[arg-type]

    world.fleet._write = write  # type: ignore[method-assign, assignment]
    await world.fleet.forget_node("os1")
    assert world.names() == [] and len(written) == 1
    state = read_state(Layout(world.root / "paris"))
    assert not state.nodes and not state.removed and not state.draining


# -- gateways -------------------------------------------------------------------------------------


async def ask(world: World, token: str, roles: list[str], disks: list[str], offer: str) -> str:
    """What is answered to a request that was made by hand: it asks for what it likes."""
    now, node = SystemClock().wall_ms() // 1000, identity()
    read = joining.read(token, now)
    request = joining.issue_request(
        node,
        Place("gw1", "eu", ("127.0.0.1:7",), "0" * 64),
        replace(read, roles=["os", "gateway"]),
        host="gw1",
        disks=disks,
        roles=roles,
        now=now,
    )
    body = messages.encode_body(messages.PairCall(offer=offer, request=request))
    reply = await world.fleet.accept(body)
    return "nothing" if reply is None else reply.problem or ""


@pytest.mark.parametrize(
    ("offered", "asked"),
    [(["os"], ["gateway"]), (["os"], ["os", "gateway"]), (["gateway"], ["os", "gateway"])],
)
async def test_a_node_is_no_more_than_its_token_says(
    world: World, offered: list[str], asked: list[str]
) -> None:
    token = world.fleet.token(60, offered)[0]
    disks = ["/a"] if "os" in asked else []
    problem = await ask(world, token, asked, disks, token)
    assert problem == f"the token makes a node {offered[0]} only"
    assert world.names() == [] and world.fleet.gateways_at() == []
    # It was not used up by that.
    disks = ["/a"] if "os" in offered else []
    assert await ask(world, token, offered, disks, token) == ""
    assert bool(world.fleet.gateways_at()) == ("gateway" in offered)
    assert "used already" in await ask(world, token, offered, disks, token)


async def test_a_token_of_another_datacenter_makes_no_gateway(world: World) -> None:
    now = SystemClock().wall_ms() // 1000
    place = Place("tokyo", "eu", ("127.0.0.1:9",), "0" * 64)
    theirs = joining.issue(identity(), place, now=now, jti="1" * 32, roles=["gateway"])
    assert await ask(world, theirs, ["gateway"], [], theirs) == "nothing"
    mine = world.fleet.token(60, ["gateway"])[0]
    assert await ask(world, mine, ["gateway"], [], theirs) == "nothing"
    with pytest.raises(TokenExpired):
        joining.read(mine, now + 4000)
    assert world.fleet.gateways_at() == []


@pytest.mark.parametrize("roles", [["gateway"], ["os", "gateway"]])
async def test_a_gateway_is_remembered(world: World, roles: list[str]) -> None:
    token = world.fleet.token(60, roles)[0]
    assert await ask(world, token, roles, ["/a"] if "os" in roles else [], token) == ""
    (record,) = read_state(Layout(world.root / "paris")).nodes
    assert record.is_gateway and record.roles == roles
    assert [at.address.name for at in world.fleet.gateways_at()] == ["gw1"]


async def test_a_token_for_disks_is_no_use_where_there_are_none(world: World) -> None:
    world.fleet.disks = None
    with pytest.raises(AdminError, match="on one disk"):
        world.fleet.token(60, ["os", "gateway"])
    token = world.fleet.token(60, ["gateway"])[0]
    assert await ask(world, token, ["gateway"], [], token) == ""


class Connected:
    """Gateways that are connected, by name; and what was recorded when one was ended."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: list[str] = []
        self.recorded: list[str] = []

    def add(self, at: GatewayAt) -> None:
        self.names.append(at.address.name)

    def state(self, _: str) -> str:
        return "connected"

    async def remove(self, name: str) -> None:
        self.names.remove(name)
        self.recorded = [one.name for one in read_state(Layout(self.root)).nodes]


async def test_a_gateway_is_forgotten_when_it_serves_nobody_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: a datacenter that ends in between waits for its lease at the next start."""
    gateways = Connected(world.root / "paris")
    world.fleet.gateways = gateways  # type: ignore[assignment]
    token = world.fleet.token(60, ["gateway"])[0]
    assert await ask(world, token, ["gateway"], [], token) == ""
    assert gateways.names == ["gw1"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(fleet, "write_state", full)
        with pytest.raises(AdminError, match="cannot be written"):
            await world.fleet.forget_node("gw1")
    assert (world.names(), gateways.names) == (["gw1"], ["gw1"])
    await world.fleet.forget_node("gw1")
    assert (world.names(), gateways.names, gateways.recorded) == ([], [], ["gw1"])
