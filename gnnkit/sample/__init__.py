"""Parts of graphs that are too large to train on whole: samplers, each an iterable of ``Data``.

A sampler is an ordinary iterable with a length; one pass is one epoch. Batch ``b`` of epoch ``e`` depends on the seed,
``e`` and ``b`` alone: neither on the number of threads, nor on what has been drawn before, nor on who asks.
"""

from gnnkit.sample._gather import take
from gnnkit.sample._loader import Loader
from gnnkit.sample.saint import SaintEdge, SaintFrontier, SaintNode, SaintWalk

__all__ = ["Loader", "SaintEdge", "SaintFrontier", "SaintNode", "SaintWalk", "take"]
