"""Which network addresses a manifest's author may make this app connect to: those of the public internet alone.

An app in a virtual network reaches things that the author of a manifest does not: databases, the metadata service
that hands out tokens, the app itself. Pure decisions over addresses; `shared.cloud.web` applies them.
"""

from __future__ import annotations

import ipaddress
from typing import Final

_PLATFORM: Final = ipaddress.ip_address("168.63.129.16")
"""Azure's own services to a virtual machine, at an address that looks public
(https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16)."""

_SIX_TO_FOUR: Final = ipaddress.ip_network("2002::/16")
"""Addresses that carry one of IPv4 in them, which might be private."""


def is_public(address: str) -> bool:
    """Whether the address belongs to the public internet.

    >>> is_public("169.254.169.254"), is_public("::ffff:10.0.0.1"), is_public("1.1.1.1")
    (False, False, True)
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif found in _SIX_TO_FOUR or found.is_site_local or found.scope_id:
            return False
    # Python counts the addresses that translate to IPv4 (64:ff9b::/96) as reserved.
    return (
        found.is_global and not found.is_multicast and not found.is_reserved and found != _PLATFORM
    )
