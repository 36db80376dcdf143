"""Shows JSON answers: as a tree, as a table of rows, and with what does not fit their schema."""

from jobs.rendering.results.problems import Problem, problems_of
from jobs.rendering.results.tables import Cell, Row, Spot, Table, cell_of, rows_of, spots
from jobs.rendering.results.tree import tree
from jobs.rendering.results.values import Number, anchor, pretty, read

__all__ = [
    "Cell",
    "Number",
    "Problem",
    "Row",
    "Spot",
    "Table",
    "anchor",
    "cell_of",
    "pretty",
    "problems_of",
    "read",
    "rows_of",
    "spots",
    "tree",
]
