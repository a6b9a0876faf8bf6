"""Makes docs/notebook.ipynb: a tour of joulebench from Python, executed on the machine that makes it.

``python docs/make_notebook.py`` needs nbformat, nbclient and ipykernel, and takes as long as the profile that
it measures. The machine's name and folders do not appear in it.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

NOTEBOOK: Final = Path(__file__).with_name("notebook.ipynb")
_LIMIT_S: Final = 3600

#: (kind, content) of each cell; a text is Markdown.
CELLS: Final[tuple[tuple[str, str], ...]] = (
    (
        "markdown",
        "# joulebench from Python\n\nMeasure a profile, read the answer, and look closer. The pages "
        "[joulebench from Python](python.md) and [the answer](answer.md) explain what is shown here.",
    ),
    ("code", "import joulebench\n\njoulebench.__version__"),
    (
        "markdown",
        "`quick` runs the embedded model on every installed runtime. The kernel waits; the machine should do nothing "
        "else meanwhile.",
    ),
    ("code", 'result = joulebench.run("quick", out="sessions")\nprint(result)'),
    ("markdown", "In a notebook the result itself is its answer and its table of cells."),
    ("code", "result"),
    ("markdown", "Every figure in long form, with its 95 % interval, unit and provenance:"),
    (
        "code",
        "frame = result.frame()\n"
        'shown = frame[frame.metric.isin(["gross_j_per_unit", "decode_tok_per_s", "rss_peak_bytes"])]\n'
        'shown[["cell", "metric", "value", "low", "high", "unit", "provenance"]]',
    ),
    (
        "markdown",
        "What to deploy, under limits of your own. `None` means that the session does not tell which is best; the "
        "answer above says what another run would need.",
    ),
    (
        "code",
        'best = result.best("memory", max_loss=0.02, limits=["ttft<500ms"])\n'
        "best and (best.label, best.memory_bytes, best.rate, best.rate_unit)",
    ),
    ("markdown", "Two cells against each other:"),
    (
        "code",
        "one, other = result.cells[-1].label, result.cells[0].label\n"
        'print(one, "against", other, ":", result.compare(one, other).text)',
    ),
    ("markdown", 'Pictures; `.save("energy.svg")` writes them, `.specs` are Vega-Lite for Altair.'),
    ("code", "result.plot.energy()"),
    ("code", "result.plot.speed()"),
    ("markdown", "A session on disk is read again by `joulebench.load`, several of them in one result."),
    ("code", "again = joulebench.load(*result.paths)\nagain.table().num_rows == result.table().num_rows"),
)


def main() -> None:
    """Build and execute the notebook, and say how long that took."""
    import nbformat  # noqa: PLC0415 (not needed to read the cells)
    from nbclient import NotebookClient  # noqa: PLC0415

    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    notebook = nbformat.v4.new_notebook(cells=[make[kind](content) for kind, content in CELLS])
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # the same each time
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=_LIMIT_S, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell["metadata"].pop("execution", None)
    nbformat.write(notebook, NOTEBOOK)
    print(f"{NOTEBOOK.name}: executed in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
