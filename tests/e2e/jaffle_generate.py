"""Runs `jafgen`, the generator of a coffee shop's customers, products and orders, from a seed.

    python -m tests.e2e.jaffle_generate SEED DAYS

It writes jaffle-data/raw_*.csv into the current directory, as `jafgen 1` does for 365 days. The package draws
from Python's, NumPy's and Faker's generators and from uuid4, none of which it seeds; here all of them follow
the seed, so that a run that fails can be repeated on the very same orders. The first days don't depend on
how many follow. It runs in a process of its own because it replaces what others may use.
"""

import random
import sys
import uuid

import numpy as np


def main(seed: int, days: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    ids = random.Random(seed)
    uuid.uuid4 = lambda: uuid.UUID(int=ids.getrandbits(128), version=4)
    from faker import Faker
    from jafgen.simulation import Simulation

    Faker.seed(seed)
    shop = Simulation(1, "raw")
    shop.sim_days = days
    shop.run_simulation()
    shop.save_results()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
