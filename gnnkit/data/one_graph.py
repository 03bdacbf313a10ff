"""A dataset of one graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data.columns import DatasetInfo, Described


@dataclass(frozen=True, eq=False)
class OneGraph(Described):
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
