"""The clock of those who share a store: the machine's own, set right by the store's."""

from shared.store_clock import StoreClock

TEN_MINUTES = 600_000


class Machine:
    """A machine's clock that is set by hand."""

    def __init__(self, now: int) -> None:
        self.at = now

    def now(self) -> int:
        return self.at


def test_it_is_the_machines_until_the_store_was_asked() -> None:
    assert StoreClock(Machine(7_000)).now() == 7_000


def test_a_machine_that_is_minutes_off_goes_by_the_store() -> None:
    for wrong in (TEN_MINUTES, -TEN_MINUTES):
        machine = Machine(1_000_000 + wrong)
        clock = StoreClock(machine)
        clock.compare(machine.at, 1_000_002, machine.at + 4)
        assert clock.now() == 1_000_000
        assert clock.ahead == -wrong


def test_what_may_still_be_true_is_kept() -> None:
    clock = StoreClock(Machine(0))
    clock.compare(0, 5_000, 10)
    clock.compare(100, 5_100, 120)
    assert clock.ahead == 4_995, "so that time doesn't waver with every comparison"
    clock.compare(200, 5_300, 210)
    assert clock.ahead == 5_095


def test_an_answer_that_took_too_long_tells_nothing_once_it_is_known() -> None:
    clock = StoreClock(Machine(0))
    clock.compare(0, 5_000, 2_000)
    assert clock.ahead == 4_000, "better than nothing"
    clock.compare(10_000, 99_000, 12_000)
    assert clock.ahead == 4_000
