"""Networks of the data folder: everything their reference results say, and a plain elimination of our own."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from tests.reference.elimination import eliminated

from graft.formats import read, read_evidence, read_result

BIF = ("asia", "cancer", "earthquake", "survey", "sachs", "child", "alarm", "insurance")
UAI = ("Promedus_24", "Grids_12")
WIDE = ("Promedus_15", "CSP_12", "Pedigree_12", "Alchemy_11", "Grids_11", "Segmentation_11", "DBN_11", "DBN_14")
instances = pytest.mark.parametrize("name", [*UAI, *(pytest.param(n, marks=pytest.mark.slow) for n in WIDE)])


@pytest.mark.parametrize("name", BIF)
def test_all_marginals_of_a_bif_network(name, data_folder):
    model = read(data_folder / "bif" / f"{name}.bif.gz")
    shuffled, names = random.Random(0), list(model.graph.variables)
    for share in (0.0, 0.1, 0.3):
        drawn = model.sample((3,), seed=round(100 * share))
        chosen = shuffled.sample(names, round(share * len(names)))
        posterior = model.given({key: drawn[key] for key in chosen})
        for row in range(3 if chosen else 1):
            known = {key: int(drawn[key][row]) for key in chosen}
            log_z, marginals = eliminated(model, known)
            value = posterior.log_partition[row] if chosen else posterior.log_partition
            assert float(value.detach()) == pytest.approx(log_z, abs=1e-9)
            for key, wanted in marginals.items():
                found = posterior.marginals[key].probs
                found = found[row] if chosen else found
                assert np.allclose(found.detach().numpy(), wanted, rtol=0, atol=1e-10), (name, key, known)


@instances
def test_a_uai_instance_equals_its_reference_files(name, data_folder):
    """PR to its six digits, MAR to its printed digits, MAP where the file has the true optimum."""
    folder = data_folder / "uai"
    model = read(folder / f"{name}.uai")
    evidence = read_evidence(folder / f"{name}.uai.evid", model)
    with torch.no_grad():
        posterior = model.given(evidence)
        reference = read_result(folder / f"{name}.uai.PR", model).log_partition
        assert reference is not None
        found, wanted = float(posterior.log_partition) / math.log(10), float(reference) / math.log(10)
        assert found == pytest.approx(wanted, rel=5e-6)
        marginals = read_result(folder / f"{name}.uai.MAR", model).marginals
        assert marginals
        for key in posterior.marginals:
            assert torch.allclose(posterior.marginals[key].probs, marginals[key], rtol=0, atol=5.1e-7), key
        if (folder / f"{name}.uai.MAP").exists():
            best = read_result(folder / f"{name}.uai.MAP", model).mode
            assert best
            mine = model.score({**posterior.mode(), **evidence})
            assert float(mine) == pytest.approx(float(model.score(dict(best))), abs=1e-9)
