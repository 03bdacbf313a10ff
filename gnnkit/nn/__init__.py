"""Layers and models: ``x`` and a :class:`gnnkit.Graph` in, ``x`` out."""

from gnnkit.nn.config import EncodingConfig, ModelConfig
from gnnkit.nn.conv import (
    EdgeSumConv,
    GATConv,
    GatedGCNConv,
    GATv2Conv,
    GCNConv,
    GINConv,
    GINEConv,
    ResGatedGraphConv,
    RGCNConv,
    SAGEConv,
    TransformerConv,
)
from gnnkit.nn.encoders import AtomEncoder, BondEncoder, CategoricalEncoder, EncodingEncoder, LinearEncoder
from gnnkit.nn.epilogue import epilogue
from gnnkit.nn.message_passing import MessagePassing
from gnnkit.nn.model import GraphModel
from gnnkit.nn.norm import GraphNorm, LayerNorm, PairNorm
from gnnkit.nn.pool import pool, root_pool

__all__ = [
    "AtomEncoder",
    "BondEncoder",
    "CategoricalEncoder",
    "EdgeSumConv",
    "EncodingConfig",
    "EncodingEncoder",
    "GATConv",
    "GATv2Conv",
    "GCNConv",
    "GINConv",
    "GINEConv",
    "GatedGCNConv",
    "GraphModel",
    "GraphNorm",
    "LayerNorm",
    "LinearEncoder",
    "MessagePassing",
    "ModelConfig",
    "PairNorm",
    "RGCNConv",
    "ResGatedGraphConv",
    "SAGEConv",
    "TransformerConv",
    "epilogue",
    "pool",
    "root_pool",
]
