"""Getting into a Kafka cluster: its addresses, TLS, and who we are there. Known without a client's code."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from shared.errors import Transient

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class UnusableFileError(Transient):
    """A file that the settings name can't be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaAccess:
    """How to reach the brokers. bootstrap: `host:port` with commas between; the files are PEM.

    password_file: holds the password, instead of `password`. Files are read for each new client, so that what
    was renewed counts from the next connection on. Neither password is ever shown.
    """

    bootstrap: str
    protocol: SecurityProtocol = "PLAINTEXT"
    mechanism: SaslMechanism = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)

    def options(self) -> dict[str, Any]:
        """Return what all of aiokafka's clients are told. Raises UnusableFileError."""
        return {"bootstrap_servers": self.bootstrap, **self.security()}

    def security(self) -> dict[str, Any]:
        """Return what a single connection is told. Raises UnusableFileError."""
        told: dict[str, Any] = {"security_protocol": self.protocol}
        if self.protocol.endswith("SSL"):
            told["ssl_context"] = self._tls()
        if self.protocol.startswith("SASL"):
            told["sasl_mechanism"] = self.mechanism
            told["sasl_plain_username"] = self.username
            told["sasl_plain_password"] = self._password()
        return told

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise UnusableFileError(f"HANDFAST_KAFKA_CA_FILE ({self.ca_file}): {error}") from error
        if self.certificate_file is not None:
            # Without a password, OpenSSL would ask for one at the terminal.
            password = self.key_password or ""
            try:
                context.load_cert_chain(self.certificate_file, self.key_file, lambda: password)
            except (OSError, ssl.SSLError) as error:
                files = f"{self.certificate_file}, {self.key_file or 'the same file'}"
                raise UnusableFileError(
                    f"HANDFAST_KAFKA_CERTIFICATE_FILE and HANDFAST_KAFKA_KEY_FILE ({files}): {error}"
                ) from error
        return context

    def _password(self) -> str | None:
        if self.password_file is None:
            return self.password
        try:
            return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UnusableFileError(
                f"HANDFAST_KAFKA_SASL_PASSWORD_FILE ({self.password_file}): {error}"
            ) from error
