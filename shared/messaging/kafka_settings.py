"""The settings of Apache Kafka that all programs have in common, as a part of `shared.settings.Settings`."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, FilePath, SecretStr, model_validator
from pydantic_settings import BaseSettings

from shared.messaging.kafka_access import KafkaAccess, SaslMechanism, SecurityProtocol


def _or_none(value: object) -> object:
    return None if value == "" else value


# A variable that is there and empty says as little as one that isn't there.
_Text = Annotated[str | None, BeforeValidator(_or_none)]
_Secret = Annotated[SecretStr | None, BeforeValidator(_or_none)]
_File = Annotated[FilePath | None, BeforeValidator(_or_none)]


class KafkaSettings(BaseSettings):
    """How to get into the cluster, and what the topics are like."""

    kafka_security_protocol: SecurityProtocol = Field(
        "PLAINTEXT", description="How to speak to the brokers: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."
    )
    kafka_sasl_mechanism: SaslMechanism = Field(
        "SCRAM-SHA-512", description="With SASL: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."
    )
    kafka_sasl_username: _Text = Field(None, description="With SASL: the user.")
    kafka_sasl_password: _Secret = Field(None, description="With SASL: the user's password.")
    kafka_sasl_password_file: _File = Field(
        None, description="With SASL: a file with the password, read for each connection; instead of it."
    )
    kafka_ca_file: _File = Field(
        None,
        description="With SSL: PEM file of the authorities that sign the brokers' certificates. Empty: those "
        "that the system trusts.",
    )
    kafka_certificate_file: _File = Field(
        None, description="With SSL: PEM file of our own certificate, for brokers that want one."
    )
    kafka_key_file: _File = Field(
        None, description="With SSL: PEM file of its key. Empty: it is in the same file."
    )
    kafka_key_password: _Secret = Field(
        None, description="With SSL: the password of that key, if it has one."
    )
    kafka_compression: Literal["none", "gzip"] = Field(
        "none", description="How records are compressed: none or gzip."
    )
    replication_factor: int = Field(1, ge=1, le=32, description="Replicas of each topic that is created.")
    min_insync_replicas: int | None = Field(
        None,
        ge=1,
        le=32,
        description="Replicas of each topic that is created that must have a record before it counts as "
        "published. Empty: one less than there are, but at least one.",
    )

    @model_validator(mode="after")
    def _has_what_the_protocol_needs(self) -> Self:
        password, file = self.kafka_sasl_password, self.kafka_sasl_password_file
        if self.kafka_security_protocol.startswith("SASL"):
            if self.kafka_sasl_username is None or (password is None) == (file is None):
                raise ValueError(
                    f"HANDFAST_KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs "
                    "HANDFAST_KAFKA_SASL_USERNAME, and either HANDFAST_KAFKA_SASL_PASSWORD or "
                    "HANDFAST_KAFKA_SASL_PASSWORD_FILE"
                )
        elif self.kafka_sasl_username is not None:
            raise ValueError(
                "HANDFAST_KAFKA_SASL_USERNAME is for HANDFAST_KAFKA_SECURITY_PROTOCOL=SASL_SSL (or "
                "SASL_PLAINTEXT)"
            )
        if self.kafka_ca_file is not None and not self.kafka_security_protocol.endswith("SSL"):
            raise ValueError(
                "HANDFAST_KAFKA_CA_FILE is for HANDFAST_KAFKA_SECURITY_PROTOCOL=SSL (or SASL_SSL)"
            )
        return self

    @model_validator(mode="after")
    def _has_replicas_enough(self) -> Self:
        if (self.min_insync_replicas or 1) > self.replication_factor:
            raise ValueError(
                f"HANDFAST_MIN_INSYNC_REPLICAS ({self.min_insync_replicas}) can't be more than "
                f"HANDFAST_REPLICATION_FACTOR ({self.replication_factor})"
            )
        return self

    def kafka_access(self, bootstrap: str) -> KafkaAccess:
        """Return how to get into the cluster at these addresses."""
        password, key_password = self.kafka_sasl_password, self.kafka_key_password
        return KafkaAccess(
            bootstrap=bootstrap,
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_sasl_username,
            password=None if password is None else password.get_secret_value(),
            password_file=self.kafka_sasl_password_file,
            ca_file=self.kafka_ca_file,
            certificate_file=self.kafka_certificate_file,
            key_file=self.kafka_key_file,
            key_password=None if key_password is None else key_password.get_secret_value(),
        )
