"""The certificate that gateway and API serve, read again when its files change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from tidegate.errors import UsageError
from tidegate.settings import Settings

log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int], ...]


class Certificate:
    """`context` serves new connections with what was read last; those that are open keep theirs."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Raises UsageError naming the settings where the files do not serve."""
        self._cert, self._key = cert, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self._stamp = self._look()
            self._read(self.context)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"tls_cert_file {cert} with tls_key_file {key}: {error}") from error

    @classmethod
    def of(cls, settings: Settings) -> Certificate | None:
        """None where the settings name none. Raises UsageError."""
        if not settings.tls_cert_file and not settings.tls_key_file:
            return None
        if not settings.tls_cert_file or not settings.tls_key_file:
            raise UsageError("tls_cert_file and tls_key_file go together: one of them is empty")
        return cls(Path(settings.tls_cert_file), Path(settings.tls_key_file))

    def renew(self) -> None:
        """Read the files again if they changed. What does not serve (half of them is new, say) is told, and
        the certificate read before stays."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._read(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a pair that does not match must not get in
            self._read(self.context)
        except (OSError, ssl.SSLError) as error:
            log.error("tls_cert_file %s: %s; the certificate read before stays in force", self._cert, error)
        else:
            log.info("read the certificate %s again", self._cert)

    def _read(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._cert, self._key, password=_no_password)

    def _look(self) -> Stamp:
        return tuple((state.st_mtime_ns, state.st_ino) for state in (self._cert.stat(), self._key.stat()))


def _no_password() -> str:
    raise ssl.SSLError(0, "the key is encrypted")
