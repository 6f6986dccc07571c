"""The model: four formulas, the last of which scores what the third computes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from graft.factors.categorical import Categorical
from graft.factors.function import Function
from graft.factors.mixture import Mixture
from graft.model import Model
from graft.zoo.nn_hmm.states import States


def hybrid(
    network: nn.Module,
    emission: Mixture,
    states: States,
    first: Tensor,
    moves: Tensor,
    names: Sequence[str] | None = None,
) -> Model:
    r"""The hybrid of a network and a hidden Markov model.

    $$p(s, y(f)) = p(s_0) \prod_{t > 0} p(s_t \mid s_{t-1}) \prod_t \sum_m \pi_{s_t m}\,
      \mathcal N(y_t(f); \mu_{s_t m}, \Sigma_{s_t m}).$$

    Args:
        network: frames (..., T, D) to outputs (..., T, O).
        emission: a mixture over O outputs for each state.
        states: how labels are made of states.
        first: probabilities of the first state (states,); zeros stay zero in training.
        moves: probabilities of the next state (states, states), likewise.
        names: what the labels are called.

    Source: Y. Bengio, R. De Mori, G. Flammia, R. Kompe, Global optimization of a neural network-hidden Markov
    model hybrid, IEEE Trans. Neural Networks 3(2), 1992.

    Example:
        >>> import torch
        >>> states = States(labels=2, per_label=2)
        >>> first, moves = states.first / 2, states.moves / states.moves.sum(-1, keepdim=True)
        >>> model = hybrid(nn.Linear(5, 3), Mixture(2, dim=3, given=4), states, first, moves)
        >>> model.given(frames=torch.zeros(7, 9, 5)).marginals["s"].probs.shape
        torch.Size([7, 9, 4])
    """
    known = [str(label) for label in range(states.labels)] if names is None else names
    return Model(
        {
            "s[0]": Categorical(probs=first),
            "s[t] | s[t-1]": Categorical(probs=moves),
            "y[t] = frames": Function(network, dim=emission.dim),
            "y[t] | s[t]": emission,
        },
        labels={"s": [f"{name}.{k}" for name in known for k in range(states.per_label)]},
    )
