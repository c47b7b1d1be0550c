"""The inquiry: one POST; anything but a plain answer means that nobody can tell."""

from collections.abc import Mapping

import pytest

from shared.errors import Unreachable
from shared.http.caller import Reply
from shared.tcc.inquiry import Inquirer


class Canned:
    """A caller that answers with one reply."""

    def __init__(self, reply: Reply | Exception) -> None:
        self._reply = reply
        self.called: list[tuple[str, str, bytes | None]] = []

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,  # noqa: ASYNC109 - the port's signature
    ) -> Reply:
        assert timeout <= 5
        assert headers == {"content-type": "application/json"}
        self.called.append((method, url, body))
        if isinstance(self._reply, Exception):
            raise self._reply
        return self._reply

    async def close(self) -> None:
        raise AssertionError("the caller is not the inquirer's to close")


async def test_it_asks_about_the_branch_and_reads_the_decision() -> None:
    body = b'{"decision": "wait", "state": "TRYING", "deadline": "2026-11-21T09:30:00Z", "more": 1}'
    caller = Canned(Reply(200, {}, body))
    decision = await Inquirer(caller, "http://coordinator.test").ask("tx", "branch")

    url = "http://coordinator.test/api/v1/transactions/tx/inquiries"
    assert caller.called == [("POST", url, b'{"branchId":"branch"}')]
    assert decision.decision == "wait"
    assert decision.deadline_at == 1_795_253_400_000


async def test_a_deadline_that_can_t_be_read_is_none() -> None:
    caller = Canned(Reply(200, {}, b'{"decision": "wait", "deadline": "later"}'))
    decision = await Inquirer(caller, "http://coordinator.test").ask("tx", "branch")

    assert decision.deadline_at is None


@pytest.mark.parametrize(
    "reply",
    [
        Unreachable("Nobody there."),
        Reply(503, {}, b"{}"),
        Reply(404, {}, b"{}"),
        Reply(202, {}, b'{"decision": "cancel"}'),
        Reply(200, {}, b"<html>"),
        Reply(200, {}, b'{"decision": "perhaps"}'),
        Reply(200, {}, b""),
    ],
)
async def test_anything_else_means_that_nobody_can_tell(reply: Reply | Exception) -> None:
    with pytest.raises(Unreachable):
        await Inquirer(Canned(reply), "http://coordinator.test").ask("tx", "branch")
