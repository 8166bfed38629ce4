"""Addresses that a server listens on, is asked by, and is reached at."""

import contextlib
import ipaddress
import socket


def is_loopback(host: str) -> bool:
    """Whether a name or an address is one of this machine, which no other one reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_any(host: str) -> bool:
    """Whether an address stands for all networks of this machine."""
    if host == "0":  # which sockets take for 0.0.0.0
        return True
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def reached_at(host: str) -> list[str]:
    """Names and addresses that a server which listens on `host` is reached at, the best one first.

    Where it listens on all networks that is this machine's address in its own, and `localhost`.
    """
    return [_lan_address(host), "localhost"] if is_any(host) else [host]


def in_url(name: str) -> str:
    """A name or an address as URLs have it."""
    return f"[{name}]" if ":" in name else name


# Families of addresses, and an address of each that is reserved for documentation: RFC 5737, 3849.
_AWAY = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def _lan_address(host: str) -> str:
    """This machine's address in its network. Nothing is sent: UDP only looks up the way."""
    for family, away in _AWAY if ":" in host else _AWAY[:1]:  # IPv6 listens for IPv4 too
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((away, 9))
            return str(probe.getsockname()[0])
    return socket.gethostname()
