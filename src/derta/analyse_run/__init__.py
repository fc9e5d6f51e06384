"""`derta analyse` and `derta probe`: models read texts token by token, from an evaluation's logs.

    held_out.py   the texts that every model reads
    choosing.py   which of a model's own outputs are read
    fed.py        the very tokens that the evaluation fed, and those of what came out
    origin.py     how a model was trained, and with which refusal words
    reading.py    token arrays become readings
    planning.py   what each model is to read
    running.py    model by model, resumable; then all figures
    probing.py    one text that somebody typed

Covered: local models. Not covered: what is computed of the readings (`derta.analysis`), showing it
(`derta.report`).
"""

from __future__ import annotations

from derta.analyse_run.planning import AnalysisOptions
from derta.analyse_run.probing import Probe, probe
from derta.analyse_run.running import run_analysis

__all__ = ["AnalysisOptions", "Probe", "probe", "run_analysis"]
