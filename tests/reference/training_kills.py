"""Runs of `training_run` in forked processes that are killed; a program of its own, so that it forks without threads.

    python -m tests.reference.training_kills FOLDER RANDOM CALLS

RANDOM runs are killed at random moments, CALLS before a call that changes the disk, evenly among the first 60. Prints,
as JSON, one line per way of killing: its name, how often a process was killed, and whether what was left at the end is
exactly that of a run that nobody interrupted.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

torch.set_num_threads(1)

from tests.reference.training_run import left, train  # noqa: E402

SEED = 20  # of the moments; the machine's speed decides what happens in them


def forked(folder, before):
    """A process that trains; its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        before()
        train(folder)
        code = 0
    finally:
        os._exit(code)


def ended(child):
    """Was it killed? Anything but that and success is an error."""
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    if status:
        raise SystemExit(f"a run failed with status {status}")
    return False


def fast():
    """What a killed process wrote is not lost, only what a machine did: a busy disk need not be waited for."""
    os.fsync = lambda number: None


def slow():
    """Most of the time goes by inside writes."""
    os.fsync = lambda number: time.sleep(0.002)


def suicidal(call):
    """Killed before the given call that changes the disk."""
    count = 0
    fast()

    def counted(real):
        def one(*arguments, **options):
            nonlocal count
            count += 1
            if count == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return one

    for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))


def at_random(folder, moments, duration, before):
    """Killed at random moments, up to three times, then left alone."""
    kills = 0
    for _ in range(3):
        child = forked(folder, before)
        time.sleep(moments.uniform(0, duration))
        os.kill(child, signal.SIGKILL)
        if not ended(child):
            return kills
        kills += 1
    assert not ended(forked(folder, before))
    return kills


def at_call(folder, call):
    """Killed before one call, then left alone."""
    killed = ended(forked(folder, lambda: suicidal(call)))
    assert not ended(forked(folder, fast))
    return int(killed)


def main(folder, count, calls):
    moments, expected = random.Random(SEED), folder / "whole"
    train(folder / "first")  # imports everything that is imported late
    durations = {}
    for before in (fast, slow):
        started = time.perf_counter()
        target = expected if before is not slow else folder / "slow"
        assert not ended(forked(target, before))
        durations[before is slow] = time.perf_counter() - started
    wanted = left(expected)
    for i in range(count):
        place, slowly = folder / f"random {i}", i % 2 == 1
        kills = at_random(place, moments, durations[slowly], slow if slowly else fast)
        print(json.dumps([place.name, kills, left(place) == wanted]), flush=True)
    for call in range(1, 61, 60 // calls):
        place = folder / f"call {call}"
        kills = at_call(place, call)
        print(json.dumps([place.name, kills, left(place) == wanted]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
