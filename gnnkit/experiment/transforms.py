"""The transforms that a configuration may name, and how they are made from it."""

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from gnnkit.errors import ConfigError
from gnnkit.experiment.reader import unknown_key

if TYPE_CHECKING:
    from gnnkit.experiment.config import TransformConfig

# The one table from names to classes: a new transform is one line.
TRANSFORMS: dict[str, str] = {
    "k_hop": "gnnkit.rewire:KHop",
    "laplacian_eigenvectors": "gnnkit.encodings:LaplacianEigenvectors",
    "random_walk": "gnnkit.encodings:RandomWalk",
}


def build_transform(config: "TransformConfig") -> Any:
    """Makes the transform that a configuration names.

    Raises:
        ConfigError: If its class has no such hyper-parameter, lacks one it needs, or refuses the value.
    """
    module, name = TRANSFORMS[config.kind].split(":")
    cls = getattr(importlib.import_module(module), name)
    section = f"data.transforms {config.kind}"
    parameters = inspect.signature(cls).parameters
    for key in config.options:
        if key not in parameters:
            raise unknown_key(key, parameters, section)
    for key, parameter in parameters.items():
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.default is parameter.empty and not variadic and key not in config.options:
            raise ConfigError(f'[{section}] needs a key "{key}"')
    try:
        return cls(**config.options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"[{section}]: {error}") from None
