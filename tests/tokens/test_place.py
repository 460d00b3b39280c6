"""Names, endpoints and fingerprints that a DC may and may not have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokens.errors import PlaceInvalid
from tokens.place import Place, parse_endpoint

GOOD = {
    "alpha.example:7443": ("alpha.example", 7443),
    "alpha:1": ("alpha", 1),
    "node_1:65535": ("node_1", 65535),
    "3com.example:80": ("3com.example", 80),
    "192.0.2.7:7443": ("192.0.2.7", 7443),
    "127.0.0.1:7443": ("127.0.0.1", 7443),
    "[::1]:7443": ("::1", 7443),
    "[2001:db8::1]:443": ("2001:db8::1", 443),
    f"{'a' * 63}.{'b' * 63}:80": (f"{'a' * 63}.{'b' * 63}", 80),
}

BAD = [
    "", ":", "alpha", "alpha:", ":7443", "alpha:0", "alpha:65536", "alpha:99999", "alpha:123456",
    "alpha:080", "alpha:+80", "alpha:8_0", "alpha: 80", "alpha:80 ", " alpha:80", "alpha:80\n",
    "alpha:80\x00", "alpha:-1", "alpha:1e3", "alpha:٣", "al pha:80", "alpha/x:80", "a@b:80",
    "http://alpha:80", "alpha..b:80", ".alpha:80", "alpha.:80", "-alpha:80", "alpha-:80",
    "älpha:80", "1.2.3:80", "1.2.3.256:80", "01.2.3.4:80", "1.2.3.4.5:80", "2130706433:80",
    "0x7f000001:80", "a.0x1:80", "alpha.1:80", "0.0.0.0:80", "224.0.0.1:80", "[::]:80",
    "[ff02::1]:80", "[fe80::1%eth0]:80", "[1.2.3.4]:80", "[alpha]:80", "[]:80", "[::1:80", "::1:80",
    "::ffff:1.2.3.4:80", "[::1]80", "[[::1]]:80", "alpha:80,beta:80", "a" * 64 + ":80",
    ".".join(["a" * 60] * 5) + ":80",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_usable_endpoints(text):
    assert parse_endpoint(text) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_unusable_endpoints(text):
    with pytest.raises(PlaceInvalid, match="endpoint"):
        parse_endpoint(text)


@given(st.text(max_size=40), st.text(alphabet="0123456789.:[]abx%-_", max_size=30))
def test_any_text_is_parsed_or_refused(free, likely):
    for text in (free, likely, f"{likely}:80"):
        try:
            host, port = parse_endpoint(text)
        except PlaceInvalid:
            continue
        assert host and 1 <= port <= 65535 and text in (f"{host}:{port}", f"[{host}]:{port}")


def place(**changes):
    return Place(
        **{"name": "a", "region": "eu", "endpoints": ("a:1",), "fingerprint": "0" * 64} | changes
    )


@pytest.mark.parametrize("name", ["a", "0", "eu-west_1.b", "x" * 63])
def test_usable_names(name):
    assert place(name=name, region=name).name == name


@pytest.mark.parametrize(
    "name", ["", "-a", ".", "..", "a b", "a/b", "a\r\n", "a\n", "\0", "ä", "x" * 64, "a\x1b[1m"]
)
@pytest.mark.parametrize("field", ["name", "region"])
def test_unusable_names(field, name):
    with pytest.raises(PlaceInvalid, match=field) as caught:
        place(**{field: name})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoints": ()},
        {"endpoints": tuple(f"a:{port}" for port in range(1, 10))},
        {"endpoints": ("a:1", "a:1")},
        {"endpoints": ("a:1", "b")},
        {"fingerprint": ""},
        {"fingerprint": "0" * 63},
        {"fingerprint": "0" * 64 + "\n"},
        {"fingerprint": "A" * 64},
        {"fingerprint": "٣" * 64},
    ],
)
def test_unusable_places(changes):
    with pytest.raises(PlaceInvalid):
        place(**changes)


def test_eight_endpoints_are_allowed():
    assert len(place(endpoints=tuple(f"a:{port}" for port in range(1, 9))).endpoints) == 8
