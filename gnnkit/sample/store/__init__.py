"""Graphs and features larger than memory: files that are mapped, and read where a batch needs it.

``Data(graph=MappedGraph(...), x=FeatureStore(...), num_nodes=N)`` goes into any sampler of :mod:`gnnkit.sample`. An
epoch that is sampled beforehand (:func:`record_schedule`) can have its features laid out on disk batch by batch
(:func:`pack_epoch`), and is replayed by :class:`PackedEpoch`. Files are little-endian, written whole or not at all, and
carry checksums.
"""

from gnnkit.sample.store.features import FeatureStore, Metrics
from gnnkit.sample.store.graph import MappedGraph
from gnnkit.sample.store.packed import PackedEpoch, pack_epoch
from gnnkit.sample.store.schedule import Schedule, record_schedule
from gnnkit.sample.store.scores import minhash_order, reverse_pagerank, visit_counts

__all__ = [
    "FeatureStore",
    "MappedGraph",
    "Metrics",
    "PackedEpoch",
    "Schedule",
    "minhash_order",
    "pack_epoch",
    "record_schedule",
    "reverse_pagerank",
    "visit_counts",
]
