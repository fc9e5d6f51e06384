"""From results.json to one HTML page, a picture, and a table for the terminal.

Covers checking and showing results. Not covered: measuring, and judging what is a refusal.
"""

from __future__ import annotations

from derta.report.charts import depth_figure
from derta.report.page import render_report, write_report
from derta.report.schema import Results, ResultsError, check_results, load_results
from derta.report.table import curve_text, render_table

__all__ = [
    "Results",
    "ResultsError",
    "check_results",
    "curve_text",
    "depth_figure",
    "load_results",
    "render_report",
    "render_table",
    "write_report",
]
