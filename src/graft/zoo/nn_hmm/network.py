"""The network: a perceptron over a window of frames, and the classifier that it is first trained as."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn


class Window(nn.Module):
    """Puts the neighbours of every frame beside it: (..., T, D) to (..., T, (2 context + 1) D).

    Beyond the ends stand zeros.

    Args:
        context: how many neighbours on each side.

    Example:
        >>> import torch
        >>> Window(1)(torch.tensor([[1.0], [2.0]]))
        tensor([[0., 1., 2.],
                [1., 2., 0.]])
    """

    def __init__(self, context: int) -> None:
        super().__init__()
        self.context = context

    def forward(self, frames: Float[Tensor, "*batch T D"]) -> Float[Tensor, "*batch T W"]:
        wide = nn.functional.pad(frames, (0, 0, self.context, self.context))
        return wide.unfold(-2, 2 * self.context + 1, 1).transpose(-1, -2).flatten(-2)


def network(frame: int, *, context: int, hidden: int, outputs: int) -> nn.Sequential:
    """The network whose outputs the chain observes: a window, two hidden layers, `outputs` linear units."""
    return nn.Sequential(
        Window(context),
        nn.Linear((2 * context + 1) * frame, hidden),
        nn.Tanh(),
        nn.Linear(hidden, hidden),
        nn.Tanh(),
        nn.Linear(hidden, outputs),
    )


class Classifier(nn.Module):
    """The network alone: a softmax over labels, frame by frame, linear in the outputs of the network.

    Args:
        network: frames (..., T, D) to outputs (..., T, O).
        outputs: O.
        labels: how many labels there are.
    """

    def __init__(self, network: nn.Module, outputs: int, labels: int) -> None:
        super().__init__()
        self.network = network
        self.head = nn.Linear(outputs, labels)

    def forward(self, frames: Float[Tensor, "*batch T D"]) -> Float[Tensor, "*batch T labels"]:
        """Log-probabilities of the labels of each frame."""
        return self.head(self.network(frames)).log_softmax(-1)


class CrossEntropy(nn.Module):
    r"""The loss of the network alone: $-\log q(\text{label}_t \mid f)$, a mean over frames.

    Args:
        classifier: what is trained; a batch holds `frames` (N, T, D) and `labels` (N, T), -1 where there is none.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """The loss of a batch."""
        log_probs = self.classifier(batch["frames"])
        return nn.functional.nll_loss(log_probs.flatten(0, 1), batch["labels"].flatten(), ignore_index=-1)
