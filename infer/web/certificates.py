"""Certificates: one of our own, so that browsers give a camera to other machines; names of any."""

import datetime
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nst_rt.errors import InputError

_DAYS = 30


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate and its key, and the SHA-256 fingerprint that browsers show."""

    cert: Path
    key: Path
    fingerprint: str


def names_in(file: Path) -> tuple[str, ...]:
    """The names and addresses that a certificate is for, as browsers read them; `*.` in front of
    one stands for any single name there.

    Args:
        file: PEM; of a chain, the first one counts.

    Raises:
        InputError: not a certificate.
    """
    try:
        extensions = x509.load_pem_x509_certificate(file.read_bytes()).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except (ValueError, OSError) as error:
        raise InputError(f"{file}: not a certificate that can be read ({error})") from error
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return (*(name.lower() for name in names.get_values_for_type(x509.DNSName)), *addresses)


def self_signed(folder: Path, *names: str) -> Certificate:
    """Make a certificate for this machine, good for a month.

    Args:
        folder: that the files go to; the key can be read by its owner only.
        names: and addresses that other machines reach this one at.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nst-rt studio")])
    host = socket.gethostname()
    known = ("localhost", host, f"{host}.local", "127.0.0.1", "::1", *names)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(_general(known)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(
        folder / "cert.pem",
        folder / "key.pem",
        certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
    )
    made.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.touch(mode=0o600)
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


def _general(names: Iterable[str]) -> list[x509.GeneralName]:
    general: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            general.append(x509.DNSName(name))
    return general
