"""A dataset of one graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data.columns import DatasetInfo


@dataclass(frozen=True, eq=False)
class OneGraph:
    """What datasets of one graph share: the graph, and what is known of it, as an experiment needs it.

    Attributes:
        info: What the card says, and which files were read.
        data: The graph.
    """

    kind: ClassVar[str]
    """What is predicted: ``nodes`` or ``links``."""

    info: DatasetInfo
    data: Data

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return self.info.name

    @property
    def task(self) -> str:
        """Kind of prediction."""
        return self.info.task

    @property
    def metric(self) -> str:
        """How predictions are scored."""
        return self.info.metric

    @property
    def num_outputs(self) -> int:
        """Width of the model's output."""
        return self.info.num_outputs

    @property
    def checksums(self) -> Mapping[str, str]:
        """SHA-256 of each raw file."""
        return self.info.checksums

    @property
    def official(self) -> bool:
        """Whether all files are those that the authors published."""
        return self.info.official

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know before quoting a number."""
        return self.info.notes

    @property
    def node(self) -> dict[str, Tensor]:
        """Node attributes, labels and masks included, ``[N, *]``."""
        return {key: self.data[key] for key in self.data.node_attrs()}

    @property
    def edge(self) -> dict[str, Tensor]:
        """Edge attributes, ``[E, *]``."""
        return {key: self.data[key] for key in self.data.edge_attrs() if key != "edge_index"}

    @property
    def node_categories(self) -> tuple[int, ...] | None:
        """Number of categories of each column of ``x`` where these are integers."""
        return self.info.node_categories

    def with_transforms(self, transforms: Sequence[Callable[[Any], Any]]) -> Self:
        """The dataset with its graph transformed, one transform after the other. Nothing is kept on disk."""
        data = self.data.clone()
        for transform in transforms:
            data = transform(data)
        return replace(self, data=data)
