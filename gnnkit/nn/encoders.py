"""Encoders: from raw node and edge features to vectors of the model's width."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from gnnkit.nn.batch_norm import BatchNorm, without_missing
from gnnkit.nn.config import EncodingConfig

ATOM_FEATURE_DIMS = (119, 5, 12, 12, 10, 6, 6, 2, 2)
"""Categories of OGB's nine atom features: atomic number, chirality, degree, formal charge, hydrogens, radical
electrons, hybridisation, aromatic, in a ring."""

BOND_FEATURE_DIMS = (5, 6, 2)
"""Categories of OGB's three bond features: type, stereo configuration, conjugated."""


_ONE_HOT_ROWS = 1024
_ONE_HOT_CHUNK = 2**16


class _SummedRows(torch.autograd.Function):
    """Sums the rows of a small table that are listed for each output, ``[N, C]`` and ``[R, F]`` to ``[N, F]``.

    The gradient of a table of few rows is a dense product with a one-hot matrix: several times faster than torch's
    own, which sorts the indices and then adds up rows that nearly all belong to the few most frequent categories.
    """

    @staticmethod
    def forward(ctx: Any, index: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.num_rows = table.size(0)
        return torch.nn.functional.embedding_bag(index, table, mode="sum")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor]:
        (grad,), (index,) = grad_outputs, ctx.saved_tensors
        total = grad.new_zeros(ctx.num_rows, grad.size(1))
        for rows, part in zip(index.split(_ONE_HOT_CHUNK), grad.split(_ONE_HOT_CHUNK), strict=True):
            # The columns of one output are distinct, since each has its own rows of the table.
            one_hot = grad.new_zeros(rows.size(0), ctx.num_rows).scatter(1, rows, 1.0)
            total = torch.addmm(total, one_hot.t(), part)
        return None, total


class CategoricalEncoder(torch.nn.Module):
    r"""Sums one learned vector per categorical column: :math:`y_i = \sum_c W_c[x_{ic}]`.

    The tables of all columns are one parameter, ``weight`` ``[sum(dims), dim]``, and one lookup.

    Args:
        dims: Number of categories of each column.
        dim: Width of the output.
        list_name: Name under which OGB's encoders keep a list of one table per column; state dicts of that form are
            loaded as well. None: only ``weight`` is loaded.

    Raises:
        ConfigError: If there is no column, or a column without categories.

    Determinism: bitwise on the CPU.
    Complexity: ``O(N C dim)`` time for ``C`` columns, no temporary per column.
    """

    offset: Tensor
    size: Tensor

    def __init__(self, dims: Sequence[int], dim: int, *, list_name: str | None = None) -> None:
        super().__init__()
        if not dims or min(dims) < 1:
            raise ConfigError(f"dims must name at least one category for each of one or more columns, got {dims}")
        self.dims = tuple(dims)
        self.dim = dim
        self.list_name = list_name
        size = torch.tensor(self.dims)
        self.register_buffer("size", size, persistent=False)
        self.register_buffer("offset", size.cumsum(0) - size, persistent=False)
        self.weight = torch.nn.Parameter(torch.empty(sum(self.dims), dim))
        self.register_load_state_dict_pre_hook(_join_column_tables)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new tables, each Glorot uniform for its own number of categories, as OGB does."""
        for table in self.weight.data.split(self.dims):
            torch.nn.init.xavier_uniform_(table)

    def forward(self, x: Tensor) -> Tensor:
        """Encodes ``x``.

        Args:
            x: Categories, int32 or int64 ``[N, C]``, or ``[N]`` for one column.

        Returns:
            ``[N, dim]``.

        Raises:
            DtypeError: If ``x`` is not of an integer dtype.
            ShapeError: If ``x`` has not one column per entry of ``dims``.
            IndexRangeError: If a category is out of range; names the column. On an accelerator the check is a
                device-side assertion, so that the host does not wait.
        """
        name = type(self).__name__
        if x.dtype not in (torch.int32, torch.int64):
            raise DtypeError(f"{name} needs int32 or int64 categories, got {x.dtype}; convert them with .long()")
        if x.dim() == 1:
            x = x.unsqueeze(-1)
        if x.dim() != 2 or x.size(1) != len(self.dims):
            raise ShapeError(f"{name} needs x of shape [N, {len(self.dims)}], got {tuple(x.shape)}")
        self._check_range(x, name)
        index = x.long() + self.offset
        # A compiler knows torch's own lookup, and may do better with it.
        if self.weight.size(0) <= _ONE_HOT_ROWS and not torch.compiler.is_compiling():
            return _SummedRows.apply(index, self.weight)
        return torch.nn.functional.embedding_bag(index, self.weight, mode="sum")

    def _check_range(self, x: Tensor, name: str) -> None:
        if x.size(0) == 0:
            return
        low, high = x.aminmax(dim=0)
        valid = (low >= 0) & (high < self.size)
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            torch.ops.aten._assert_async.msg(valid.all(), f"{name}: a category is out of range")
        elif not bool(valid.all()):
            column = int((~valid).nonzero()[0])
            raise IndexRangeError(
                f"{name}: column {column} must lie in [0, {self.dims[column] - 1}], got values from "
                f"{int(low[column])} to {int(high[column])}; check the featurisation, or raise dims[{column}]"
            )

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.dims}, {self.dim}"


def _join_column_tables(module: torch.nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Replaces OGB's list of tables in a state dict by the one table that holds them all."""
    if not isinstance(module, CategoricalEncoder) or module.list_name is None:
        return
    keys = [f"{prefix}{module.list_name}.{column}.weight" for column in range(len(module.dims))]
    if all(key in state_dict for key in keys):
        state_dict[f"{prefix}weight"] = torch.cat([state_dict.pop(key) for key in keys])


class AtomEncoder(CategoricalEncoder):
    """OGB's nine atom features to a vector. Also loads the state dict of ``ogb``'s class of the same name.

    Args:
        dim: Width of the output.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(ATOM_FEATURE_DIMS, dim, list_name="atom_embedding_list")


class BondEncoder(CategoricalEncoder):
    """OGB's three bond features to a vector. Also loads the state dict of ``ogb``'s class of the same name.

    Args:
        dim: Width of the output.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(BOND_FEATURE_DIMS, dim, list_name="bond_embedding_list")


class LinearEncoder(torch.nn.Module):
    """An affine map of real-valued features, ``[N, in_dim]`` or ``[N]`` to ``[N, dim]``.

    Args:
        in_dim: Width of the features.
        dim: Width of the output.
    """

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(in_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Encodes ``x``; integer features are taken as numbers.

        Raises:
            ShapeError: If ``x`` has another width.
        """
        if x.dim() == 1:
            x = x.unsqueeze(-1)
        if x.dim() != 2 or x.size(1) != self.linear.in_features:
            raise ShapeError(f"LinearEncoder needs [N, {self.linear.in_features}], got {tuple(x.shape)}")
        return self.linear(x.to(self.linear.weight.dtype))


class EncodingEncoder(torch.nn.Module):
    """A positional or structural feature to a vector: batch normalisation of the raw feature (optional), affine map.

    Missing entries count as zero after the normalisation, whose statistics are those of the other entries; what they
    hold, NaN too, reaches neither results nor gradients.

    Args:
        config: The feature, its width, the width of the output and the normalisation.
    """

    def __init__(self, config: EncodingConfig) -> None:
        super().__init__()
        self.attr = config.attr
        self.norm = BatchNorm(config.in_dim) if config.norm == "batch" else None
        self.linear = torch.nn.Linear(config.in_dim, config.dim)

    def forward(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encodes ``value``.

        Args:
            value: ``[N, in_dim]``.
            mask: Which entries there are, bool ``[N, in_dim]``. None: all of them.

        Returns:
            ``[N, dim]``.

        Raises:
            ShapeError: If ``value`` has another width, or ``mask`` is not bool or of another shape.
        """
        if value.dim() != 2 or value.size(1) != self.linear.in_features:
            raise ShapeError(
                f"encoding {self.attr!r} must have shape [N, {self.linear.in_features}], got {tuple(value.shape)}"
            )
        value = value.to(self.linear.weight.dtype)
        if self.norm is not None:
            value = self.norm(value, mask)
        elif mask is not None:
            value = without_missing(value, mask)
        return self.linear(value)
