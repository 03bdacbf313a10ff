"""The transforms that a configuration may name, and how they are made from it."""

import importlib
import types
import typing
from collections.abc import Mapping
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
    "normalize_features": "torch_geometric.transforms:NormalizeFeatures",
    "random_feature_propagation": "gnnkit.encodings:RandomFeaturePropagation",
    "random_walk": "gnnkit.encodings:RandomWalk",
    "relative_random_walk": "gnnkit.encodings:RelativeRandomWalk",
    "resistance_embedding": "gnnkit.encodings:ResistanceEmbedding",
    "sparse_graph_random_features": "gnnkit.encodings:SparseGraphRandomFeatures",
    "to_undirected": "torch_geometric.transforms:ToUndirected",
}


def build_transform(config: "TransformConfig") -> Any:
    """Makes the transform that a configuration names; ``"none"`` is None for hyper-parameters that may be None.

    Raises:
        ConfigError: If this version has no such class, or the class has no such hyper-parameter, lacks one it needs,
            or refuses the value.
    """
    module, name = TRANSFORMS[config.kind].split(":")
    cls = getattr(importlib.import_module(module), name, None)
    if cls is None:
        raise ConfigError(f"[data.transforms {config.kind}]: this version of gnnkit has no {module}.{name}")
    section = f"data.transforms {config.kind}"
    return construct(cls, options=_with_none(cls, config.options), section=section)


def _with_none(cls: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with None for the word ``none`` where the class takes None: TOML has no word for it."""
    hints = typing.get_type_hints(cls.__init__)
    optional = {key for key, hint in hints.items() if types.NoneType in typing.get_args(hint)}
    return {key: None if value == "none" and key in optional else value for key, value in options.items()}
