"""Tables of contests: on the terminal, and as sections of a Markdown file."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from harness import Case, Contestant, Record, Results, Section, geometric_mean, quantile
from rich.console import Console
from rich.table import Table

#: Packages whose versions are told where they are installed.
PACKAGES = "torch numba numpy pytorch-crf torch-struct pyro-ppl hmmlearn pomegranate pyagrum pgmpy".split()
HEADER = "# Benchmarks\n\nWritten by `make bench`, section by section; `benchmarks/README.md` says how.\n"


def milliseconds(record: Record) -> str:
    """The median, and the least time in brackets."""
    if not record.times:
        return "-"
    return f"{short(1e3 * median(record.times))} ({short(1e3 * min(record.times))})"


def ratio(record: Record) -> str:
    """The median of paired ratios, and their 10% and 90% quantiles."""
    if not record.ratios:
        return "-"
    low, high = (quantile(record.ratios, share) for share in (0.1, 0.9))
    return f"{short(median(record.ratios))} [{short(low)}, {short(high)}]"


def short(value: float) -> str:
    """Three digits, or all digits of a greater number."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def means(name: str, cases: Sequence[Case], results: Results) -> str:
    """The geometric mean of the median ratios, and the least."""
    found = [median(r.ratios) for case in cases if (r := results[name, case.name]).ratios]
    return f"{short(geometric_mean(found))}, least {short(min(found))}" if found else "-"


def rows(cases: Sequence[Case], contestants: Sequence[Contestant], results: Results) -> list[list[str]]:
    """Times of each contestant, then how many times slower each is than the first."""
    first, *others = contestants
    table = []
    for contestant in contestants:
        own = [milliseconds(results[contestant.name, case.name]) for case in cases]
        table.append([f"{contestant.name}, ms", *own, ""])
    for other in others:
        own = [ratio(results[other.name, case.name]) for case in cases]
        table.append([f"{other.name} / {first.name}", *own, means(other.name, cases, results)])
    return table


def left_out(cases: Sequence[Case], contestants: Sequence[Contestant], results: Results) -> list[str]:
    """Who did not run what, and why; one line for each reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for contestant in contestants:
        for case in cases:
            missing = results[contestant.name, case.name].missing
            if missing:
                reasons.setdefault((contestant.name, missing), []).append(case.name)
    return [
        f"{name} left out{'' if len(which) == len(cases) else ' at ' + '; '.join(which)}: {why}"
        for (name, why), which in reasons.items()
    ]


def show(
    section: Section,
    cases: Sequence[Case],
    contestants: Sequence[Contestant],
    results: Results,
    notes: Sequence[str],
) -> None:
    """Prints a section."""
    table = Table(title=f"{section.title}: ms a {section.unit}, median (least); ratios, median [10%, 90%]")
    for heading in ("", *(case.name for case in cases), "geometric mean"):
        table.add_column(heading)
    for row in rows(cases, contestants, results):
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    console = Console(width=None if os.isatty(1) else 200)
    console.print(table)
    for line in (*left_out(cases, contestants, results), *(f"DIFFERENT: {note}" for note in notes)):
        console.print(f"  {line}", markup=False)


def markdown(
    section: Section,
    cases: Sequence[Case],
    contestants: Sequence[Contestant],
    results: Results,
    notes: Sequence[str],
    options: argparse.Namespace,
) -> str:
    """A section as text."""
    lines = [f"## {section.title}", "", *([section.about, ""] if section.about else [])]
    lines += [f"Milliseconds a {section.unit}: median (least). Ratios of paired blocks: median [10%, 90%].", ""]
    lines += ["| | " + " | ".join(case.name for case in cases) + " | geometric mean |"]
    lines += ["|---" * (len(cases) + 2) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(cases, contestants, results)]
    tail = [*left_out(cases, contestants, results), *(f"**Different result**: {note}" for note in notes)]
    lines += ["", *(f"- {line}" for line in tail), *([""] if tail else []), circumstances(options)]
    return "\n".join(lines)


def circumstances(options: argparse.Namespace) -> str:
    """Date, machine class, threads, versions."""
    packages = [f"{name} {found}" for name in PACKAGES if (found := installed(name))]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    quick = ", with --quick" if options.quick else ""
    return f"{today}{quick}; {machine()}; {options.threads} threads each; load {load()}; {', '.join(packages)}."


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def machine() -> str:
    """Cores, processor and vector width."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    flags = next((flag for flag in ("avx512f", "avx2", "asimd") if re.search(rf"\b{flag}\b", text)), "")
    name = model[1] if model else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores of {re.sub(r'[(](R|TM)[)]', '', name)}{', ' + flags if flags else ''}"


def load() -> str:
    """How busy the machine was in the last minutes."""
    return f"{os.getloadavg()[1]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def write(
    path: Path,
    section: Section,
    cases: Sequence[Case],
    contestants: Sequence[Contestant],
    results: Results,
    notes: Sequence[str],
    options: argparse.Namespace,
) -> None:
    """Replaces a section of the file, or adds it at the end."""
    replace(path, section.key, markdown(section, cases, contestants, results, notes, options))


def replace(path: Path, key: str, text: str) -> None:
    """Puts text between the marks of a section."""
    before, after = f"<!-- begin {key} -->", f"<!-- end {key} -->"
    whole = path.read_text() if path.exists() else HEADER
    block = f"{before}\n\n{text}\n\n{after}"
    if before in whole:
        start, end = whole.index(before), whole.index(after) + len(after)
        whole = whole[:start] + block + whole[end:]
    else:
        whole = f"{whole.rstrip()}\n\n{block}\n"
    path.write_text(whole)
