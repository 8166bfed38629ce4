"""Addresses that a server listens on or is asked by."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a name or an address is one of this machine, which no other one reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
