"""A certificate whose files are replaced while a server runs."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

import pytest
import uvicorn

from rag.cli.certificate import Renewal
from tests.certificates import certificate_for_loopback


def shown(config: uvicorn.Config) -> bytes:
    """Returns the certificate that a new connection is shown."""
    assert config.ssl is not None
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(back, there)
    server = config.ssl.wrap_bio(there, back, server_side=True)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.getpeercert(binary_form=True) or b""


def der(cert: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(cert.read_text())


def serving(folder: Path) -> tuple[uvicorn.Config, Path, Path]:
    """Returns the configuration of a server, and the files of its certificate and key."""
    cert, key = certificate_for_loopback(folder)
    config = uvicorn.Config("none:none", ssl_certfile=cert, ssl_keyfile=key, log_config=None)
    config.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    config.ssl.load_cert_chain(cert, key)
    return config, cert, key


def test_renewed_files_are_used_once_they_belong_together(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, cert, key = serving(tmp_path)
    renewal, first, first_key = Renewal(config), der(cert), key.read_bytes()
    assert shown(config) == first

    certificate_for_loopback(tmp_path, is_rsa=True)
    second_key = key.read_bytes()
    key.write_bytes(first_key)  # it comes after the certificate
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            renewal.look()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "PRIVATE" not in caplog.text
    assert shown(config) == first
    key.unlink()
    renewal.look()
    assert shown(config) == first

    key.write_bytes(second_key)
    renewal.look()
    assert shown(config) == der(cert) != first
    certificate_for_loopback(tmp_path)
    renewal.look()
    assert shown(config) == der(cert)


def test_a_key_of_which_only_ctime_changes_is_read_again(tmp_path: Path) -> None:
    # So does chmod, which changes nothing for the user root, as whom tests may run.
    config, cert, key = serving(tmp_path)
    renewal, first, first_key = Renewal(config), der(cert), key.read_bytes()
    certificate_for_loopback(tmp_path)
    second_key = key.read_bytes()
    key.write_bytes(first_key)
    renewal.look()
    assert shown(config) == first

    failed = key.stat()
    key.write_bytes(second_key)
    while key.stat().st_ctime_ns == failed.st_ctime_ns:  # the clock of files ticks slowly
        key.chmod(0o600)
    os.utime(key, ns=(failed.st_atime_ns, failed.st_mtime_ns))
    renewed = key.stat()
    assert (renewed.st_mtime_ns, renewed.st_size) == (failed.st_mtime_ns, failed.st_size)
    renewal.look()
    assert shown(config) == der(cert) != first


def test_without_tls_nothing_is_read() -> None:
    Renewal(uvicorn.Config("none:none", log_config=None)).look()
