"""Settings as one frozen value: environment variables with the prefix HANDFAST_, or the same names in `.env`.

A program adds its own in `<program>/settings.py`. Every field says what it is and in which unit; its
defaults are the ones that docs/settings.md lists.
"""

import re
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from shared.database.place import Place, Schema, is_postgres_url, with_password
from shared.messaging.kafka_settings import KafkaSettings
from shared.security.settings import AuthenticationSettings

PORTS: Final = {"coordinator": 8886, "order": 8887, "stock": 8888, "payment": 8889}
"""The programs and their ports, to which `port_offset` is added."""

BROKER_PORT: Final = 9092

INSTANCE_STEP: Final = 10
"""An instance listens so many ports, times its number, above the port that all of its program share."""
MOST_INSTANCES: Final = 16
"""Of one program under one `up`: their ports stay below the broker's."""


class Settings(AuthenticationSettings, KafkaSettings):
    """What all programs have in common."""

    model_config = SettingsConfigDict(
        env_prefix="HANDFAST_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        # What is wrong may be, or stand beside, a secret.
        hide_input_in_errors=True,
    )

    data_dir: Path = Field(Path(".handfast"), description="Directory of the SQLite files and logs.")
    database_url: SecretStr | None = Field(
        None,
        description="PostgreSQL database of all programs, as postgresql://user:password@host:port/name. "
        "Empty: a SQLite file each in the data directory.",
    )
    database_password_file: Path | None = Field(
        None,
        description="File that holds the password of that database, such as a mounted secret, where the URL "
        "has none; read at start.",
    )
    database_schema: str = Field(
        "handfast",
        pattern=r"^[a-z_][a-z0-9_]{0,39}$",
        description="What the names of the programs' schemas in that database begin with, as in "
        "handfast_stock.",
    )
    database_writers: int = Field(
        2, ge=1, le=100, description="Connections of each program that write to PostgreSQL."
    )
    database_readers: int = Field(
        2, ge=1, le=100, description="Connections of each program that read from PostgreSQL."
    )
    database_connect_seconds: float = Field(
        5.0, gt=0, description="Longest wait for a connection to PostgreSQL, in seconds."
    )
    database_statement_seconds: float = Field(
        10.0, gt=0, description="Longest time that one statement may take in PostgreSQL, in seconds."
    )
    database_lock_seconds: float = Field(
        2.0, gt=0, description="Longest wait of one statement for a lock in PostgreSQL, in seconds."
    )
    drain_seconds: float = Field(
        1.0,
        ge=0,
        le=600,
        description="Time for which a program serves on after SIGTERM, not ready any more and closing each "
        "connection with its answer, in seconds. Behind a load balancer: longer than that takes to notice.",
    )
    port_offset: int = Field(0, ge=0, le=56_000, description="Number added to every port.")
    instance: int = Field(
        0,
        ge=0,
        le=MOST_INSTANCES,
        description="Number of this instance where several share the program's port; it then answers at ten "
        "times that number above it, too. 0: it is the only one.",
    )
    listen_fd: int | None = Field(
        None,
        ge=3,
        description="Descriptor of the program's port, bound by whoever started it so that several "
        "instances share it. Empty: the program binds it itself.",
    )
    kafka_bootstrap_servers: str | None = Field(
        None,
        description="Kafka brokers as host:port,host:port. Empty: the embedded broker at 127.0.0.1:9092 "
        "plus the port offset.",
    )

    broker_memory_mib: int = Field(
        128,
        description="Mebibytes at which `up` renews the embedded broker, which keeps every record; 0: never.",
        ge=0,
    )

    coordinator_url: str = Field(
        default_factory=lambda known: _local_url("coordinator", known),
        description="Base URL under which the coordinator is called.",
    )
    order_url: str = Field(
        default_factory=lambda known: _local_url("order", known),
        description="Base URL under which the order service is called.",
    )
    stock_url: str = Field(
        default_factory=lambda known: _local_url("stock", known),
        description="Base URL under which the stock service is called.",
    )
    payment_url: str = Field(
        default_factory=lambda known: _local_url("payment", known),
        description="Base URL under which the payment service is called.",
    )
    public_url: str | None = Field(
        None,
        description="Base URL that this program writes into the links it hands out. Empty: the URL under "
        "which it is called.",
    )

    outbox: Literal["relay", "cdc"] = Field(
        "relay",
        description="Who publishes what a program has to say: the program itself (relay), or Debezium out of "
        "PostgreSQL's log (cdc), which leaves dead letters and replays to the program.",
    )

    retry: str = Field(
        "fixed:1s,3",
        description="Back-off before a record is dead-lettered, for all topics: fixed:<pause>,<retries> or "
        "exponential:<first>,<factor>,<cap>,<retries>, with +jitter at the end if wanted.",
    )
    retry_stock_adjustment: str | None = Field(None, description="The same for stock-adjustment alone.")
    retry_payment_capture: str | None = Field(None, description="The same for payment-capture alone.")
    retry_coupon_issued: str | None = Field(None, description="The same for coupon-issued alone.")
    retry_order_confirmation: str | None = Field(None, description="The same for order-confirmation alone.")
    retry_tcc_outcomes: str | None = Field(None, description="The same for tcc-outcomes alone.")
    reset_state_on_recovery_failure: bool = Field(
        True,
        description="Whether a record whose dead letter can't be kept starts its retries anew (else it is "
        "delivered once more, and then its letter is tried again).",
    )
    max_replays: int = Field(
        10,
        ge=1,
        description="Number of replays, since its last release, after which a dead letter is parked instead.",
    )
    replay_schedule_seconds: float = Field(
        0.0,
        ge=0,
        description="Pause before an open dead letter is replayed by itself, in seconds; it doubles with "
        "each replay, up to 32 times that. 0: never.",
    )
    replay_rate: float = Field(
        10.0, gt=0, description="Dead letters that each program replays by itself in a second, at most."
    )
    redact_patterns: tuple[str, ...] = Field(
        (),
        description="Regular expressions of what is secret in failures and dead letters, as a JSON array; "
        "credentials and card numbers are known without.",
    )
    partitions: int = Field(3, ge=1, le=1_000, description="Partitions of each topic that is created.")
    fetch_max_wait_ms: int = Field(
        25, ge=1, le=10_000, description="Longest wait of a fetch for new records, in milliseconds."
    )
    republish_seconds: float = Field(
        10.0, gt=0, description="Pause before an unacknowledged message is published again, in seconds."
    )
    republish_max_seconds: float = Field(
        300.0, gt=0, description="Longest such pause; it doubles each time, in seconds."
    )

    topic_retention_hours: float = Field(
        168.0, gt=0, description="How long topics that are created keep a record, in hours."
    )
    letter_retention_hours: float = Field(
        336.0,
        gt=0,
        description="How long a dead letter is kept after it was settled or edited, in hours; longer than "
        "topics keep records.",
    )
    transaction_retention_hours: float = Field(
        720.0,
        gt=0,
        description="How long a transaction is kept whole after its end, with its branches at the "
        "participants (a standalone reservation after its own), in hours; longer than the "
        "retention of letters and twice that of topics together.",
    )
    idempotency_retention_hours: float = Field(
        168.0, gt=0, description="How long an Idempotency-Key is remembered, in hours."
    )
    retention_pause_seconds: float = Field(
        60.0, gt=0, description="Pause between two looks for what is past its retention, in seconds."
    )

    sweep_seconds: float = Field(1.0, gt=0, description="Pause between two sweeps, in seconds.")
    skew_allowance_seconds: float = Field(
        30.0, ge=0, description="How far the clocks of two machines may be apart, in seconds."
    )
    reconcile_grace_seconds: float = Field(
        60.0,
        ge=0,
        description="Age up to which what two sides see differently is late and no finding, in seconds.",
    )
    hold_seconds: int = Field(
        600, ge=1, le=86_400, description="How long a hold lasts when nobody says, in seconds."
    )

    body_limit_bytes: int = Field(65_536, ge=1, description="Largest request body taken, in bytes.")
    max_orders_in_flight: int = Field(
        256, ge=1, description="Customers' new orders worked on at once; more are answered 503."
    )
    max_protocol_in_flight: int = Field(
        1_024, ge=1, description="Protocol calls (TCC-* headers, inquiries) worked on at once."
    )
    max_other_in_flight: int = Field(512, ge=1, description="Other requests worked on at once.")
    max_calls_in_flight: int = Field(
        256, ge=1, description="Outgoing HTTP connections at once, to each address."
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level that is logged."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="Log lines as JSON or as text; auto: text on a terminal, else JSON."
    )

    @field_validator("redact_patterns")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return patterns

    @field_validator("database_url", mode="after")
    @classmethod
    def _is_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None or not url.get_secret_value():
            return None
        if not is_postgres_url(url.get_secret_value()):
            raise ValueError("write it as postgresql://user:password@host:port/name")
        return url

    @model_validator(mode="after")
    def _has_what_it_builds_on(self) -> Self:
        self.database_dsn()
        if self.outbox == "cdc" and self.database_url is None:
            raise ValueError("HANDFAST_OUTBOX=cdc captures PostgreSQL's log: set HANDFAST_DATABASE_URL")
        return self

    def database_dsn(self) -> SecretStr | None:
        """Return the URL of the PostgreSQL database with its password, from wherever that is kept.

        None: there is no such database. Raises ValueError, which says what to do.
        """
        if self.database_password_file is None or self.database_url is None:
            return self.database_url
        try:
            password = self.database_password_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ValueError(
                f"HANDFAST_DATABASE_PASSWORD_FILE can't be read: {type(error).__name__}"
            ) from None
        return SecretStr(with_password(self.database_url.get_secret_value(), password))

    @property
    def outbox_slot(self) -> str:
        """The replication slot, and the publication, by which the outboxes are captured."""
        return f"{self.database_schema}_outbox"

    @model_validator(mode="after")
    def _outlive(self) -> Self:
        """What is asked about must outlive what may ask (docs/adr/0019-retention.md)."""
        topics, letters = self.topic_retention_hours, self.letter_retention_hours
        if letters <= topics:
            raise ValueError(
                f"HANDFAST_LETTER_RETENTION_HOURS ({letters:g}) must be longer than "
                f"HANDFAST_TOPIC_RETENTION_HOURS ({topics:g})"
            )
        # Twice: a Try that is late by half of a branch's retention is taken for one of long ago.
        least = letters + 2 * topics + 2 * self.skew_allowance_seconds / 3_600
        if self.transaction_retention_hours <= least:
            raise ValueError(
                f"HANDFAST_TRANSACTION_RETENTION_HOURS ({self.transaction_retention_hours:g}) must be longer "
                "than HANDFAST_LETTER_RETENTION_HOURS, twice HANDFAST_TOPIC_RETENTION_HOURS and twice "
                f"HANDFAST_SKEW_ALLOWANCE_SECONDS together ({least:g} hours)"
            )
        return self

    @property
    def transaction_retention_ms(self) -> int:
        return _hours(self.transaction_retention_hours)

    @property
    def letter_retention_ms(self) -> int:
        return _hours(self.letter_retention_hours)

    @property
    def idempotency_retention_ms(self) -> int:
        return _hours(self.idempotency_retention_hours)

    @property
    def bootstrap(self) -> str:
        """The Kafka brokers to connect to, as host:port,host:port."""
        return self.kafka_bootstrap_servers or f"127.0.0.1:{BROKER_PORT + self.port_offset}"

    def port(self, program: str) -> int:
        """Return the port that a program (a key of PORTS) listens on."""
        return PORTS[program] + self.port_offset

    def own_port(self, program: str) -> int:
        """Return the port at which this instance of a program alone answers."""
        return self.port(program) + INSTANCE_STEP * self.instance

    def named(self, program: str) -> str:
        """Return what this instance of a program is called: `stock`, or `stock-2` where there are several."""
        return f"{program}-{self.instance}" if self.instance else program

    def url(self, program: str) -> str:
        """Return the base URL under which a program is called, without a slash at its end."""
        url: str = getattr(self, f"{program}_url")
        return url.rstrip("/")

    def own_url(self, program: str) -> str:
        """Return the base URL for links that this program hands out, without a slash at its end."""
        return (self.public_url or self.url(program)).rstrip("/")

    def retry_for(self, topic: str) -> str:
        """Return the back-off of a topic: its own (HANDFAST_RETRY_<TOPIC>) or that of all topics."""
        own: str | None = getattr(self, "retry_" + topic.replace("-", "_"), None)
        return own or self.retry


def database_place(settings: Settings, name: str) -> Place:
    """Return where a program's data lies: its schema in the PostgreSQL database, or its SQLite file."""
    url = settings.database_dsn()
    if url is not None:
        return Schema(url.get_secret_value(), f"{settings.database_schema}_{name}")
    return database_path(settings, name)


def database_path(settings: Settings, name: str) -> Path:
    """Return where a program's SQLite file lies."""
    return settings.data_dir / f"{name}.db"


def _local_url(program: str, known: dict[str, Any]) -> str:
    return f"http://127.0.0.1:{PORTS[program] + known['port_offset']}"


def _hours(hours: float) -> int:
    return round(hours * 3_600_000)
