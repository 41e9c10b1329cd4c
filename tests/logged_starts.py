"""Starts for `test_sweep`, which its worker processes import without all that tests need."""

import os
import signal
from pathlib import Path


def logged(flow, rng, log, fatal=-1):
    """A random start. Writes down that it was asked for; the first time that it is the fatal member's, its process is
    killed."""
    member = rng.bit_generator.seed_seq.spawn_key[0]
    with open(Path(log, "calls"), "a") as calls:
        calls.write(f"{member} ")
    if member == fatal and not Path(log, "killed").exists():
        Path(log, "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1e-2 * rng.uniform(0.1, 1.0, flow.scheme.modes)
