"""Why the brokers don't let us in, in words that say what to do; the clients only say that they can't get in.

A look costs one connection, so it is taken only when something failed.
"""

import ssl
from typing import Final

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from shared.messaging.kafka_access import KafkaAccess

LOOK_SECONDS: Final = 3.0


async def obstacle(access: KafkaAccess) -> str | None:
    """Return what keeps us out and what to do about it; None where the way is free, or nobody answers.

    Raises UnusableFileError.
    """
    for host, port, _ in collect_hosts(access.bootstrap):
        try:
            limit = round(LOOK_SECONDS * 1000)
            connection = await create_conn(host, port, request_timeout_ms=limit, **access.security())
            try:
                await connection.send(MetadataRequest([]))
            finally:
                connection.close()
        except (KafkaError, OSError) as error:
            if (words := _in_words(access, error)) is not None:
                return words
        else:
            return None
    return None


def _in_words(access: KafkaAccess, error: Exception) -> str | None:
    if isinstance(error, SaslAuthenticationFailed):
        return (
            f"The brokers refuse the user {access.username!r} with this password ({access.mechanism}): "
            "look at HANDFAST_KAFKA_SASL_USERNAME and HANDFAST_KAFKA_SASL_PASSWORD."
        )
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"The brokers don't take {access.mechanism}: set HANDFAST_KAFKA_SASL_MECHANISM."
    if isinstance(error, IllegalSaslStateError):
        return "The brokers ask for no user here: look at HANDFAST_KAFKA_SECURITY_PROTOCOL."
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"The brokers' certificate is not trusted ({error.verify_message}): HANDFAST_KAFKA_CA_FILE must "
            "name the authority that signed it, HANDFAST_KAFKA_BOOTSTRAP_SERVERS the host it is for."
        )
    if isinstance(error, KafkaConnectionError) and isinstance(error.__cause__, ssl.SSLError):
        return (
            f"The brokers end the TLS connection ({error.__cause__.reason}): look at "
            "HANDFAST_KAFKA_CERTIFICATE_FILE and HANDFAST_KAFKA_KEY_FILE."
        )
    if isinstance(error, KafkaConnectionError | ConnectionResetError | ssl.SSLError):
        return (
            "The brokers close the connection at once: whether they want TLS and a user, "
            f"HANDFAST_KAFKA_SECURITY_PROTOCOL must say (it says {access.protocol})."
        )
    return None
