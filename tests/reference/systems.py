"""What every system of the table must look like, written by hand from its formulas."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Expected:
    """A system as a person reads it.

    Attributes:
        variables: each with its axes and event shape: ``"x[t] 3; c[n]"``; ``?`` where only its readers know.
        parents: of every variable with a conditional or function.
        cliques: of the potentials, with what they read after a bar.
        loops: recurrences: the axis, its direction, members, and loops inside after a colon.
        guide: parents (or cliques) of the guide.
        guide_loops: its recurrences.
    """

    variables: str
    parents: str = ""
    cliques: str = ""
    loops: str = ""
    guide: str = ""
    guide_loops: str = ""


GAN = Expected("z 2; x 3", "z: ; x: z")
VAE = Expected("z 2; x 3", "z: ; x: z", guide="z: x")
KALMAN = "z: z; x: z"

EXPECTED: dict[str, Expected] = {
    "deterministic_net": Expected("x 4; h 5; y", "h: x; y: h"),
    "mdn": Expected("x 2; y 1", "y: x"),
    "stochastic_net": Expected("x 4; xn 4; h 5; hn 5; y", "xn: x; h: xn; hn: h; y: hn"),
    "bayes_net": Expected("rain; sprinkler; wet", "rain: ; sprinkler: rain; wet: rain sprinkler"),
    "sigmoid_belief_net": Expected("h2 3; h1 4; x 6", "h2: ; h1: h2; x: h1", guide="h1: x; h2: h1"),
    "helmholtz": Expected("h3 2; h2 3; h1 4; x 6", "h3: ; h2: h3; h1: h2; x: h1", guide="h1: x; h2: h1; h3: h2"),
    "vae": Expected("z 2; x 6", "z: ; x: z", guide="z: x"),
    "semi_supervised_vae": Expected("y; z 2; x 6", "y: ; z: ; x: y z", guide="y: x; z: x y"),
    "dae": Expected("noisy 6; x 6", "x: noisy", guide="noisy: x"),
    "inpainting": Expected("z 2; g 1,4,4; x 1,4,4", "z: ; g: z; x: g"),
    "simulator": Expected("theta 2; noise 7; x 5", "theta: ; noise: ; x: noise theta"),
    "hmm": Expected("s[t]; w[t]", "s: s; w: s", loops="t+(s)"),
    "mrf_tagger": Expected("y[t]; w[t]", cliques="y y; w y"),
    "table_crf": Expected("y[t]; w[t]", cliques="y y; y | w"),
    "neural_crf": Expected("y[t]; x ?", cliques="y y; y | x"),
    "nn_hmm": Expected("s[t]; m[t]; y[t] 3; frames[t] 6", "s: s; m: s; y: frames m s", loops="t+(s)"),
    "mrf": Expected("a; b; c", cliques="a b; b c; a c"),
    "pose": Expected(
        "face; shoulder; elbow; wrist; image 1,4,3",
        cliques="face | image; shoulder | image; elbow | image; wrist | image; "
        "face shoulder; elbow shoulder; elbow wrist",
    ),
    "segmentation": Expected("y[i,j]; image 1,4,4", cliques="y | image; y y; y y"),
    "rbm": Expected("v 4; h 3", cliques="h v; v; h"),
    "dbm": Expected("v 4; h1 3; h2 2", cliques="h1 v; h1 h2; v; h1; h2"),
    "dbn": Expected("v 4; h1 3; h2 2", "v: h1", cliques="h1 h2; h1; h2"),
    "bayesian_gmm": Expected("pi 3; theta[k] 4; c[n]; y[n] 2", "pi: ; theta: ; c: pi; y: c theta"),
    "gmm_svae": Expected(
        "pi 3; theta[k] 4; c[n]; y[n] 2; x[n] 3",
        "pi: ; theta: ; c: pi; y: c theta; x: y",
        guide="y | x",
    ),
    "lds_svae": Expected("z[t] 2; x[t] 3", KALMAN, loops="t+(z)", guide="z | x"),
    "hmm_svae": Expected("z[t]; x[t] 3", KALMAN, loops="t+(z)", guide="z | x"),
    "stick_breaking": Expected(
        "v[k]; pi 4; mu[k] 2; c[n]; z[n] 2; x[n] 3",
        "v: ; pi: v; mu: ; c: pi; z: c mu; x: z",
        guide="c: x; z: x",
    ),
    "nested_crp": Expected(
        "v1[i]; v2[i,j]; m1[i] 2; m2[i,j] 2; c[n]; z[n] 2; x[n] 3",
        "v1: ; v2: ; m1: ; m2: m1; c: v1 v2; z: c m2; x: z",
        guide="c: x; z: x",
    ),
    "vrnn": Expected("z[t] 2; h[t] 5; x[t] 3", "z: h; x: h z; h: h x z", loops="t+(h x z)", guide="z: h x"),
    "storn": Expected(
        "z[t] 2; h[t] 5; x[t] 3",
        "z: ; h: h x z; x: h",
        loops="t+(h x)",
        guide="g: g x; z: g",
        guide_loops="t+(g)",
    ),
    "vrae": Expected(
        "z 2; h[t] 5; x[t] 3",
        "z: ; h: h x z; x: h",
        loops="t+(h x)",
        guide="g: g x; z: g",
        guide_loops="t+(g)",
    ),
    "draw": Expected(
        "z[t] 2; h[t] 5; c[t] 6; x 6",
        "z: ; h: h z; c: c h; x: c",
        loops="t+(h) t+(c)",
        guide="r: c h x; e: e h r; z: e",
        guide_loops="t+(e)",
    ),
    "deep_kalman_filter": Expected(
        "z[t] 2; x[t] 3", KALMAN, loops="t+(z)", guide="g: g x; z: g z", guide_loops="t-(g) t+(z)"
    ),
    "dmm": Expected("z[t] 2; x[t] 6", KALMAN, loops="t+(z)", guide="g: g x; z: g z", guide_loops="t-(g) t+(z)"),
    "walkback": Expected("start 6; h[t] 6; x[t] 6", "h: start x; x: h", loops="t+(h x)"),
    "gsn": Expected("start 6; h[t] 4; x[t] 6", "h: h start x; x: h", loops="t+(h x)"),
    "sentence_vae": Expected(
        "z 2; h[t] 5; w[t]",
        "z: ; h: h w z; w: h",
        loops="t+(h w)",
        guide="g: g w; z: g",
        guide_loops="t+(g)",
    ),
    "controlled_text": Expected(
        "z 2; c; h[t] 5; w[t]",
        "z: ; c: ; h: c h w z; w: h",
        loops="t+(h w)",
        guide="g: g w; z: g; c: g",
        guide_loops="t+(g)",
    ),
    "vhred": Expected(
        "e[n,t] 4; c[n] 5; z[n] 2; h[n,t] 3; w[n,t]",
        "e: e w; c: c e; z: c; h: c h w z; w: h",
        loops="n+(c e h w z: t+(h w) t+(e))",
        guide="z: c e",
    ),
    "gan": GAN,
    "f_gan": GAN,
    "dcgan": Expected("z 4; x 1,8,8", "z: ; x: z"),
    "unrolled_gan": GAN,
    "vae_gan": VAE,
    "perceptual_vae": VAE,
    "aavae": Expected("y; z 2; data 3; x 3", "y: ; z: ; x: data y z", guide="y: x; z: x y"),
    "iwgan": Expected("y; z 2; data 3; x 3", "y: ; z: ; x: data y z"),
}

#: What single factors receive and return, as batch | axes | event, for batch shape (2,). A factor that nothing
#: varies returns size 1 there; inside a recurrence the axis looped over is gone.
SHAPES: dict[str, dict[str, str]] = {
    "vae": {"z": " -> 1 | - | 2", "x | z": "2 | - | 2 -> 2 | - | 6"},
    "semi_supervised_vae": {"x | y, z": "2 | - | -; 2 | - | 2 -> 2 | - | 6"},
    "mdn": {"y | x": "2 | - | 2 -> 2 | - | 1"},
    "stochastic_net": {
        "xn | x": "2 | - | 4 -> 2 | - | 4",
        "h = xn": "2 | - | 4 -> 2 | - | 5",
        "y | hn": "2 | - | 5 -> 2 | - | -",
    },
    "hmm": {
        "s[0]": " -> 1 | - | -",
        "s[t] | s[t-1]": "2 | 4 | - -> 2 | 4 | -",
        "w[t] | s[t]": "2 | 5 | - -> 2 | 5 | -",
    },
    "nn_hmm": {
        "y[t] = frames[t]": "2 | 5 | 6 -> 2 | 5 | 3",
        "y[t] | s[t], m[t]": "2 | 5 | -; 2 | 5 | - -> 2 | 5 | 3",
    },
    "neural_crf": {
        "y[t-1], y[t]": " -> - | - | 4,4",
        "y[t] | x, lengths": "2 | - | 5,3 -> 2 | 5 | 4",
    },
    "segmentation": {"y[i,j] | image": "2 | - | 1,4,4 -> 2 | 4,4 | 3"},
    "pose": {"wrist | image": "2 | - | 1,4,3 -> 2 | - | 12", "wrist, elbow": " -> - | - | 12,12"},
    "rbm": {"v, h": "2 | - | 4; 2 | - | 3 -> 2 | - | -", "v": "2 | - | 4 -> 2 | - | -"},
    "bayesian_gmm": {
        "theta[k]": " -> 1 | 1 | 4",
        "c[n] | pi": "2 | 1 | 3 -> 2 | 1 | -",
        "y[n] | c[n], theta": "2 | 5 | -; 2 | 1 | 3,4 -> 2 | 5 | 2",
    },
    "nested_crp": {
        "m2[i,j] | m1[i]": "2 | 2,1 | 2 -> 2 | 2,1 | 2",
        "c[n] | v1, v2": "2 | 1 | 2; 2 | 1 | 2,3 -> 2 | 1 | -",
        "z[n] | c[n], m2": "2 | 5 | -; 2 | 1 | 2,3,2 -> 2 | 5 | 2",
    },
    "vrnn": {
        "z[t] | h[t-1]": "2 | 4 | 5 -> 2 | 4 | 2",
        "x[t] | z[t], h[t-1]": "2 | 4 | 2; 2 | 4 | 5 -> 2 | 4 | 3",
        "h[t] = x[t], z[t], h[t-1]": "2 | - | 3; 2 | - | 2; 2 | - | 5 -> 2 | - | 5",
    },
    "vrae": {
        "h[0] = z": "2 | - | 2 -> 2 | - | 5",
        "x[t] | h[t]": "2 | 4 | 5 -> 2 | 4 | 3",
    },
    "draw": {
        "c[t] = c[t-1], h[t]": "2 | - | 6; 2 | - | 5 -> 2 | - | 6",
        "x | c[-1]": "2 | - | 6 -> 2 | - | 6",
    },
    "dmm": {"z[t] | z[t-1]": "2 | 3 | 2 -> 2 | 3 | 2", "x[t] | z[t]": "2 | 4 | 2 -> 2 | 4 | 6"},
    "vhred": {
        "e[n,t] = w[n,t], e[n,t-1]": "2 | - | -; 2 | - | 4 -> 2 | - | 4",
        "c[n] = e[n,-1], c[n-1]": "2 | - | 4; 2 | - | 5 -> 2 | - | 5",
        "z[n] | c[n-1]": "2 | 2 | 5 -> 2 | 2 | 2",
        "h[n,0] = z[n], c[n-1]": "2 | - | 2; 2 | - | 5 -> 2 | - | 3",
        "w[n,t] | h[n,t]": "2 | 2,3 | 3 -> 2 | 2,3 | -",
    },
}
