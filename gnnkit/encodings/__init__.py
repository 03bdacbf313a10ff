"""Transforms that add positional or structural node features: ``Data`` in, ``Data`` out; on a ``Batch`` per graph."""

from gnnkit.encodings._encoding import Encoding
from gnnkit.encodings.curvature_profile import CurvatureProfile
from gnnkit.encodings.degree_profile import DegreeProfile
from gnnkit.encodings.ego_degrees import EgoDegrees
from gnnkit.encodings.graph_random_features import GraphRandomFeatures, SparseGraphRandomFeatures
from gnnkit.encodings.heat_kernel import HeatKernel
from gnnkit.encodings.hop_distances import HopDistances
from gnnkit.encodings.laplacian import LaplacianEigenvectors
from gnnkit.encodings.random_feature_propagation import RandomFeaturePropagation
from gnnkit.encodings.random_walk import RandomWalk
from gnnkit.encodings.relative_random_walk import RelativeRandomWalk
from gnnkit.encodings.resistance_embedding import ResistanceEmbedding
from gnnkit.transforms import apply

__all__ = [
    "CurvatureProfile",
    "DegreeProfile",
    "EgoDegrees",
    "Encoding",
    "GraphRandomFeatures",
    "HeatKernel",
    "HopDistances",
    "LaplacianEigenvectors",
    "RandomFeaturePropagation",
    "RandomWalk",
    "RelativeRandomWalk",
    "ResistanceEmbedding",
    "SparseGraphRandomFeatures",
    "apply",
]
