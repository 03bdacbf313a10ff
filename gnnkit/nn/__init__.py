"""Layers and models: ``x`` and a :class:`gnnkit.Graph` in, ``x`` out."""

from gnnkit.nn.aggregator_norm import AggregatorNorm
from gnnkit.nn.attended_pairs import attended_pairs, complete_graphs
from gnnkit.nn.batch_norm import BatchNorm, synchronize_batch_norms
from gnnkit.nn.candidates import longest_path_candidates
from gnnkit.nn.config import EncodingConfig, ModelConfig, NetworkConfig
from gnnkit.nn.conv import (
    DRewConv,
    EdgeSumConv,
    GATConv,
    GatedGCNConv,
    GATv2Conv,
    GCNConv,
    GINConv,
    GINEConv,
    LaserConv,
    ResGatedGraphConv,
    RGCNConv,
    SAGEConv,
    TransformerConv,
)
from gnnkit.nn.drew import DRew
from gnnkit.nn.encoders import AtomEncoder, BondEncoder, CategoricalEncoder, EncodingEncoder, LinearEncoder
from gnnkit.nn.encoding_encoders import DeepSetsEncoder
from gnnkit.nn.epilogue import epilogue
from gnnkit.nn.global_attention import GlobalAttention, GraphBlocks
from gnnkit.nn.gps import GPSLayer
from gnnkit.nn.graph_network import GraphNetwork
from gnnkit.nn.grit import GRITLayer
from gnnkit.nn.grit_model import GRIT
from gnnkit.nn.hops import EdgePart, hop_graphs, hops_of_pairs, split_edges
from gnnkit.nn.link import (
    NCN,
    NCNC,
    InnerProductDecoder,
    LinkModel,
    ProductDecoder,
    common_neighbors,
    make_link_decoder,
)
from gnnkit.nn.message_passing import MessagePassing
from gnnkit.nn.model import GraphModel
from gnnkit.nn.node_pairs import NodePairs
from gnnkit.nn.norm import GraphNorm, LayerNorm, PairNorm
from gnnkit.nn.pool import pool, root_pool
from gnnkit.nn.prmpnn import PRMPNN
from gnnkit.nn.sign_net import SignNet
from gnnkit.nn.spe import SPE
from gnnkit.nn.subset import log_partition, map_subset, sample_subset, subset_marginals
from gnnkit.nn.top_k_pool import KeptNodes, TopKPooling

__all__ = [
    "AggregatorNorm",
    "AtomEncoder",
    "BatchNorm",
    "BondEncoder",
    "CategoricalEncoder",
    "DRew",
    "DRewConv",
    "DeepSetsEncoder",
    "EdgePart",
    "EdgeSumConv",
    "EncodingConfig",
    "EncodingEncoder",
    "GATConv",
    "GATv2Conv",
    "GCNConv",
    "GINConv",
    "GINEConv",
    "GPSLayer",
    "GRIT",
    "GRITLayer",
    "GatedGCNConv",
    "GlobalAttention",
    "GraphBlocks",
    "GraphModel",
    "GraphNetwork",
    "GraphNorm",
    "KeptNodes",
    "LaserConv",
    "LayerNorm",
    "LinearEncoder",
    "MessagePassing",
    "ModelConfig",
    "NetworkConfig",
    "NodePairs",
    "PRMPNN",
    "PairNorm",
    "RGCNConv",
    "ResGatedGraphConv",
    "SAGEConv",
    "SPE",
    "SignNet",
    "TopKPooling",
    "TransformerConv",
    "attended_pairs",
    "complete_graphs",
    "epilogue",
    "hop_graphs",
    "hops_of_pairs",
    "log_partition",
    "longest_path_candidates",
    "map_subset",
    "pool",
    "root_pool",
    "sample_subset",
    "split_edges",
    "subset_marginals",
    "synchronize_batch_norms",
    "NCN",
    "NCNC",
    "InnerProductDecoder",
    "LinkModel",
    "ProductDecoder",
    "common_neighbors",
    "make_link_decoder",
]
