"""A certificate of our own, so that browsers give a camera to pages from other machines."""

import datetime
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAYS = 30


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate and its key, and the SHA-256 fingerprint that browsers show."""

    cert: Path
    key: Path
    fingerprint: str


def self_signed(folder: Path, address: str) -> Certificate:
    """Make a certificate for this machine, good for a month.

    Args:
        folder: that the files go to; the key can be read by its owner only.
        address: that other machines reach this one at.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nst-rt studio")])
    host = socket.gethostname()
    names: list[x509.GeneralName] = [x509.DNSName(n) for n in ("localhost", host, f"{host}.local")]
    for known in {"127.0.0.1", "::1", address}:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(known)))
        except ValueError:
            names.append(x509.DNSName(known))
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
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
