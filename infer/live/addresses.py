"""Network addresses of a server: where it listens, and the names by which others reach it."""

import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import quote

from nst_rt.errors import InputError


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens on an address; port 0 is any free one.

    Raises:
        InputError: an address that is not of this machine, or in use.
    """
    try:
        [(family, *_, where), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # If the system can, listening on all networks of IPv6 includes those of IPv4.
        both = family == socket.AF_INET6 and is_any(host) and socket.has_dualstack_ipv6()
        return socket.create_server(where[:2], family=family, dualstack_ipv6=both)
    except socket.gaierror as error:
        raise InputError(f"{host}: no such address on this machine") from error
    except OSError as error:
        raise InputError(
            f"{host}, port {port}: cannot listen there ({error}); choose another port"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether a host name or address can be reached from this machine only."""
    address = ip_address(host)
    return host == "localhost" if address is None else address.is_loopback


def is_any(host: str) -> bool:
    """Whether an address stands for all networks of this machine."""
    address = ip_address(host)
    # Sockets take 0 for 0.0.0.0.
    return host == "0" if address is None else address.is_unspecified


def ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, None for a host name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def reached_at(host: str) -> list[str]:
    """Names and addresses of a server that listens on `host`, the best one first.

    A server on all networks has this machine's address in the local network, and `localhost`.
    """
    return [_lan_address(host), "localhost"] if is_any(host) else [host]


def links(names: Iterable[str], port: int, path: str, *, scheme: str = "http") -> tuple[str, ...]:
    """URLs of a path, which begins with /, on a server that has several names or addresses."""
    hosts = (f"[{name}]" if ":" in name else name for name in names)  # IPv6
    return tuple(f"{scheme}://{host}:{port}{path}" for host in hosts)


def token_query(token: str | None) -> str:
    """The end of a URL that carries a token; empty without one."""
    return f"?token={quote(token, safe='')}" if token else ""


# An address of each family that is reserved for documentation: RFC 5737, 3849.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def _lan_address(host: str) -> str:
    """This machine's address in its network. Nothing is sent: UDP only looks up the route."""
    # A server on all networks of IPv6 listens on those of IPv4, too.
    for family, address in _ELSEWHERE if ":" in host else _ELSEWHERE[:1]:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return str(probe.getsockname()[0])
    return socket.gethostname()
