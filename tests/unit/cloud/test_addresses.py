"""Which addresses a manifest may make the app connect to, and which hosts."""

from __future__ import annotations

import pytest

from shared.cloud.addresses import is_public
from shared.cloud.web import NotAllowed, shown, target_of


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "20.60.1.2", "2606:4700:4700::1111", "::ffff:1.1.1.1"]
)
def test_addresses_of_the_public_internet_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "192.0.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:168.63.129.16",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700:4700::1111%eth0",
        "fec0::1",
        "ff02::1",
        "localhost",
        "0x7f000001",
        "2130706433",
        "",
    ],
)
def test_everything_else_is_not(address):
    assert not is_public(address)


def test_a_host_is_listed_by_its_exact_name_and_port():
    hosts = frozenset({"data.example.org", "other.example.org:8443"})
    assert target_of("https://DATA.example.org./a?b#c", hosts).path == "/a?b"
    assert target_of("https://data.example.org:443", hosts).path == "/"
    assert target_of("https://other.example.org:8443/a", hosts).port == 8443
    for url in (
        "https://data.example.org:444/a",
        "https://other.example.org/a",
        "https://example.org/a",
        "https://x.data.example.org/a",
        "https://data.example.org.evil.net/a",
        "https://data.example.org@evil.net/a",
        "https://evil.net/https://data.example.org/a",
        "https:data.example.org/a",
        "https:///a",
        "https://evil.net\\@data.example.org/a",
        "//data.example.org/a",
    ):
        with pytest.raises(NotAllowed):
            target_of(url, hosts)


def test_without_a_list_no_host_may_be_asked():
    with pytest.raises(NotAllowed):
        target_of("https:///a", frozenset())


def test_what_is_shown_of_an_address_holds_no_secret():
    assert shown("https://me:pw@h.org:1/a.jsonl?sig=x@y#z") == "https://h.org:1/a.jsonl"
    assert shown("https://h.org/a@b") == "https://h.org/a@b"
