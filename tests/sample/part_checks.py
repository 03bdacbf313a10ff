"""What holds for the batches of every sampler: nodes, edges and attributes are those of the whole graph."""

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.sample import Loader
from tests.ops.raw_calls import at_threads


def check_part(data: Data, batch: Data) -> None:
    """Edges join copies of the nodes that they join in ``data``; attributes are those of the nodes and edges."""
    assert data.edge_index is not None
    assert batch.edge_index is not None
    assert torch.equal(batch.n_id[batch.edge_index], data.edge_index[:, batch.e_id])
    assert batch.edge_index.dtype == data.edge_index.dtype
    for name, value in data.to_dict().items():
        if name != "edge_index" and isinstance(value, Tensor):
            rows = batch.n_id if data.is_node_attr(name) else batch.e_id
            assert torch.equal(batch[name], value[rows])
    assert batch.num_nodes == batch.n_id.numel()


def same(one: Data, two: Data) -> bool:
    """Whether two batches are the same, bit for bit."""
    first, second = one.to_dict(), two.to_dict()
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) if isinstance(value, Tensor) else value == second[name]
        for name, value in first.items()
    )


def check_threads(sampler: Loader) -> None:
    """The batches of two epochs are the same, bit for bit, for any number of threads."""

    def batches() -> list[Data]:
        sampler.set_epoch(0)
        return [*sampler, *sampler]

    for one, two in zip(at_threads(1, batches), at_threads(2, batches), strict=True):
        assert same(one, two)
