"""Contests: several ways to do the same work, timed in turn in one process, or in processes of their own.

A benchmark is a file with a function that gives sections; a section is a table of cases by contestants:

    def sections(options):
        yield Section("em", "EM, one iteration", CASES, [Contestant("graft", graft), Contestant("hmmlearn", hmmlearn)])

    if __name__ == "__main__":
        main(sections)

A contestant's function gets the parameters of a case and returns the work, ready to be timed: a function without
arguments, or a `Step`. It raises `ImportError` if the peer is not there and `Unfit` if it cannot do the case. The first
contestant is the one that all others are compared with. What the steps return, if numbers, must agree.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: A block of calls is timed together until it takes so many seconds: a clock is too coarse for single short calls.
BLOCK_SECONDS = 0.004


class Unfit(Exception):
    """A contestant cannot do a case; the message says why."""


@dataclass(frozen=True)
class Case:
    """One piece of work.

    Attributes:
        name: the heading of its column.
        parameters: what contestants are given.
        quick: whether it is run with `--quick`.
        seconds: how long each contestant is timed in all, at the default effort.
        makes: how often all contestants are made afresh; where their memory lies decides on some per cent.
    """

    name: str
    parameters: tuple
    quick: bool = False
    seconds: float = 3.0
    makes: int = 1


@dataclass(frozen=True)
class Step:
    """Work that is ready to be timed.

    Attributes:
        run: does it; returns a number that must agree among contestants, or `None`.
        units: how many units of work that is, such as iterations; times are given for one.
        seconds: if it is timed elsewhere, in a process of its own: the seconds of the last run.
    """

    run: Callable[[], float | None]
    units: float = 1.0
    seconds: Callable[[], float] | None = None


@dataclass(frozen=True)
class Contestant:
    """A way to do the work: its name in the tables, what makes a step from the parameters of a case."""

    name: str
    make: Callable[..., Step | Callable[[], float | None]]


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes:
        key: names its place in the file of results.
        title: its heading.
        cases, contestants: columns and rows.
        about: a sentence or two below the heading.
        agree: how far the numbers that steps return may differ, relatively; `None` if they are not to be compared.
        unit: what a time is the time of.
    """

    key: str
    title: str
    cases: Sequence[Case]
    contestants: Sequence[Contestant]
    about: str = ""
    agree: float | None = 1e-4
    unit: str = "call"


@dataclass
class Record:
    """What was measured of one contestant at one case: seconds per unit, and the ratios to the first contestant.

    Attributes:
        times: of each block.
        ratios: of each block's time to that of the first contestant's block beside it.
        value: what the work returned.
        missing: why nothing was measured.
        warm: seconds of the first call.
    """

    times: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    value: float | None = None
    missing: str = ""
    warm: float = 0.0


Results = dict[tuple[str, str], Record]


def quantile(values: Sequence[float], share: float) -> float:
    """By linear interpolation."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def block(step: Step, calls: int) -> float:
    """Seconds per unit of so many calls."""
    if step.seconds is not None:
        total = 0.0
        for _ in range(calls):
            step.run()
            total += step.seconds()
    else:
        start = time.perf_counter()
        for _ in range(calls):
            step.run()
        total = time.perf_counter() - start
    return total / calls / step.units


def prepared(contestant: Contestant, case: Case) -> tuple[Step | None, Record]:
    """The step of a contestant, run once: compilation and caches are paid there."""
    record = Record()
    try:
        made = contestant.make(*case.parameters)
        step = made if isinstance(made, Step) else Step(made)
        start = time.perf_counter()
        value = step.run()
        record.warm = time.perf_counter() - start
    except ImportError as error:
        record.missing = f"not installed ({error})"
    except Unfit as error:
        record.missing = str(error)
    except Exception as error:  # a peer's failure is a result
        record.missing = f"failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    else:
        record.value = None if value is None else float(value)
        return step, record
    return None, record


def calls_of_a_block(step: Step, warm: float) -> int:
    """As many as make the clock's grain small; what took long the first time is not called again to find out."""
    return 1 if warm > 5.0 else max(1, round(BLOCK_SECONDS / max(1e-9, block(step, 1) * step.units)))


def contest(case: Case, contestants: Sequence[Contestant], effort: float) -> dict[str, Record]:
    """Times all that can do a case."""
    found = once(case, contestants, effort / case.makes)
    for turn in range(1, case.makes):
        # in another order, for what is made first is not placed like what is made last
        others = list(reversed(contestants[1:])) if turn % 2 else list(contestants[1:])
        again = once(case, [contestants[0], *others], effort / case.makes, last=turn % 2 == 1)
        for name, record in found.items():
            record.times += again[name].times
            record.ratios += again[name].ratios
    return found


def once(case: Case, contestants: Sequence[Contestant], effort: float, last: bool = False) -> dict[str, Record]:
    """Each peer's block is paired with a block of the first contestant just before it, which is made first or last."""
    order = [*contestants[1:], contestants[0]] if last else contestants
    ready = {contestant.name: prepared(contestant, case) for contestant in order}
    records = {name: record for name, (_, record) in ready.items()}
    steps = {name: step for name, (step, _) in ready.items() if step is not None}
    first = contestants[0].name
    if first not in steps:
        return records
    calls = {name: calls_of_a_block(step, records[name].warm) for name, step in steps.items()}
    spent = dict.fromkeys(steps, 0.0)
    share = case.seconds * effort
    for turn in range(400):
        # three blocks at least, but of what takes very long only one or two
        due = [name for name in steps if turn == 0 or spent[name] < (2 * share if turn < 3 else share)]
        if not [name for name in due if name != first] and (len(steps) > 1 or not due):
            break
        for name in due:
            if name == first and len(steps) > 1:
                continue
            own = block(steps[first], calls[first])
            records[first].times.append(own)
            spent[first] += own * steps[first].units * calls[first]
            if name != first:
                taken = block(steps[name], calls[name])
                records[name].times.append(taken)
                records[name].ratios.append(taken / own)
                spent[name] += taken * steps[name].units * calls[name]
    return records


def disagreement(records: dict[str, Record], tolerance: float | None) -> list[str]:
    """Names of contestants whose result differs from the first one's."""
    values = {name: record.value for name, record in records.items() if record.value is not None and not record.missing}
    if tolerance is None or len(values) < 2:
        return []
    name, want = next(iter(values.items()))
    return [
        f"{other} has {got:.8g} where {name} has {want:.8g}"
        for other, got in values.items()
        if not abs(got - want) <= tolerance * max(1.0, abs(want))
    ]


def parser() -> argparse.ArgumentParser:
    """The options of every benchmark."""
    options = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    options.add_argument("--peers", help="a folder that peers were installed into")
    options.add_argument("--jax", help="a Python that has the peers made with JAX")
    options.add_argument("--data", help="a folder with data sets that some benchmarks need")
    options.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="threads of each contestant")
    options.add_argument("--effort", type=float, default=1.0, help="scales the seconds of every case")
    options.add_argument("--quick", action="store_true", help="fewer cases, a quarter of the effort")
    options.add_argument("--only", nargs="*", help="contestants beside the first")
    options.add_argument("--cases", nargs="*", help="names of cases")
    options.add_argument("--sections", nargs="*", help="keys of sections")
    options.add_argument("--write", help="the Markdown file whose sections are replaced")
    return options


def narrowed(section: Section, options: argparse.Namespace) -> tuple[list[Case], list[Contestant]]:
    """What of a section is asked for."""
    cases = [case for case in section.cases if case.quick or not options.quick]
    if options.cases:
        cases = [case for case in section.cases if case.name in options.cases]
    first, *others = section.contestants
    others = [other for other in others if options.only is None or other.name in options.only]
    return cases, [first, *others]


def setup(options: argparse.Namespace) -> None:
    """Where peers are found, and threads; before numerical libraries are imported."""
    if options.peers:
        sys.path.append(str(Path(options.peers).resolve()))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(options.threads))
    import torch

    torch.set_num_threads(options.threads)


def main(sections: Callable[[argparse.Namespace], Iterable[Section]]) -> None:
    """Runs the sections of a benchmark, prints their tables, and writes them if `--write` says where."""
    from report import show, write

    options = parser().parse_args()
    setup(options)
    for section in sections(options):
        if options.sections and section.key not in options.sections:
            continue
        cases, contestants = narrowed(section, options)
        results: Results = {}
        notes = []
        for case in cases:
            records = contest(case, contestants, options.effort * (0.25 if options.quick else 1.0))
            notes += [f"{case.name}: {note}" for note in disagreement(records, section.agree)]
            results.update({(name, case.name): record for name, record in records.items()})
        show(section, cases, contestants, results, notes)
        if options.write:
            write(Path(options.write), section, cases, contestants, results, notes, options)
