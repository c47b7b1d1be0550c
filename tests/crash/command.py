"""The `handfast` command for the matrix: what it starts, and it itself, can be killed at crash points."""

from collections.abc import Mapping
from pathlib import Path

import cli.up
from cli.launcher import ForkedProgram, ForkServerClient
from cli.main import main as real_main
from tests.crash.program import MODULE, PROGRAM, watch_points


class WatchingForkServer(ForkServerClient):
    """Forks tests.crash.program in the place of each program, and tells it whom to run."""

    async def launch(
        self, name: str, module: str, log: Path, environment: Mapping[str, str]
    ) -> ForkedProgram:
        program, _, _instance = name.partition("-")
        told = {**environment, PROGRAM: program, MODULE: module}
        return await super().launch(name, "tests.crash.program", log, told)


def main() -> None:
    watch_points("command")
    # `up` makes its own fork server; this is the one name by which it knows the class.
    vars(cli.up)["ForkServerClient"] = WatchingForkServer
    real_main()


if __name__ == "__main__":
    main()
