"""Orders in which a sequence model reads the nodes of a graph; each is an :class:`~gnnkit.sequence.parts.Ordering`."""

from gnnkit.sequence.orderings.degree import Degree
from gnnkit.sequence.orderings.eigenvector import Eigenvector
from gnnkit.sequence.orderings.hac_order import HACOrder
from gnnkit.sequence.orderings.page_rank import PageRank
from gnnkit.sequence.orderings.random_order import Random
from gnnkit.sequence.orderings.search import BFS, DFS

__all__ = ["BFS", "DFS", "Degree", "Eigenvector", "HACOrder", "PageRank", "Random"]
