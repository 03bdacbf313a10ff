"""Parts of graphs that are too large to train on whole: samplers, each an iterable of ``Data``.

A sampler is an ordinary iterable with a length; one pass is one epoch. Batch ``b`` of epoch ``e`` depends on the seed,
``e`` and ``b`` alone: neither on the number of threads, nor on what has been drawn before, nor on who asks.
"""

from gnnkit.sample._gather import take
from gnnkit.sample._loader import Loader
from gnnkit.sample.cluster import ClusterPartition
from gnnkit.sample.inference import layerwise_inference
from gnnkit.sample.negative import negative_edges
from gnnkit.sample.neighbor import Neighbor
from gnnkit.sample.saint import SaintEdge, SaintFrontier, SaintNode, SaintWalk
from gnnkit.sample.shadow import ShaDow

__all__ = [
    "ClusterPartition",
    "Loader",
    "Neighbor",
    "SaintEdge",
    "SaintFrontier",
    "SaintNode",
    "SaintWalk",
    "ShaDow",
    "layerwise_inference",
    "negative_edges",
    "take",
]
