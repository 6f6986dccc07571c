"""PGMax's loopy belief propagation, in a Python of its own: see `foreign.py`."""

from __future__ import annotations

from foreign import serve
from loopy_bp import COUPLING, STEPS, fields


def make(side):
    """The work: all marginals of a grid after 100 damped steps."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.extend import backend

    # where PGMax looks for it
    jax.lib.xla_bridge = backend
    from pgmax import fgraph, fgroup, infer, vgroup

    elements = vgroup.NDVarArray(num_states=2, shape=(side, side))
    graph = fgraph.FactorGraph(variable_groups=elements)
    down = [[elements[i, j], elements[i + 1, j]] for i in range(side - 1) for j in range(side)]
    across = [[elements[i, j], elements[i, j + 1]] for i in range(side) for j in range(side - 1)]
    pair = COUPLING * np.array([[1.0, -1.0], [-1.0, 1.0]])
    graph.add_factors(fgroup.PairwiseFactorGroup(variables_for_factors=down + across, log_potential_matrix=pair))
    bp = infer.build_inferer(graph.bp_state, backend="bp")
    evidence = jnp.asarray(fields(side))

    @jax.jit
    def marginals(evidence):
        arrays = bp.init(evidence_updates={elements: evidence})
        arrays = bp.run(arrays, num_iters=STEPS, damping=0.5, temperature=1.0)
        return infer.get_marginals(bp.get_beliefs(arrays))[elements]

    return lambda: float(jax.block_until_ready(marginals(evidence))[..., 1].mean())


if __name__ == "__main__":
    serve(make)
