"""What models that are put together from parts share: checks of what parts give each other, and seeds."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._inputs import node_features
from gnnkit.ops._checks import check_seed, check_segments
from gnnkit.sequence.parts import TokenEncoder, Tokenizer
from gnnkit.sequence.tokens import Tokens

_SEEDS = 2**62


def checked_inputs(
    x: Tensor, graph: Graph, ptr: Tensor | None, *, layer: str, width: int | None = None
) -> tuple[Tensor, Tensor]:
    """Node features ``[N, width]``, of any width with None, and boundaries of graphs as int64.

    Without boundaries, they are those of one graph.

    Raises:
        ShapeError: If the features do not fit the graph.
        IndexRangeError: If ``ptr`` does not run from 0 to ``N``.
    """
    if width is None and isinstance(x, Tensor) and x.dim() == 2:
        width = x.size(1)
    x = node_features(x, graph, layer=layer, width=-1 if width is None else width)
    if ptr is None:
        return x, torch.tensor([0, x.size(0)], device=x.device)
    check_segments(ptr, x.size(0))
    return x, ptr.long()


def drawn_seed(seed: int | None, is_random: bool, training: bool) -> int:
    """The seed given; without one, in training, a new one from torch's global generator where it matters; else 0.

    As dropout takes its own: a checkpoint of the generator replays it.
    """
    if seed is not None:
        return check_seed(seed)
    return int(torch.randint(_SEEDS, (1,))) if training and is_random else 0


def same_dim(name: str, **parts: Any) -> int:
    """The one width of all parts.

    Raises:
        ConfigError: If a part has no width, or another one.
    """
    dims = {part: getattr(value, "dim", None) for part, value in parts.items()}
    dim = next(iter(dims.values()))
    if not isinstance(dim, int) or set(dims.values()) != {dim}:
        found = ", ".join(f"{part}.dim = {width}" for part, width in dims.items())
        raise ConfigError(f"the parts of {name} must have one width, an integer attribute dim; got {found}")
    return dim


def check_vectors(value: object, shape: Sequence[int], part: object) -> Tensor:
    """``value`` itself; raises ShapeError where a part has not returned a tensor of that shape."""
    if not isinstance(value, Tensor) or value.shape != torch.Size(shape):
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError(f"{type(part).__name__} must return shape {tuple(shape)}, got {found}")
    return value


def copied_rows(value: Tensor, index: Tensor) -> Tensor:
    """``value[index]``, whose gradient is a sum in a fixed order on every device."""
    copies = Graph(torch.arange(index.size(0) + 1, device=index.device), index, None, value.size(0))
    return ops.gather(copies, value, "src")


def convolved(conv: torch.nn.Module, x: Tensor, graph: Graph, edge_attr: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Nodes and edges after a convolution of ``gnnkit.nn``, or a module called in the same way.

    Edge features are given to it where it uses some, and zeros for those that are missing where it cannot do without.
    One that returns nodes only leaves the edges as they are.

    Raises:
        ShapeError: If it returns nodes of another shape.
    """
    edge_input = getattr(conv, "edge_input", None)
    if edge_input == "features" and edge_attr is None:
        edge_attr = x.new_zeros((graph.num_edges, x.size(1)))
    out = conv(x, graph) if edge_attr is None or edge_input not in (None, "features") else conv(x, graph, edge_attr)
    if isinstance(out, tuple):
        out, edge_attr = out
    return check_vectors(out, x.shape, conv), edge_attr


def local_layers(local: torch.nn.Module | Sequence[torch.nn.Module] | None) -> torch.nn.ModuleList:
    """What comes before tokens, as a list of layers."""
    if local is None:
        return torch.nn.ModuleList()
    return torch.nn.ModuleList([local] if isinstance(local, torch.nn.Module) else local)


def encoded_locally(
    layers: torch.nn.ModuleList, x: Tensor, graph: Graph, edge_attr: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Nodes and edges behind all layers, each as :func:`convolved` takes it."""
    for layer in layers:
        x, edge_attr = convolved(layer, x, graph, edge_attr)
    return x, edge_attr


def tokenized(tokenizer: Tokenizer, x: Tensor, graph: Graph, ptr: Tensor, seed: int) -> Tokens:
    """The tokens of a batch. Raises ShapeError where they are not of its nodes and graphs."""
    # Tokens are no function that could be differentiated.
    tokens = tokenizer(graph, ptr, x.detach(), seed=seed)
    wanted = ptr.size(0) - 1 if tokens.level == "graph" else x.size(0)
    if tokens.num_nodes != x.size(0) or tokens.num_sequences != wanted:
        raise ShapeError(
            f"{type(tokenizer).__name__} must give {wanted} sequences of tokens of {x.size(0)} nodes, got "
            f"{tokens.num_sequences} of {tokens.num_nodes} nodes"
        )
    return tokens


def encodes_at_random(encoder: TokenEncoder) -> bool:
    """Whether an encoder of tokens draws random numbers, and takes a seed: see its protocol."""
    return getattr(encoder, "is_random", False)


def encoded_tokens(
    encoder: TokenEncoder, tokens: Tokens, x: Tensor, graph: Graph, edge_attr: Tensor | None, seed: int | None
) -> Tensor:
    """A vector for each token, ``[K, dim]``. Raises ShapeError where the encoder returns another shape."""
    more: dict[str, Any] = {"seed": seed} if encodes_at_random(encoder) else {}
    return check_vectors(encoder(tokens, x, graph, edge_attr, **more), (tokens.num_tokens, encoder.dim), encoder)
