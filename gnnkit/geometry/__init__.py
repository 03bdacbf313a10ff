"""Numbers about a graph, and pictures of it."""

from gnnkit.geometry.plot import plot

__all__ = ["plot"]
