"""The transforms that a configuration may name, and how they are made from it."""

import importlib
from typing import TYPE_CHECKING, Any

from gnnkit._construct import construct
from gnnkit.errors import ConfigError

if TYPE_CHECKING:
    from gnnkit.experiment.config import TransformConfig

# The one table from names to classes: a new transform is one line.
TRANSFORMS: dict[str, str] = {
    "curvature_profile": "gnnkit.encodings:CurvatureProfile",
    "degree_profile": "gnnkit.encodings:DegreeProfile",
    "ego_degrees": "gnnkit.encodings:EgoDegrees",
    "graph_random_features": "gnnkit.encodings:GraphRandomFeatures",
    "heat_kernel": "gnnkit.encodings:HeatKernel",
    "hop_distances": "gnnkit.encodings:HopDistances",
    "k_hop": "gnnkit.rewire:KHop",
    "laplacian_eigenvectors": "gnnkit.encodings:LaplacianEigenvectors",
    "random_feature_propagation": "gnnkit.encodings:RandomFeaturePropagation",
    "random_walk": "gnnkit.encodings:RandomWalk",
    "relative_random_walk": "gnnkit.encodings:RelativeRandomWalk",
    "resistance_embedding": "gnnkit.encodings:ResistanceEmbedding",
    "sparse_graph_random_features": "gnnkit.encodings:SparseGraphRandomFeatures",
}


def build_transform(config: "TransformConfig") -> Any:
    """Makes the transform that a configuration names.

    Raises:
        ConfigError: If this version has no such class, or the class has no such hyper-parameter, lacks one it needs,
            or refuses the value.
    """
    module, name = TRANSFORMS[config.kind].split(":")
    cls = getattr(importlib.import_module(module), name, None)
    if cls is None:
        raise ConfigError(f"[data.transforms {config.kind}]: this version of gnnkit has no {module}.{name}")
    section = f"data.transforms {config.kind}"
    return construct(cls, options=config.options, section=section)
