"""The certificate of a server: checked at the start, and read again when its files change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError
from rag.privacy.redaction import words

if TYPE_CHECKING:
    import uvicorn

_log = logging.getLogger(__name__)


def check(cert: Path, key: Path) -> None:
    """Raises ConfigError if a certificate cannot be used with a key."""
    _context(cert, key)


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a function, OpenSSL would ask for the passphrase of a key on the terminal.
        context.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"The certificate server.tls_cert ({cert}) cannot be used with the key server.tls_key"
            f" ({key}): {words(error)}. Both are PEM files, and the key has no passphrase.",
            code="tls",
        ) from None
    return context


class Renewal:
    """Takes renewed files into use, for connections that are opened from then on."""

    def __init__(self, config: uvicorn.Config) -> None:
        """Takes the configuration of a server, with TLS or without."""
        self._config = config
        self._files = [Path(each) for each in (config.ssl_certfile, config.ssl_keyfile) if each]
        self._seen = self._stamps()

    def look(self) -> None:
        """Reads the files if they have changed; the log says so, also if they cannot be used."""
        if (now := self._stamps()) == self._seen or self._config.ssl is None:
            return
        self._seen = now
        cert, key = self._files
        try:
            renewed = _context(cert, key)
        except ConfigError as error:
            _log.error("The certificate from before is used still. %s", error)
            return

        def use(connection: ssl.SSLObject, _name: str, _first: ssl.SSLContext) -> None:
            connection.context = renewed

        # Loaded into the first context, a key of another type would be one more beside the old one.
        self._config.ssl.sni_callback = use  # called for each connection, also without a name
        _log.warning("The certificate was renewed: %s is used from now on.", cert)

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(each) for each in self._files]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Returns the marks by which a change shows; None while there is no file."""
    try:
        found = file.stat()
    except OSError:
        return None
    # chmod and chown, too, may make a file readable: they change ctime, and leave mtime as it is.
    return found.st_ctime_ns, found.st_ino, found.st_size
