import pytest
import torch
from torch_geometric.data import Data

from gnnkit.data import DatasetInfo, GraphDataset
from gnnkit.data.packing import pack
from gnnkit.errors import DataError

INFO = DatasetInfo("packed", "binary", "rocauc", 1)
SPLIT = {"train": [0], "val": [1], "test": []}


def graph(nodes: int, edges: int, **more) -> Data:
    edge_index = torch.zeros(2, edges, dtype=torch.int64)
    return Data(x=torch.ones(nodes, 2), edge_index=edge_index, y=torch.zeros(1, 1), **more)


def test_packing_undoes_unpacking(make_dataset) -> None:
    dataset = make_dataset()
    again = GraphDataset.from_data_list(list(dataset), dataset.info, dataset.split)
    assert again.content_hash == dataset.content_hash
    assert [*again.node, *again.edge, *again.graph, *again.ragged] == [
        *dataset.node,
        *dataset.edge,
        *dataset.graph,
        *dataset.ragged,
    ]


def test_attributes_find_their_kind() -> None:
    graphs = [
        graph(3, 4, pe=torch.ones(3), weight=torch.ones(4), size=3, spectrum=torch.ones(2), far_index=torch.ones(2, 1)),
        graph(2, 5, pe=torch.ones(2), weight=torch.ones(5), size=2, spectrum=torch.ones(2), far_index=torch.ones(2, 3)),
    ]
    packed = pack(graphs, INFO, SPLIT)
    assert set(packed.node) == {"x", "pe"}
    assert set(packed.edge) == {"weight"}
    assert set(packed.graph) == {"y", "size"}
    assert set(packed.ragged) == {"spectrum", "far_index"}
    assert packed.ragged["far_index"].ptr.tolist() == [0, 1, 4]
    assert packed.graph["size"].tolist() == [3, 2]


def test_ambiguous_sizes_are_settled_by_knowledge_then_name() -> None:
    graphs = [graph(1, 1, edge_weight=torch.ones(1), score=torch.ones(1))] * 2
    packed = pack(graphs, INFO, SPLIT)
    assert set(packed.graph) == {"y"}
    assert set(packed.edge) == {"edge_weight"}
    assert set(packed.node) == {"x", "score"}
    assert set(pack(graphs, INFO, SPLIT, kinds={"score": "edge"}).edge) == {"edge_weight", "score"}


@pytest.mark.parametrize(
    ("graphs", "message"),
    [
        ([], "without graphs"),
        ([Data(x=torch.ones(2, 1))], "must have an edge_index"),
        ([graph(2, 1), graph(2, 1, pe=torch.ones(2))], "graph 1 and graph 0 .* pe"),
        ([graph(2, 1, smiles="CC")], "'smiles' of graph 0 is str"),
        ([graph(2, 1, pe=torch.ones(2)), graph(2, 1, pe=torch.ones(2).long())], "'pe' of graph 1"),
        ([graph(2, 1, pe=torch.ones(2, 3)), graph(2, 1, pe=torch.ones(2, 4))], r"\(2, 4\)"),
        ([graph(2, 1, adj=torch.eye(2).to_sparse())], "'adj' of graph 0"),
    ],
)
def test_graphs_that_cannot_be_packed(graphs: list[Data], message: str) -> None:
    with pytest.raises(DataError, match=message):
        pack(graphs, INFO, {})
