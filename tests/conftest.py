"""What holds for every test: one thread, no network, no surprise from the user's surroundings.

Covers the process environment only; fixtures live beside the tests that need them.
"""

from __future__ import annotations

import os
import signal

# Background jobs of a shell ignore SIGINT and hand that down: tests that interrupt a process would
# find that nothing happens.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Set before torch and transformers are imported; the processes that tests start inherit it.
# Two OpenMP threads on busy cores can be ten times slower than one.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ[variable] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
