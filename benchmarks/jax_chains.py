"""dynamax's compiled chains, in a Python of their own: see `foreign.py`."""

from __future__ import annotations

import numpy as np
from foreign import serve


def make(query, rows, steps, states, *more):
    """The work: `log_z`, `mode`, `marginals` or `sample` of the potentials that `potentials.py` makes."""
    import jax
    import jax.numpy as jnp
    from dynamax.hidden_markov_model import hmm_filter, hmm_posterior_mode, hmm_posterior_sample, hmm_smoother
    from potentials import arrays

    unary, pairwise = (jnp.asarray(x) for x in arrays(rows, steps, states))
    first = jnp.full(states, 1 / states)
    if query == "log_z":

        def total(unary, pairwise):
            each = jax.vmap(lambda u: hmm_filter(first, jnp.exp(pairwise), u).marginal_loglik)
            return each(unary).sum()

        gradient = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))

        def run():
            value = jax.block_until_ready(gradient(unary, pairwise))[0]
            return float(value) + rows * np.log(states)

        return run
    table = jnp.exp(pairwise)
    if query == "mode":
        found = jax.jit(jax.vmap(lambda u: hmm_posterior_mode(first, table, u)))
    elif query == "marginals":
        found = jax.jit(jax.vmap(lambda u: hmm_smoother(first, table, u).smoothed_probs))
    else:
        keys = jax.random.split(jax.random.key(0), more[0])
        one = jax.vmap(lambda key, u: hmm_posterior_sample(key, first, table, u)[1], (0, None))
        found = jax.jit(lambda: jax.vmap(one, (None, 0))(keys, unary))
        return lambda: jax.block_until_ready(found()) is None or None

    def answer():
        result = jax.block_until_ready(found(unary))
        return float(result[:, 0].sum()) if query == "marginals" else None

    return answer


if __name__ == "__main__":
    serve(make)
