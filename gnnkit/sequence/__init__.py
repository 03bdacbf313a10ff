"""Graphs as sequences of tokens, and models that read them: Graph-Mamba, GMN, GSM++, Graph MLP-Mixer.

Every tokenizer, ordering, token encoder and block can be swapped for another; :mod:`gnnkit.sequence.parts` says what
each takes and gives.
"""

from gnnkit.sequence.blocks import S4D, Attention, Bidirectional, DeltaProduct, Hybrid, Mamba, Mamba2
from gnnkit.sequence.body_model import BodyModel
from gnnkit.sequence.build import build_sequence_model
from gnnkit.sequence.config import SequenceModelConfig
from gnnkit.sequence.gmn import GMN
from gnnkit.sequence.graph_mamba import GraphMamba, GraphMambaLayer
from gnnkit.sequence.graph_mixer import GraphMLPMixer, GraphViT
from gnnkit.sequence.gsm import GSM, GSMPlusPlus, HierarchicalEncoding
from gnnkit.sequence.hac import hierarchical_affinity_clustering
from gnnkit.sequence.hierarchical_encoding import hierarchical_positions, step_distances
from gnnkit.sequence.hierarchy import Hierarchy
from gnnkit.sequence.mixture_of_tokenizers import MixtureOfTokenizers
from gnnkit.sequence.ordered_block import OrderedBlock
from gnnkit.sequence.orderings import BFS, DFS, Degree, Eigenvector, HACOrder, PageRank, Random
from gnnkit.sequence.patch_blocks import MixerBlock, PatchTransformerLayer
from gnnkit.sequence.patches import PatchEncoder, PatchOverlap, PatchPairs
from gnnkit.sequence.token_encoders import NodeTokenEncoder, SubgraphTokenEncoder
from gnnkit.sequence.token_walks import TokenWalks, token_walks
from gnnkit.sequence.tokenizers.hac import HACTokens
from gnnkit.sequence.tokenizers.hops import HopTokens
from gnnkit.sequence.tokenizers.nodes import NodeTokens
from gnnkit.sequence.tokenizers.patches import PatchTokens
from gnnkit.sequence.tokenizers.walk import WalkTokens
from gnnkit.sequence.tokens import Tokens
from gnnkit.sequence.walk_features import WalkFeatureEncoder

__all__ = [
    "Attention",
    "BFS",
    "Bidirectional",
    "BodyModel",
    "DFS",
    "Degree",
    "DeltaProduct",
    "Eigenvector",
    "GMN",
    "GSM",
    "GSMPlusPlus",
    "GraphMLPMixer",
    "GraphMamba",
    "GraphMambaLayer",
    "GraphViT",
    "HACOrder",
    "HACTokens",
    "HierarchicalEncoding",
    "Hierarchy",
    "HopTokens",
    "Hybrid",
    "Mamba",
    "Mamba2",
    "MixerBlock",
    "MixtureOfTokenizers",
    "NodeTokenEncoder",
    "NodeTokens",
    "OrderedBlock",
    "PageRank",
    "PatchEncoder",
    "PatchOverlap",
    "PatchPairs",
    "PatchTokens",
    "PatchTransformerLayer",
    "Random",
    "S4D",
    "SequenceModelConfig",
    "SubgraphTokenEncoder",
    "TokenWalks",
    "Tokens",
    "WalkFeatureEncoder",
    "WalkTokens",
    "build_sequence_model",
    "hierarchical_affinity_clustering",
    "hierarchical_positions",
    "step_distances",
    "token_walks",
]
