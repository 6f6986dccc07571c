"""One thread for each worker: two workers already fill two cores, and waiting threads take time from each other."""

import os
from importlib.util import find_spec

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from tests.reference import checked

torch.set_num_threads(1)
checked.install()

#: A page or a folder that needs an optional library is not run without it.
collect_ignore = [] if find_spec("zuko") else ["docs/flows.md"]
collect_ignore += [] if find_spec("triton") else ["src/graft/ops/cuda"]
