"""One thread for each worker: two workers already fill two cores, and waiting threads take time from each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from tests.reference import checked

torch.set_num_threads(1)
checked.install()
