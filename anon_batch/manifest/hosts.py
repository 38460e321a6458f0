"""Which hosts and IP addresses a manifest may lead to: none of this machine's, of its network or of its cloud."""

from __future__ import annotations

import ipaddress
import socket
import unicodedata
from typing import Literal

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Trust = Literal["public", "named"]

# Services of clouds at addresses that look public, and names that resolve to such services.
_CLOUD = frozenset(map(ipaddress.ip_address, ("168.63.129.16", "192.0.0.192", "100.100.100.200", "fd00:ec2::254")))
_CLOUD_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def plain_host(host: str) -> str:
    """Return a host in lower case, without a trailing dot, brackets or full-width characters."""
    return unicodedata.normalize("NFKC", host).lower().strip("[]").rstrip(".")


def literal_ip(host: str) -> IpAddress | None:
    """Return the IP address that a host is, in any spelling that a resolver accepts (`127.1`, `0x7f000001`); None for names."""
    text = plain_host(host).partition("%")[0]
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text)) if text and not any(map(str.isspace, text)) else None
    except (OSError, UnicodeEncodeError):
        return None


def refused_ip(address: IpAddress, trust: Trust = "public") -> str | None:
    """Return what kind of address this is if it may not be connected to.

    Args:
        address: IPv4 or IPv6.
        trust: `public`: only the public internet. `named`: the operator named a host that resolves to it, so it may also be in
            a private network, but never this machine or its cloud's services, because the owner of the name chooses its address.
    """
    ip = _unwrapped(address)
    if ip.is_loopback or ip.is_unspecified:
        return "this machine"
    if ip.is_link_local or ip in _CLOUD:
        return "a link-local or cloud metadata service"
    if ip.is_multicast:
        return "a multicast address"
    if trust == "public" and not ip.is_global:
        return "a private network"
    return None


def refused_name(host: str) -> str | None:
    """Return what kind of host this is if its name alone shows that it may not be connected to."""
    name = plain_host(host)
    if name == "localhost" or name.endswith((".localhost", ".localdomain")):
        return "this machine"
    return "a cloud metadata service" if name in _CLOUD_NAMES else None


def _unwrapped(address: IpAddress) -> IpAddress:
    """Return the IPv4 address inside an IPv6 one that stands for it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    if int(address) >> 32 == 0 and int(address) > 1:  # ::a.b.c.d, the old form
        return ipaddress.IPv4Address(int(address))
    return address.ipv4_mapped or address.sixtofour or address
