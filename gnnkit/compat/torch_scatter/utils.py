"""``torch_scatter.utils``."""

from torch import Tensor

from gnnkit.compat.torch_scatter._groups import align, check_dim
from gnnkit.ops._checks import check_tensor


def broadcast(src: Tensor, other: Tensor, dim: int) -> Tensor:
    """``src`` expanded to the shape of ``other``; a vector lies along ``dim``, other shapes are filled up at the end.

    Raises:
        ShapeError: If ``src`` cannot be expanded to it.
        IndexRangeError: If ``other`` has no dimension ``dim``.
    """
    check_tensor("src", src)
    check_tensor("other", other)
    dim = check_dim(dim, other.dim())
    return align(src, tuple(other.shape), dim, other.size(dim)).expand_as(other)
