"""Convolution layers: ``conv(x, graph, edge_attr=None)``."""

from gnnkit.nn.conv.edge_sum import EdgeSumConv
from gnnkit.nn.conv.gated_gcn import GatedGCNConv, ResGatedGraphConv
from gnnkit.nn.conv.gcn import GCNConv
from gnnkit.nn.conv.gin import GINConv, GINEConv
from gnnkit.nn.conv.sage import SAGEConv

__all__ = ["EdgeSumConv", "GCNConv", "GINConv", "GINEConv", "GatedGCNConv", "ResGatedGraphConv", "SAGEConv"]
