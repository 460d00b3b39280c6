"""The configuration: what is written is read, and what is wrong is named with file and line."""

from pathlib import Path

import pytest

from dc import config as configuration
from dc.config import S3, Admin, Config, ConfigError, Log, Notary, Objects, Peer, TierTable, parse

GOOD = """\
name = "paris"
region = "eu"

[s3]
listen = "127.0.0.1:8000"

[peer]
listen = "0.0.0.0:7000"
advertise = ["paris.example.com:7000", "[2001:db8::1]:7000"]
"""


def test_what_is_written_is_read() -> None:
    config = Config(
        name="paris",
        region="eu-1",
        s3=S3(listen="[::1]:0", base_domains=("s3.example.com",)),
        peer=Peer(listen="0.0.0.0:7000", advertise=("a.example.com:7000", "10.0.0.1:7001")),
        admin=Admin(listen="localhost:9"),
        log=Log(level="debug", format="json"),
        conflict_retention="90m",
        peer_absence_max="45d",
    )
    assert config.conflict_retention_ms == 90 * 60_000
    assert config.peer_absence_ms_max == 45 * 86_400_000
    assert parse(configuration.render(config), "f") == config


def test_every_field_is_written_and_explained() -> None:
    tiers = {"archive": TierTable(redundancy="8+3")}
    config = Config(
        name="a",
        region="b",
        objects=Objects(redundancy="2+1", tiers=tiers),
        notary=Notary(hooks={"archive": {"url": "https://tsa.example.com", "every": "1h"}}),
    )
    text = configuration.render(config)
    for path, description, default in configuration.fields():
        if isinstance(default, dict):
            assert f"\n[{path}.archive]\n" in text
        else:
            assert f"\n{path.rpartition('.')[2]} = " in text
        assert description.split()[0] in text
    assert parse(text, "f") == config
    # Another one can be written below.
    more = f"{configuration.render(Config(name='a', region='b'))}\n[objects.tiers.x]\n"
    with pytest.raises(ConfigError, match=r"objects\.tiers: tiers take several disks"):
        parse(f'{more}redundancy = "1+2"\n', "f")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[objects.tiers]\narchive = 1", r"tiers\.archive: must be a table, written \[objects"),
        ("[objects.tiers.A]", "tiers.A: 'A' is not a valid name: 1 to 24 lowercase"),
        ("[objects.tiers.archive]", "line 7: objects.tiers.archive.redundancy: '' is no redun"),
        ('[objects.tiers.archive]\nredundancy = "9"', "line 8: .*'9' is no redundancy mode"),
        ("[objects.tiers.archive]\ndisk = []", "archive.disk: unknown field; did you mean disks"),
        ('[objects.tiers.standard]\nredundancy = "1+1"', "that of `standard` is objects.redun"),
        ('[objects.tiers.a]\nredundancy = "1+1"\ndisks = ["x", "x"]', "'x' is listed twice"),
        ('[objects.tiers.a]\nredundancy = "4+2"', r"4\+2 takes at least 6 disks, there are 3"),
    ],
)
def test_tiers_that_cannot_be(text: str, words: str) -> None:
    start = 'name = "a"\nregion = "b"\n[objects]\nredundancy = "2+1"\ndisks = ["a", "b", "c"]\n'
    parse(f'{start}[objects.tiers.a]\nredundancy = "1+0"\ndisks = ["c"]\n', "f")
    with pytest.raises(ConfigError, match=words):
        parse(f"{start}\n{text}\n", "f")


def test_what_is_left_out_has_its_default() -> None:
    assert parse('name = "a"\nregion = "b"\n', "f") == Config(name="a", region="b")


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "words"),
    [
        ('region = "eu"', 'regoin = "eu"', 2, "regoin", "did you mean region?"),
        ('region = "eu"', "", None, "region", "must be given"),
        ('region = "eu"', "region = 7", 2, "region", "Expected `str`, got `int`"),
        ('region = "eu"', 'region = "EU"', 2, "region", "lowercase"),
        ('name = "paris"', 'name = "-paris"', 1, "name", "not a valid name"),
        ('name = "paris"', f'name = "{"p" * 33}"', 1, "name", "not a valid name"),
        ("[s3]", "[s3]\nport = 1", 5, "s3.port", "allowed here: listen, base_domains"),
        ("[s3]", 'conflict_retention = "30"\n[s3]', 4, "conflict_retention", "no duration"),
        ("[s3]", 'conflict_retention = "-1d"\n[s3]', 4, "conflict_retention", "no duration"),
        ("[s3]", 'conflict_retention = "59s"\n[s3]', 4, "conflict_retention", "from 1m to 3650d"),
        ("[s3]", 'peer_absence_max = "59m"\n[s3]', 4, "peer_absence_max", "from 1h to 3650d"),
        ("[s3]", 'peer_absence_max = "3651d"\n[s3]', 4, "peer_absence_max", "from 1h to 3650d"),
        ("[s3]", "[ss3]", 4, "ss3", "did you mean s3?"),
        ("[s3]", "[s3.x]", 4, "s3.x", "unknown field"),
        ('listen = "127.0.0.1:8000"', "listen = 8000", 5, "s3.listen", "Expected `str`"),
        ('listen = "127.0.0.1:8000"', 'listen = "8000"', 5, "s3.listen", "not HOST:PORT"),
        ('listen = "127.0.0.1:8000"', 'listen = "a:65536"', 5, "s3.listen", "not HOST:PORT"),
        ('listen = "127.0.0.1:8000"', 'listen = "a:-1"', 5, "s3.listen", "not HOST:PORT"),
        ('listen = "127.0.0.1:8000"', 'listen = "::1:80"', 5, "s3.listen", "not HOST:PORT"),
        ('listen = "127.0.0.1:8000"', 'base_domains = ["A b"]', 5, "s3.base_domains[0]", "domain"),
        ('["paris.example.com:7000"', '[7, "x:1"', 9, "peer.advertise[0]", "Expected `str`"),
        ('["paris.example.com:7000"', '["0.0.0.0:7000"', 9, "peer.advertise[0]", "connect to"),
        ('["paris.example.com:7000"', '["[2001:db8::1]:7000"', 9, "peer.advertise[1]", "twice"),
        ("advertise = ", "# ", 7, "peer.advertise", "must be given when peer.listen"),
        ("127.0.0.1:8000", "0.0.0.0:7000", 8, "peer.listen", "the same address as s3.listen"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(
    old: str, new: str, line: int | None, path: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace(old, new, 1), "dir/farshore.toml")
    where = "dir/farshore.toml" + (f", line {line}" if line else "")
    assert str(caught.value).startswith(f"{where}: {path}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"), [("name = \n", 1), ('name = "a"\n[s3\n', 2), ("a = 1\na = 2\n", 2), ("'", 1)]
)
def test_what_is_not_toml_is_named_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=f"^f, line {line}: not TOML"):
        parse(text, "f")


def test_other_spellings_of_toml_are_located_too() -> None:
    with pytest.raises(ConfigError, match=r"line 3: s3\.listen"):
        parse('name = "a"\nregion = "b"\ns3.listen = 1\n', "f")
    with pytest.raises(ConfigError, match=r"line 3: s3: must be a table, written \[s3\]"):
        parse('name = "a"\nregion = "b"\ns3 = 1\n', "f")
    with pytest.raises(ConfigError, match=r"line 3: s3\.listen"):
        parse('name = "a"\nregion = "b"\ns3 = { listen = 1 }\n', "f")


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "farshore.toml"
    path.write_bytes(b'name = "a"\n\xff')
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        configuration.load(path)
    path.write_bytes(b"#" * (configuration.FILE_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="some other file"):
        configuration.load(path)
    with pytest.raises(FileNotFoundError):
        configuration.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("listen", "advertise", "advertised"),
    [
        ("127.0.0.1:7000", (), ["127.0.0.1:7000"]),
        ("127.0.0.1:0", (), ["127.0.0.1:7000"]),
        ("[::1]:0", (), ["[::1]:7000"]),
        ("0.0.0.0:7000", ("a:1", "b:0"), ["a:1", "b:7000"]),
    ],
)
def test_advertised_addresses(
    listen: str, advertise: tuple[str, ...], advertised: list[str]
) -> None:
    config = Config(name="a", region="b", peer=Peer(listen=listen, advertise=advertise))
    assert config.advertised(7000) == advertised


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "/etc/passwd", "Europe"])
def test_time_zones_must_be_known(name: str) -> None:
    text = f'name = "a"\nregion = "b"\n[peer]\ntime_zone = "{name}"\n'
    with pytest.raises(ConfigError, match=r"line 4: peer\.time_zone: .* no time zone"):
        parse(text, "farshore.toml")


def test_the_zone_of_limits_is_that_of_the_machine_or_as_named() -> None:
    assert Config(name="a", region="b").zone is None
    zone = Config(name="a", region="b", peer=Peer(time_zone="Europe/Paris")).zone
    assert str(zone) == "Europe/Paris"
