"""What holds for every test: one thread, no network, no surprise from the user's settings.

Covers the process environment only; fixtures live beside the tests that need them.
"""

from __future__ import annotations

import os

# Set before torch and transformers are imported; the processes that tests start inherit it.
# Two OpenMP threads on busy cores can be ten times slower than one.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ[variable] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
