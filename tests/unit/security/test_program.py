"""A program shows its token to its peers and to nobody else."""

import random
from collections.abc import Mapping

from shared.clock import SystemClock
from shared.database.inline import InlineDatabase
from shared.http.caller import Reply
from shared.messaging.memory import MemoryBroker
from shared.program import Program, Surroundings
from shared.settings import Settings
from tests.issuer import SECRET
from tests.unit.security.test_credentials import Peer


def program(caller: Peer, secret: str | None) -> Program:
    surroundings = Surroundings(
        clock=SystemClock(),
        randomness=random.Random(1),
        database=InlineDatabase(),
        broker=MemoryBroker(SystemClock()),
        caller=caller,
    )
    return Program("payment", Settings(_env_file=None, auth_shared_secret=secret), surroundings)


async def sent(caller: Peer, by: str, secret: str | None = SECRET) -> Mapping[str, str]:
    made = program(caller, secret)
    reply: Reply = await getattr(made, by).call("GET", "https://anywhere.test", timeout=1)
    assert reply.status == 200
    return caller.sent[-1]


async def test_gateways_and_the_issuer_never_see_a_programs_token() -> None:
    assert "authorization" not in await sent(Peer(200), "caller")
    peers = await sent(Peer(200), "peers")
    assert peers["authorization"].startswith("Bearer ")


async def test_without_authentication_no_token_is_sent() -> None:
    assert "authorization" not in await sent(Peer(200), "peers", None)
