"""Log-densities of fully observed data, computed by hand: one row at a time, plain loops, no graft.

Every function takes the modules of a system by formula and the values of one row, cut to what exists.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal


def standard(z: Tensor) -> Tensor:
    return Normal(torch.zeros_like(z), 1.0).log_prob(z).sum()


def normal(out: Tensor, x: Tensor) -> Tensor:
    """From a network's output: location and log-scale are its halves."""
    loc, log_scale = out.chunk(2, -1)
    return Normal(loc, log_scale.exp()).log_prob(x).sum()


def bits(logits: Tensor, x: Tensor) -> Tensor:
    return Bernoulli(logits=logits).log_prob(x).sum()


def state(logits: Tensor, s: Tensor) -> Tensor:
    return Categorical(logits=logits).log_prob(s)


def onehot(word: Tensor, size: int) -> Tensor:
    return torch.nn.functional.one_hot(word, size).to(torch.get_default_dtype())


def step(recurrent, x: Tensor, past: Tensor) -> Tensor:
    return recurrent.cell(x.unsqueeze(0), past.unsqueeze(0))[0]


def vae(f, z, x):
    return standard(z) + bits(f["x | z"].net(z), x)


def semi_supervised_vae(f, y, z, x):
    joined = torch.cat([onehot(y, 3), z])
    return state(f["y"].table, y) + standard(z) + bits(f["x | y, z"].net(joined), x)


def sigmoid_belief_net(f, h2, h1, x):
    total = bits(f["h2"].table, h2)
    return total + bits(f["h1 | h2"].net(h2), h1) + bits(f["x | h1"].net(h1), x)


def hmm(f, s, w):
    total = torch.zeros(())
    for t in range(len(s)):
        logits = f["s[0]"].table if t == 0 else f["s[t] | s[t-1]"].table[s[t - 1]]
        total = total + state(logits, s[t]) + state(f["w[t] | s[t]"].table[s[t]], w[t])
    return total


def vrnn(f, z, x):
    total, h = torch.zeros(()), torch.zeros(5)
    for t in range(len(x)):
        total = total + normal(f["z[t] | h[t-1]"].net(h), z[t])
        total = total + normal(f["x[t] | z[t], h[t-1]"].net(torch.cat([z[t], h])), x[t])
        h = step(f["h[t] = x[t], z[t], h[t-1]"], torch.cat([x[t], z[t]]), h)
    return total


def storn(f, z, x):
    total, h = torch.zeros(()), torch.zeros(5)
    for t in range(len(x)):
        before = x[t - 1] if t else torch.zeros(3)
        h = step(f["h[t] = x[t-1], z[t], h[t-1]"], torch.cat([before, z[t]]), h)
        total = total + standard(z[t]) + normal(f["x[t] | h[t]"].net(h), x[t])
    return total


def vrae(f, z, x):
    total, h = standard(z), None
    for t in range(len(x)):
        h = f["h[0] = z"].net(z) if t == 0 else step(f["h[t] = x[t-1], h[t-1]"], x[t - 1], h)
        total = total + normal(f["x[t] | h[t]"].net(h), x[t])
    return total


def controlled_text(f, z, c, w):
    total, h = standard(z) + state(f["c"].table, c), None
    for t in range(len(w)):
        if t == 0:
            h = f["h[0] = z, c"].net(torch.cat([z, onehot(c, 2)]))
        else:
            h = step(f["h[t] = w[t-1], h[t-1]"], onehot(w[t - 1], 7), h)
        total = total + state(f["w[t] | h[t]"].net(h), w[t])
    return total


def sentence_vae(f, z, w):
    total, pair = standard(z), (torch.zeros(1, 5), torch.zeros(1, 5))
    for t in range(len(w)):
        if t == 0:
            # the state starts from z, the memory empty
            pair = (f["h[0] = z"].net(z).unsqueeze(0), pair[1])
        else:
            pair = f["h[t] = w[t-1], h[t-1]"].cell(onehot(w[t - 1], 7).unsqueeze(0), pair)
        total = total + state(f["w[t] | h[t]"].net(pair[0][0]), w[t])
    return total


def dmm(f, z, x):
    total, first = torch.zeros(()), f["z[0]"]
    for t in range(len(x)):
        if t == 0:
            total = total + Normal(first.loc, first.raw_scale.exp()).log_prob(z[0]).sum()
        else:
            total = total + normal(f["z[t] | z[t-1]"].net(z[t - 1]), z[t])
        total = total + bits(f["x[t] | z[t]"].net(z[t]), x[t])
    return total


def draw(f, z, x):
    total, canvas = torch.zeros(()), torch.zeros(6)
    pair = (torch.zeros(1, 5), torch.zeros(1, 5))
    for t in range(len(z)):
        total = total + standard(z[t])
        pair = f["h[t] = z[t], h[t-1]"].cell(z[t].unsqueeze(0), pair)
        canvas = canvas + f["c[t] = c[t-1], h[t]"].net.stroke(pair[0][0])
    return total + bits(canvas, x)


def vhred(f, z, w):
    """`w` is a list of turns of words, `z` has one row per turn."""
    total, context = torch.zeros(()), torch.zeros(5)
    for latent, turn in zip(z, w, strict=True):
        total = total + normal(f["z[n] | c[n-1]"].net(context), latent)
        total = total + _turn(f, latent, turn, context)
        heard = torch.zeros(4)
        for word in turn:
            heard = step(f["e[n,t] = w[n,t], e[n,t-1]"], onehot(word, 6), heard)
        context = step(f["c[n] = e[n,-1], c[n-1]"], heard, context)
    return total


def _turn(f, latent, turn, context):
    total, h = torch.zeros(()), None
    for t, word in enumerate(turn):
        if t == 0:
            h = f["h[n,0] = z[n], c[n-1]"].net(torch.cat([latent, context]))
        else:
            h = step(f["h[n,t] = w[n,t-1], h[n,t-1]"], onehot(turn[t - 1], 6), h)
        total = total + state(f["w[n,t] | h[n,t]"].net(h), word)
    return total


def gsn(f, start, h, x):
    total = torch.zeros(())
    for t in range(len(x)):
        net, read = f["h[0] | start"].net, start
        if t:
            net, read = f["h[t] | x[t-1], h[t-1]"].net, torch.cat([x[t - 1], h[t - 1]])
        total = total + Normal(net(read), 0.5).log_prob(h[t]).sum()
        total = total + bits(f["x[t] | h[t]"].net(h[t]), x[t])
    return total


def bayesian_gmm(f, pi, theta, c, y):
    total = torch.distributions.Dirichlet(torch.ones(3)).log_prob(pi)
    total = total + Normal(0.0, torch.tensor([3.0, 3.0, 0.5, 0.5])).log_prob(theta).sum()
    for which, point in zip(c, y, strict=True):
        total = total + pi[which].log() + normal(theta[which], point)
    return total


def mrf(f, a, b, c):
    return f["a, b"].values[a, b] + f["b, c"].values[b, c] + f["c, a"].values[c, a]


def mrf_tagger(f, y, w):
    total = torch.zeros(())
    for t in range(len(y)):
        total = total + f["y[t], w[t]"].values[y[t], w[t]]
        if t:
            total = total + f["y[t-1], y[t]"].values[y[t - 1], y[t]]
    return total


def table_crf(f, y, w):
    total = torch.zeros(())
    for t in range(len(y)):
        total = total + f["y[t] | w[t]"].net.weight[w[t], y[t]]
        if t:
            total = total + f["y[t-1], y[t]"].values[y[t - 1], y[t]]
    return total


def neural_crf(f, y, x):
    net, total = f["y[t] | x, lengths"].net, torch.zeros(())
    scores = net.head(net.lstm(x[: len(y)].unsqueeze(0))[0][0]) if len(y) else None
    for t in range(len(y)):
        total = total + scores[t, y[t]]
        if t:
            total = total + f["y[t-1], y[t]"].values[y[t - 1], y[t]]
    return total


def pose(f, image, **joints):
    total = torch.zeros(())
    for name, cell in joints.items():
        total = total + f[f"{name} | image"].net(image.unsqueeze(0))[0, cell]
    for one, other in (("face", "shoulder"), ("shoulder", "elbow"), ("wrist", "elbow")):
        p, q = joints[one], joints[other]
        down, right = q // 3 - p // 3, q % 3 - p % 3
        total = total + f[f"{one}, {other}"].kernel[down + 3, right + 2]
    return total


def segmentation(f, y, image):
    total = torch.zeros(())
    scores = f["y[i,j] | image"].net.net(image.unsqueeze(0))[0]
    for i in range(4):
        for j in range(4):
            total = total + scores[y[i, j], i, j]
            if i:
                total = total + f["y[i-1,j], y[i,j]"].values[y[i - 1, j], y[i, j]]
            if j:
                total = total + f["y[i,j-1], y[i,j]"].values[y[i, j - 1], y[i, j]]
    return total


def rbm(f, v, h):
    return v @ f["v, h"].weight @ h + f["v"].bias @ v + f["h"].bias @ h


def dbm(f, v, h1, h2):
    total = v @ f["v, h1"].weight @ h1 + h1 @ f["h1, h2"].weight @ h2
    return total + f["v"].bias @ v + f["h1"].bias @ h1 + f["h2"].bias @ h2


def dbn(f, v, h1, h2):
    total = h1 @ f["h1, h2"].weight @ h2 + f["h1"].bias @ h1 + f["h2"].bias @ h2
    return total + bits(f["v | h1"].net(h1), v)
