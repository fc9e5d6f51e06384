"""The page of an evaluation: what `derta evaluate` and `derta analyse` found, as one HTML file.

    collect.py      folders become one PageData; several are merged by merging.py
    printed.py      numbers as text, each with the path of the figure that it shows
    headline.py     the sentence on top, as strong as the intervals allow and no stronger
    overview.py     the first screen
    sections*.py    the details, one file a group of sections
    charts*.py      what is drawn from which figures; drawing is derta.report.svg
    copyable.py     tables, and the same as Markdown, CSV and LaTeX
    explorer.py     single responses
    page.py         the whole file
    plots.py        every chart as SVG and PNG

Nothing here loads torch: the page is made of files alone.
"""

__all__: list[str] = []
