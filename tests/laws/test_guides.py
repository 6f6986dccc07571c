"""A guide runs beside its model: every pair of the table, with evidence, ragged rows and batches."""

import pytest
import torch

from graft.errors import GraftError
from graft.inference.guided.general import run
from graft.inference.program import join
from graft.inference.settle import settle
from graft.zoo.formulas import SYSTEMS

PAIRS = {name: system for name, system in SYSTEMS.items() if system.guide is not None}
BATCHES = [(), (3,), (2, 3)]


def drawn(_, density, lead):
    return density.draw(lead)


def evidence(system, model, guide, batch):
    """What the guide conditions on: drawn by the model itself, all but what the guide proposes."""
    drawn = model.sample(batch, **system.inputs(()), sizes=system.sizes)
    inputs = {n: v.expand(*batch, *v.shape) for n, v in system.inputs(()).items()}
    proposed = {n for n, v in guide.graph.variables.items() if v.nodes}
    kept = {n: drawn[n] for n in model.graph.random if n not in proposed}
    return {**{n: v for n, v in inputs.items() if n not in proposed}, **kept}


@pytest.mark.parametrize("name", PAIRS)
def test_every_guide_joins_its_model(name):
    model, guide = PAIRS[name].model(), PAIRS[name].guide()
    program = join(model.graph, guide.joined(model))
    assert program.proposes


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_every_directed_guide_runs_beside_its_model(name, batch):
    torch.manual_seed(0)
    system = PAIRS[name]
    model, guide = system.model(), system.guide()
    program = join(model.graph, guide.joined(model))
    known = evidence(system, model, guide, batch)
    options = {n: known.pop(n) for n in ("lengths", "mask") if n in known}
    situation = settle(model.graph, known, **options, sizes={**model.sizes, **system.sizes}, batch=batch)
    if not guide.graph.directed:
        with pytest.raises(GraftError, match="potentials in a guide"):
            run(program, situation, (), drawn)
        return
    trace = run(program, situation, (), drawn)
    frame = situation.frame
    assert frame.batch == batch
    for one in program.proposes:
        value = trace.situation.given[one].value
        axes = model.graph.variables[one].axes
        assert value.shape[: len(batch) + len(axes)] == frame.shape(axes)
    for node in trace.guide:
        assert torch.isfinite(trace.log_q(node)).all()
