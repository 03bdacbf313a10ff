"""The parts of a packed dataset."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset besides its graphs.

    Attributes:
        name: Name of the dataset.
        task: One of ``multilabel``, ``binary``, ``regression``, ``multiclass``.
        metric: One of ``ap``, ``rocauc``, ``rmse``, ``accuracy``, ``hits@20``.
        num_outputs: Width of the model's output.
        checksums: SHA-256 of each raw file, by path relative to the data root; for run records.
        official: False if any file is not the one that the benchmark's authors published.
        notes: What a user should know before quoting a number.
        node_categories: Number of categories of each column of ``x`` where these are integers, else None.
        edge_categories: The same for ``edge_attr``.
        options: Options that a generated dataset was made with.
    """

    name: str
    task: str
    metric: str
    num_outputs: int
    checksums: dict[str, str] = field(default_factory=dict)
    official: bool = True
    notes: tuple[str, ...] = ()
    node_categories: tuple[int, ...] | None = None
    edge_categories: tuple[int, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)


class Described:
    """What every dataset says of itself, from its :class:`DatasetInfo`."""

    info: DatasetInfo

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return self.info.name

    @property
    def task(self) -> str:
        """Kind of prediction; see :class:`DatasetInfo`."""
        return self.info.task

    @property
    def metric(self) -> str:
        """How predictions are scored; see :class:`DatasetInfo`."""
        return self.info.metric

    @property
    def num_outputs(self) -> int:
        """Width of the model's output."""
        return self.info.num_outputs

    @property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of each raw file, for run records."""
        return self.info.checksums

    @property
    def official(self) -> bool:
        """False if any raw file is not the one that the benchmark's authors published; see :attr:`notes`."""
        return self.info.official

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know before quoting a number."""
        return self.info.notes


class Ragged(NamedTuple):
    """An attribute with its own number of rows in each graph; graph ``g`` has rows ``ptr[g]:ptr[g + 1]``.

    ``values`` is concatenated along the dimension along which PyG batches the attribute: the last one for names that
    contain ``index``, else the first.
    """

    values: Tensor
    ptr: Tensor


class Column(NamedTuple):
    """One attribute of all graphs, and how to cut it."""

    key: str
    values: Tensor
    rows: str
    ptr: Tensor
    dim: int
    increments: bool


def ragged_dim(key: str, values: Tensor) -> int:
    """Dimension along which PyG batches an attribute of this name."""
    return values.dim() - 1 if "index" in key else 0
