"""Triples and helpful rows of several sources become one training set with the shares asked for."""

from __future__ import annotations

from derta.data.mixing.mix import mix_data

__all__ = ["mix_data"]
