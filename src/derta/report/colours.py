"""Colours of the report for light and dark, as variables of its style sheets.

Covers text and lines alike: each has a contrast of at least 4.5 : 1 to its paper.
"""

from __future__ import annotations

__all__ = ["DARK", "LIGHT"]

# Okabe and Ito's colours, some a little darker so that labels reach a contrast of 4.5 : 1.
LIGHT = {
    "--paper": "#ffffff",
    "--ink": "#1d1f22",
    "--quiet": "#5f6368",
    "--rule": "#e3e4e6",
    "--derta": "#0068a6",
    "--vanilla": "#bd5200",
    "--untouched": "#6b6f75",
    "--harmful": "#bd5200",
    "--benign": "#00795a",
    "--helpful": "#00795a",
    "--safe": "#a2437d",
    "--transition": "#0068a6",
}
DARK = {
    "--paper": "#15171a",
    "--ink": "#e7e8ea",
    "--quiet": "#a2a7ae",
    "--rule": "#2f3339",
    "--derta": "#5cb8ec",
    "--vanilla": "#ee9a3a",
    "--untouched": "#a9aeb6",
    "--harmful": "#ee9a3a",
    "--benign": "#3cc39b",
    "--helpful": "#3cc39b",
    "--safe": "#df93bd",
    "--transition": "#5cb8ec",
}
