"""Certificates for tests."""

from __future__ import annotations

import datetime as dt
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

_CURVE = ec.SECP256R1()


def certificate_for_loopback(folder: Path, *, is_rsa: bool = False) -> tuple[Path, Path]:
    """Makes a certificate for 127.0.0.1 that signs itself, its key, and `locked.pem`.

    That is the key with a passphrase. Those that are there are replaced.
    """
    key = rsa.generate_private_key(65537, 2048) if is_rsa else ec.generate_private_key(_CURVE)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plumbline")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    private.write_bytes(key.private_bytes(*form, serialization.NoEncryption()))
    secret = serialization.BestAvailableEncryption(b"passphrase")
    (folder / "locked.pem").write_bytes(key.private_bytes(*form, secret))
    return cert, private
