"""Graphs as sequences of tokens, and models that read them: Graph-Mamba, GMN, GSM++, Graph MLP-Mixer.

Every tokenizer, ordering, token encoder and block can be swapped for another; :mod:`gnnkit.sequence.parts` says what
each takes and gives.
"""

from gnnkit.sequence.hac import hierarchical_affinity_clustering
from gnnkit.sequence.hierarchical_encoding import hierarchical_positions, step_distances
from gnnkit.sequence.hierarchy import Hierarchy
from gnnkit.sequence.orderings import BFS, DFS, Degree, Eigenvector, HACOrder, PageRank, Random
from gnnkit.sequence.token_encoders import NodeTokenEncoder, SubgraphTokenEncoder
from gnnkit.sequence.tokenizers.hac import HACTokens
from gnnkit.sequence.tokenizers.hops import HopTokens
from gnnkit.sequence.tokenizers.nodes import NodeTokens
from gnnkit.sequence.tokenizers.patches import PatchTokens
from gnnkit.sequence.tokenizers.walk import WalkTokens
from gnnkit.sequence.tokens import Tokens

__all__ = [
    "BFS",
    "DFS",
    "Degree",
    "Eigenvector",
    "HACOrder",
    "HACTokens",
    "Hierarchy",
    "HopTokens",
    "NodeTokenEncoder",
    "NodeTokens",
    "PageRank",
    "PatchTokens",
    "Random",
    "SubgraphTokenEncoder",
    "Tokens",
    "WalkTokens",
    "hierarchical_affinity_clustering",
    "hierarchical_positions",
    "step_distances",
]
