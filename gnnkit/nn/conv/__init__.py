"""Convolution layers: ``conv(x, graph, edge_attr=None)``."""

from gnnkit.nn.conv.drew import DRewConv
from gnnkit.nn.conv.edge_sum import EdgeSumConv
from gnnkit.nn.conv.gat import GATConv, GATv2Conv
from gnnkit.nn.conv.gated_gcn import GatedGCNConv, ResGatedGraphConv
from gnnkit.nn.conv.gcn import GCNConv
from gnnkit.nn.conv.gin import GINConv, GINEConv
from gnnkit.nn.conv.laser import LaserConv
from gnnkit.nn.conv.rgcn import RGCNConv
from gnnkit.nn.conv.sage import SAGEConv
from gnnkit.nn.conv.transformer import TransformerConv

__all__ = [
    "DRewConv",
    "EdgeSumConv",
    "GATConv",
    "GATv2Conv",
    "GCNConv",
    "GINConv",
    "GINEConv",
    "GatedGCNConv",
    "LaserConv",
    "RGCNConv",
    "ResGatedGraphConv",
    "SAGEConv",
    "TransformerConv",
]
