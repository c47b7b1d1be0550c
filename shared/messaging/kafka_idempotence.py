"""Whether a cluster numbers producers, so that it drops a record that one sends twice.

Apache Kafka does; the embedded broker says in its list of requests that it does, and then refuses. So the
request itself is made. A producer that isn't numbered may publish a record twice when an answer is lost,
which costs a look at the fence.
"""

import asyncio
import logging
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    IncompatibleBrokerVersion,
    for_code,
)
from aiokafka.protocol.transaction import InitProducerIdRequest

PAUSE_SECONDS: Final = 0.1
_LATER: Final = (CoordinatorLoadInProgressError.errno, CoordinatorNotAvailableError.errno)
_NO_ERROR: Final = 0
_TIMEOUT_MS: Final = 60_000
"""Of a transaction, which we have none of."""

log = logging.getLogger(__name__)


async def numbers_producers(admin: AIOKafkaAdminClient) -> bool:
    """Ask for a number; say whether there was one. Waits where the broker says that it can't tell yet."""
    request = InitProducerIdRequest(None, _TIMEOUT_MS)
    try:
        answer = await admin._send_request(request)  # noqa: SLF001 - the only way to send what it has no call for
        while answer.error_code in _LATER:
            await asyncio.sleep(PAUSE_SECONDS)
            answer = await admin._send_request(request)  # noqa: SLF001
    except IncompatibleBrokerVersion:
        return False
    if answer.error_code != _NO_ERROR:
        log.debug("Producers are not numbered here: %s.", for_code(answer.error_code).__name__)
    return bool(answer.error_code == _NO_ERROR)
