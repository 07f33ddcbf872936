"""Distinguishes public internet addresses from those of private machines and networks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_REFUSED: tuple[IPv4Network | IPv6Network, ...] = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",
            "100.64.0.0/10",  # behind carriers' NAT; the metadata of some clouds, 100.100.100.200
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's machine agent
            "169.254.0.0/16",  # link-local; the metadata of most clouds, 169.254.169.254
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments; metadata at 192.0.0.192
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/3",  # multicast, reserved, broadcast
            "2001::/23",  # protocol assignments; Teredo, which wraps an IPv4 address
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which wraps an IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
"""IANA's special-purpose registries, listed here: Python's knowledge of them changes by version."""


def is_public(address: Address) -> bool:
    """True if it is on the internet: not private, local, multicast, reserved or metadata."""
    if isinstance(address, IPv6Address):
        if (wrapped := _wrapped(address)) is not None:
            return is_public(wrapped)
        if address not in _GLOBAL_UNICAST:
            return False
    return not any(address in network for network in _REFUSED)


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    """Returns the IPv4 address that a packet to this one goes to, if it is wrapped as usual."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped
