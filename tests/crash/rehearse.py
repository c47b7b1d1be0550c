"""Plays one case of the crash matrix on the stage, and judges how it ended.

While the process lies dead, the supervisor stands still: what is durable then can be looked at in peace, and
the time until all is final is counted from when it goes on. Where there is another instance of the program,
it goes on at once: then there is no scene to look at, and it has to finish everything by itself.
"""

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Final

from cli.datadir import started_at
from shared.settings import PORTS
from tests.collector import collect
from tests.crash.acts import several
from tests.crash.arms import Action
from tests.crash.cases import Case
from tests.crash.scene import PARTICIPANTS, Scene, scene_of, toys_of, transaction_of, unlike
from tests.crash.stage import Stage
from tests.crash.toy import NAME, TOYS
from tests.e2e.waiting import until
from tests.invariants import broken, unfinished, unkept
from tests.snapshot import Reservation, Snapshot

KILLED_WITHIN: Final = 45.0
SCENE_WITHIN: Final = 5.0
FINAL_WITHIN: Final = 60.0
LOOK: Final = 0.2
_NUMBER: Final = re.compile(r"-\d+(?= )")
"""What tells one instance's name from another's."""


@dataclass(slots=True)
class Result:
    """How a case ended. pid: of the process that was killed; seconds: from healing until all was final;
    wrong: what was not as required, nothing where all was."""

    case: Case
    pid: int | None = None
    seconds: float | None = None
    wrong: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.wrong


async def rehearse(stage: Stage, case: Case) -> Result:
    """Kill at the case's point, heal, and wait for the end."""
    result = Result(case)
    said = len(stage.stack.output)
    for place in case.waits:
        stage.make_wait(place)
    label = case.label
    alive = stage.pids(case.victim) if case.victim in PORTS or case.victim == NAME else set()
    taken_over = stage.instances > 1 and case.victim in PORTS
    try:
        async with _playing(stage, case, result):
            async with _nobody_comes_back(stage, case, result):
                stage.arms.arm(label, Action.DIE)
                await until(
                    lambda: stage.arms.struck(label) is not None, "the point is reached", KILLED_WITHIN
                )
                result.pid = stage.arms.struck(label)
                assert result.pid is not None
                if result.pid not in (alive or stage.pids(case.victim)):
                    result.wrong.append(f"process {result.pid} died, and {case.victim} was {alive}")
                await until(lambda: started_at(result.pid or 0) is None, "the process is gone")
                healed = time.monotonic()
                if taken_over:
                    await case.aftermath(stage, case.name)
                    result.wrong += await _until_at_rest(stage)
                else:
                    result.wrong += await _scene(stage, case)
            if not taken_over:
                healed = time.monotonic()
                await case.aftermath(stage, case.name)
        left = await _until_at_rest(stage)
        result.seconds = None if left else time.monotonic() - healed
        result.wrong += left
        result.wrong += await case.proof(stage, case.name)
        result.wrong += [*_killed_by_signal(stage, case, said), *await _ends(stage, case)]
        result.wrong += await _judged(stage)
    except Exception as error:  # noqa: BLE001 - whatever happens is the case's result; the next one may do well
        result.wrong.append(f"{type(error).__name__}: {error}")
    finally:
        stage.arms.disarm(label)
        stage.let_pass()
    stage.left_behind.update(result.wrong)
    return result


@contextlib.asynccontextmanager
async def _playing(stage: Stage, case: Case, result: Result) -> AsyncIterator[None]:
    """Have the act played meanwhile; what goes wrong in it is the case's."""
    act = asyncio.create_task(case.act(stage, case.name), name=f"act of {case.name}")
    try:
        yield
    except BaseException:
        act.cancel()
        await asyncio.wait([act])
        if not act.cancelled() and act.exception() is not None:
            result.wrong.append(f"the act: {act.exception()!r}")
        raise
    await act


@contextlib.asynccontextmanager
async def _nobody_comes_back(stage: Stage, case: Case, result: Result) -> AsyncIterator[None]:
    """Keep the victim from being started again until the end of the block."""
    if case.victim in PORTS:
        stage.freeze_supervisor()
        try:
            yield
        finally:
            stage.thaw_supervisor()
        if stage.instances > 1:
            # Nobody waits for it any more, so that the next case could begin too early.
            await until(stage.is_complete, f"{case.victim} is started again")
        return
    yield
    code = await stage.end(case.victim)
    if code != -signal.SIGKILL:
        result.wrong.append(f"{case.victim} ended with {code}")
    if case.victim == NAME:
        stage.start_toy()


async def _scene(stage: Stage, case: Case) -> list[str]:
    """Return what is not as it must be while the process lies dead; others may still be at work on it.

    Of several orders, it must be so of one: which of them it met is chance.
    """
    deadline = time.monotonic() + SCENE_WITHIN
    while True:
        found = [
            unlike(await _scene_of_order(stage, name), dict(case.scene))
            for name in several(case.name, case.orders)
        ]
        if not all(found):
            return []
        if time.monotonic() > deadline:
            return [f"at the scene, {name} is {what}" for name, what in found[0].items()]
        await asyncio.sleep(LOOK / 4)


async def _until_at_rest(stage: Stage) -> list[str]:
    """Return what is still under way after FINAL_WITHIN; nothing, as soon as nothing is."""
    deadline = time.monotonic() + FINAL_WITHIN
    while True:
        left = [str(finding) for finding in unfinished(await _snapshot(stage))]
        scene = await scene_of(stage.stack.settings, None)
        left += [f"{name}: {scene[name]}" for name in scene if name.endswith(" outbox") and scene[name]]
        left = [one for one in left if one not in stage.left_behind]
        if not left or time.monotonic() > deadline:
            return left
        await asyncio.sleep(LOOK)


async def _judged(stage: Stage) -> list[str]:
    """Return what breaks an invariant or a promise, and what customers were told wrongly."""
    snapshot = await _snapshot(stage)
    wrong = [*map(str, broken(snapshot)), *map(str, unkept(snapshot, stage.customers.promises))]
    toys = await toys_of(stage.stack.settings)
    if toys != (TOYS - stage.gateway.kept, stage.gateway.held, stage.gateway.kept):
        wrong.append(f"the toy has {toys}, and the gateway {stage.gateway.held, stage.gateway.kept}")
    wrong += stage.customers.wrong
    stage.customers.wrong.clear()
    return [one for one in wrong if one not in stage.left_behind]


async def _snapshot(stage: Stage) -> Snapshot:
    """Take the snapshot of the stack, the toy's reservations among the others."""
    snapshot = await collect(stage.read, stage.deposits)
    toys = (await stage.read(NAME, "/toys?limit=500"))["items"]
    reservations = [Reservation(NAME, one["id"], one["state"], one["transactionId"]) for one in toys]
    return replace(snapshot, reservations=(*snapshot.reservations, *reservations))


def _killed_by_signal(stage: Stage, case: Case, said: int) -> list[str]:
    """Return what contradicts that the victim, and no other process of the stack, was ended by SIGKILL."""
    ends = [line for line in stage.stack.output[said:] if "it is started again" in line]
    expected = [f"{case.victim} was ended by SIGKILL"] if case.victim in PORTS else []
    if [_NUMBER.sub("", line.partition(";")[0]) for line in ends] == expected:
        return []
    return [f"the supervisor saw: {'; '.join(ends) or 'nobody die'}"]


async def _ends(stage: Stage, case: Case) -> list[str]:
    """Return which order, transaction, branch or reservation did not end as required."""
    wrong = []
    for name in several(case.name, case.orders):
        scene = await _scene_of_order(stage, name)
        parts = [
            "transaction",
            "order",
            *(f"{one} {what}" for one in PARTICIPANTS for what in ("branch", "holds")),
        ]
        wrong += [
            f"{name}: {part} is {scene[part]}"
            for part in parts
            if scene.get(part) not in (None, case.end, "REFUSED")
        ]
        if scene["transaction"] != case.end:
            wrong.append(f"{name}: the transaction is {scene['transaction']}")
    return wrong


async def _scene_of_order(stage: Stage, name: str) -> Scene:
    """Return the scene of a case's order's transaction, or of that which has the name itself."""
    settings = stage.stack.settings
    return await scene_of(settings, await transaction_of(settings, name) or name)
