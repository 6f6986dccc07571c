"""All marginals of Bayesian networks given evidence on a tenth of their variables, beside pyAgrum and pgmpy."""

from __future__ import annotations

import gzip
import random
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from harness import Case, Contestant, Section, Unfit, main

from graft.formats import read

#: Networks whose cliques have more than 10^5 joint states also with this evidence.
WIDE = ("water", "mildew", "barley", "munin1")
SMALL = (
    "asia",
    "cancer",
    "sachs",
    "alarm",
    "insurance",
    "hailfinder",
    "hepar2",
    "win95pts",
    "pathfinder",
    "andes",
    "pigs",
)
ROWS = 1000


class Networks:
    """Networks from the folder of pgmpy, which carries them, or from the data folder."""

    def __init__(self, peers: str | None, data: str | None) -> None:
        self.folders = [Path(peers) / "pgmpy" / "utils" / "example_models"] if peers else []
        self.folders += [Path(data) / "bif"] if data else []

    @cache  # noqa: B019
    def text(self, name: str) -> str:
        for folder in self.folders:
            if (path := folder / f"{name}.bif.gz").exists():
                return gzip.decompress(path.read_bytes()).decode()
        raise Unfit(f"no file {name}.bif.gz in the folder of peers or data")

    @cache  # noqa: B019
    def file(self, name: str) -> Path:
        path = Path(tempfile.mkdtemp()) / f"{name}.bif"
        path.write_text(self.text(name))
        return path

    @cache  # noqa: B019
    def model(self, name: str):
        return read(self.file(name))

    @cache  # noqa: B019
    def evidence(self, name: str, rows: int) -> dict[str, list[int]]:
        """States of a tenth of the variables, the same ones in all rows, drawn from the network."""
        model = self.model(name)
        names = sorted(model.graph.variables)
        chosen = random.Random(0).sample(names, max(1, round(0.1 * len(names))))
        drawn = model.sample((rows,), seed=1)
        return {name: drawn[name].tolist() for name in chosen}


#: The call (after the one that compiles) whose answers are compared, with the second row of evidence: a sum of squares
#: at each call would be timed with the query.
CHECKED = 2


def checksum(found: list) -> float:
    return float(sum((p * p).sum() for p in found))


def contestants(networks: Networks) -> tuple[list[Contestant], list[Contestant]]:
    def graft(name: str):
        model, evidence, turn = networks.model(name), networks.evidence(name, 2), [0]

        def run() -> float:
            turn[0] += 1
            given = {key: torch.tensor(values[(turn[0] + 1) % 2]) for key, values in evidence.items()}
            with torch.no_grad():
                marginals = model.given(given).marginals
                found = [marginals[key].probs for key in marginals]
            return checksum(found) if turn[0] == CHECKED else None

        run()
        return run

    def graft_rows(name: str, rows: int):
        model, evidence = networks.model(name), networks.evidence(name, rows)

        def run() -> float:
            with torch.no_grad():
                marginals = model.given({key: torch.tensor(values) for key, values in evidence.items()}).marginals
                found = [marginals[key].probs for key in marginals]
            return float(sum((p * p).sum() for p in found)) / rows

        return run

    def lazy(name: str, rows: int):
        """pyAgrum's join tree is made once; only the values of the evidence change."""
        import pyagrum

        try:
            net = pyagrum.loadBN(str(networks.file(name)))
        except Exception as error:
            raise Unfit(f"cannot read {name}: {str(error).splitlines()[0]}") from error
        evidence = networks.evidence(name, rows)
        engine = pyagrum.LazyPropagation(net)
        engine.setEvidence({key: values[0] for key, values in evidence.items()})
        free = [key for key in net.names() if key not in evidence]

        def ask(row: int) -> list:
            for key, values in evidence.items():
                engine.chgEvidence(key, values[row])
            engine.makeInference()
            return [engine.posterior(key).toarray() for key in free]

        return ask

    def pyagrum_one(name: str):
        ask, turn = lazy(name, 2), [0]

        def run() -> float:
            turn[0] += 1
            found = ask((turn[0] + 1) % 2)
            return checksum(found) if turn[0] == CHECKED else None

        run()
        return run

    def pyagrum_rows(name: str, rows: int):
        ask = lazy(name, rows)
        return lambda: sum(float(sum((p * p).sum() for p in ask(row))) for row in range(rows)) / rows

    def pgmpy_one(name: str):
        if name not in ("asia", "cancer", "sachs"):
            raise Unfit("one query for each variable: seconds to minutes")
        from pgmpy.inference import BeliefPropagation
        from pgmpy.readwrite import BIFReader

        reader = BIFReader(string=networks.text(name))
        model = reader.get_model()
        states = {key: model.get_cpds(key).state_names[key] for key in model.nodes()}
        given = {key: states[key][values[1]] for key, values in networks.evidence(name, 2).items()}
        engine = BeliefPropagation(model)
        free = [key for key in model.nodes() if key not in given]

        def run() -> float:
            found = [engine.query([key], evidence=given, show_progress=False).values for key in free]
            return float(sum((p * p).sum() for p in found))

        return run

    one = [Contestant("graft", graft), Contestant("pyAgrum", pyagrum_one), Contestant("pgmpy", pgmpy_one)]
    return one, [Contestant("graft", graft_rows), Contestant("pyAgrum, row by row", pyagrum_rows)]


def sections(options) -> Iterator[Section]:
    one, rows = contestants(Networks(options.peers, options.data))
    about = (
        "All marginals of one row, evidence on 10% of the variables, values changing from call to call: what "
        "depends on the pattern alone (orders, join trees) is made before. graft computes in double precision."
    )
    wide = [Case(name, (name,), quick=name == "water") for name in WIDE]
    small = [Case(name, (name,), quick=name in ("asia", "alarm"), seconds=1.5) for name in SMALL]
    yield Section("networks-wide", "Networks with cliques above 10^5", wide, one, about=about, agree=1e-4)
    yield Section("networks-small", "Smaller networks", small, one, about=about, agree=1e-4)
    batch = [Case(f"alarm, {ROWS} rows", ("alarm", ROWS), quick=True, seconds=6.0)]
    yield Section("networks-rows", "A batch of evidence", batch, rows, about="The same for many rows.", agree=1e-4)


if __name__ == "__main__":
    main(sections)
