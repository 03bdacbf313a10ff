"""Hypergraphs in PyTorch Geometric's ``Data``, so that loaders and ``Batch`` handle them."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.storage import GlobalStorage

from gnnkit.errors import DataError, ShapeError
from gnnkit.ops._checks import check_size


class _HyperStorage(GlobalStorage):
    """A storage that keeps ``num_hyperedges`` as an int, and in a batch as one int per graph.

    ``Batch`` makes a tensor of integers, which would go to the GPU with the rest, and come back from ``to_data_list``
    as tensors.
    """

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "num_hyperedges" and isinstance(value, Tensor):
            value = value.tolist()
        super().__setitem__(key, value)

    @property
    def num_edges(self) -> int:
        # Anything with "edge" in its name counts otherwise.
        return self["edge_index"].size(1) if "edge_index" in self else 0


class HyperData(Data):
    """A hypergraph with attributes: ``Data`` that ``Batch``, ``DataLoader`` and ``to_data_list`` treat rightly.

    In a batch the nodes of ``hyperedge_index[0]`` count on by the number of nodes and the hyperedges of
    ``hyperedge_index[1]`` by the number of hyperedges, so that trailing isolated nodes and empty hyperedges keep their
    rows. Other attributes are joined along their first dimension, those with ``index`` in their name as PyTorch
    Geometric does.

    Args:
        x: Node features ``[N, F]``.
        hyperedge_index: Nodes and the hyperedges they belong to, ``[2, nnz]``.
        hyperedge_attr: Features of the hyperedges, ``[M, D]``.
        hyperedge_weight: Weights of the hyperedges, ``[M]``.
        num_hyperedges: Number of hyperedges, ``M``. It must be given before the hypergraph is batched or read.
        **kwargs: Any other attribute, ``num_nodes`` and ``y`` among them.
    """

    def __init__(
        self,
        x: Tensor | None = None,
        hyperedge_index: Tensor | None = None,
        hyperedge_attr: Tensor | None = None,
        hyperedge_weight: Tensor | None = None,
        num_hyperedges: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        vars(self)["_store"] = _HyperStorage(_parent=self)
        given = {
            "x": x,
            "hyperedge_index": hyperedge_index,
            "hyperedge_attr": hyperedge_attr,
            "hyperedge_weight": hyperedge_weight,
            "num_hyperedges": num_hyperedges,
        }
        for key, value in {**given, **kwargs}.items():
            if value is not None:
                setattr(self, key, value)

    @property
    def num_hyperedges(self) -> int | None:
        """Number of hyperedges, in a batch that of all graphs together; None where it was not given."""
        held = self._store.get("num_hyperedges")
        return None if held is None else count_hyperedges(held)

    @num_hyperedges.setter
    def num_hyperedges(self, value: int | None) -> None:
        self._store["num_hyperedges"] = None if value is None else check_size("num_hyperedges", value)

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """What the next graph of a batch counts on by."""
        if key != "hyperedge_index":
            return super().__inc__(key, value, *args, **kwargs)
        num_hyperedges, num_nodes = self.num_hyperedges, self.num_nodes
        if num_hyperedges is None or num_nodes is None:
            missing = "num_nodes" if num_nodes is None else "num_hyperedges"
            raise DataError(f"hypergraphs cannot be batched without their {missing}; set data.{missing}")
        return torch.tensor([[num_nodes], [num_hyperedges]])


def count_hyperedges(held: Any) -> int:
    """The number of hyperedges as ``num_hyperedges`` of a ``Data`` holds it, or of all graphs of a ``Batch``.

    Raises:
        ShapeError: If it is neither an integer nor several.
    """
    counts = held.flatten().tolist() if isinstance(held, Tensor) else held
    counts = counts if isinstance(counts, list) else [counts]
    if not all(isinstance(count, int) for count in counts):
        raise ShapeError(f"num_hyperedges must be an integer, got {held!r:.80}")
    return sum(counts)


def batch_hyperedges(data: Data) -> Tensor:
    """Graph of each hyperedge, int64 ``[M]``: what ``data.batch`` is for nodes; zeros where there is one graph only.

    Raises:
        DataError: If ``num_hyperedges`` is missing.

    Complexity: ``O(M)``.
    """
    held = data.to_dict().get("num_hyperedges")
    if held is None:
        raise DataError("data.num_hyperedges is missing; set it before batching")
    index = data.hyperedge_index
    counts = torch.as_tensor(held, device=None if index is None else index.device).reshape(-1)
    return torch.arange(counts.numel(), device=counts.device).repeat_interleave(
        counts, output_size=count_hyperedges(held)
    )
