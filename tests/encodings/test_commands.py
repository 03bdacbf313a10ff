"""``gnnkit encode``: every format in and out, and every mistake in one message."""

import csv
import json
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
import torch
from safetensors import safe_open
from torch import Tensor
from torch_geometric.data import InMemoryDataset

import gnnkit.encodings
from gnnkit.cli import _ENCODING_ALIASES, _ENCODINGS, main
from gnnkit.encodings import Encoding, LaplacianEigenvectors, RandomWalk
from tests.rewire.made_graphs import data_of

RWSE = ["--encoding", "rwse", "--k"]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored_logging: None):
    monkeypatch.chdir(tmp_path)


class Pairs(Encoding):
    """All pairs of nodes.

    Args:
        hops: Not used.
    """

    def __init__(self, hops: int = 1, *, per: str = "pair", attr_name: str = "pairs") -> None:
        self.hops = hops
        self.per = per
        self.attr_name = attr_name

    def encode(self, data: Any) -> dict[str, Tensor]:
        size = int(data.num_nodes)
        if self.per == "edge":
            return {f"edge_{self.attr_name}": data.edge_index.sum(0).float()}
        index = torch.cartesian_prod(torch.arange(size), torch.arange(size)).reshape(-1, 2).T.contiguous()
        return {f"{self.attr_name}_index": index, self.attr_name: index.sum(0)}


class Shapes(Encoding):
    """Attributes of nodes of several shapes and dtypes."""

    def encode_nodes(self, data: Any, graph_of_node: Tensor) -> dict[str, Tensor]:
        size = int(data.num_nodes)
        number = torch.arange(size)
        return {
            "flag": number % 2 == 0,
            "count": number,
            "half": (number[:, None] / 2).bfloat16(),
            "cube": torch.arange(4.0 * size).reshape(size, 2, 2),
            "none": torch.empty(size, 0),
        }


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gnnkit.encodings, "RelativeRandomWalk", Pairs, raising=False)
    monkeypatch.setattr(gnnkit.encodings, "DegreeProfile", Shapes, raising=False)


def table_of(path: str) -> tuple[list[str], dict[str, list[str]]]:
    delimiter = "," if path.endswith("csv") else "\t"
    header, *rows = csv.reader(Path(path).read_text().splitlines(), delimiter=delimiter)
    return header, {row[0]: row[1:] for row in rows}


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["encode", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_a_table_has_a_line_per_node_and_a_column_per_step(capsys: pytest.CaptureFixture[str]):
    Path("in.csv").write_text("a,b\nb,c\nc,d\n")
    assert main(["encode", "in.csv", "out.csv", *RWSE, "4"]) == 0
    header, rows = table_of("out.csv")
    assert header == ["node", *(f"random_walk_pe_{step}" for step in range(4))]
    assert rows == {"a": ["0.0", "0.5", "0.0", "0.375"], "b": ["0.0", "0.75", "0.0", "0.6875"]} | {
        "c": rows["b"],
        "d": rows["a"],
    }
    out = capsys.readouterr().out
    assert "steps=4" in out or "RandomWalk(4" in out
    assert "4 nodes, random_walk_pe [4, 4] float32. Written: out.csv" in out


def test_k_is_another_name_of_the_leading_argument():
    Path("in.csv").write_text("0,1\n1,2\n2,0\n2,3\n")
    for number, words in enumerate((["--k", "3"], ["--steps", "3"], ["--steps=3"], ["--k=3"])):
        assert main(["encode", "in.csv", f"{number}.csv", "--encoding", "rwse", *words]) == 0
        assert Path(f"{number}.csv").read_text() == Path("0.csv").read_text()
    assert main(["encode", "in.csv", "lap.csv", "--encoding=lap", "--k", "2", "--normalization", "none"]) == 0
    header, _ = table_of("lap.csv")
    assert len(header) == 1 + 3 * 2


def test_digits_of_a_table_give_the_numbers_back():
    graph = nx.gnm_random_graph(12, 25, seed=1)
    data = data_of(graph)
    Path("in.txt").write_text("".join(f"{u} {v}\n" for u, v in graph.edges))
    assert main(["encode", "in.txt", "out.tsv", "--num-nodes", "12", "--encoding", "random-walk", "--k", "7"]) == 0
    _, rows = table_of("out.tsv")
    found = torch.tensor([[float(cell) for cell in rows[str(node)]] for node in range(12)])
    assert torch.equal(found, RandomWalk(7)(data).random_walk_pe)


@pytest.mark.usefixtures("made")
def test_columns_of_any_shape_and_dtype():
    Path("in.csv").write_text("0,1\n1,2\n")
    assert main(["encode", "in.csv", "out.csv", "--encoding", "ldp"]) == 0
    header, rows = table_of("out.csv")
    assert header == ["node", "flag", "count", "half_0", "cube_0_0", "cube_0_1", "cube_1_0", "cube_1_1"]
    assert rows["2"] == ["1", "2", "1.0", "8.0", "9.0", "10.0", "11.0"]
    Path("empty.csv").write_text("")
    assert main(["encode", "empty.csv", "nothing.csv", "--encoding", "ldp"]) == 0
    assert table_of("nothing.csv") == (header, {})
    for name in ("out.npz", "out.safetensors", "out.pt"):
        assert main(["encode", "in.csv", name, "--encoding", "ldp"]) == 0
    with np.load("out.npz", allow_pickle=False) as out:
        assert out["flag"].dtype == bool
        assert out["half"].tolist() == [[0.0], [0.5], [1.0]]
        assert out["cube"].shape == (3, 2, 2)
    with safe_open("out.safetensors", framework="pt") as out:
        assert out.get_tensor("half").dtype == torch.bfloat16


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(("per", "name"), [("pair", "pairs_index"), ("edge", "edge_pairs")])
def test_a_table_of_edges_or_pairs_is_refused_and_other_formats_take_them(
    per: str, name: str, capsys: pytest.CaptureFixture[str]
):
    # As many edges, in both directions, as nodes; and a single node, which is a single pair.
    for number, text in enumerate(("0,1\n", "0,1\n1,2\n2,0\n", "0,0\n")):
        Path("in.csv").write_text(text)
        arguments = ["--encoding", "rrwp", "--per", per, "--force"]
        error = fails(["in.csv", "out.csv", *arguments], capsys)
        assert f"a table has one line per node, but Pairs(hops=1, per='{per}'" in error
        assert name in error
        assert "write a .pt, .npz or .safetensors file" in error
        assert not Path("out.csv").exists()
        data = data_of([nx.path_graph(2), nx.cycle_graph(3), nx.Graph([(0, 0)])][number])
        for suffix in ("pt", "npz", "safetensors"):
            assert main(["encode", "in.csv", f"out.{suffix}", *arguments]) == 0
        out = torch.load("out.pt", weights_only=False)
        with np.load("out.npz") as arrays, safe_open("out.safetensors", framework="np") as tensors:
            for values in (out[name].numpy(), arrays[name], tensors.get_tensor(name)):
                assert values.shape[-1] == (out.num_edges if per == "edge" else data.num_nodes**2)
            assert arrays["edge_index"].shape == out.edge_index.shape
        capsys.readouterr()


def test_archives_hold_each_attribute_and_the_edges():
    data = data_of(nx.cycle_graph(6))
    np.savez("in.npz", edge_index=data.edge_index.numpy(), num_nodes=6, x=np.ones((6, 2), dtype=np.float32))
    assert main(["encode", "in.npz", "out.npz", *RWSE, "3"]) == 0
    expected: Any = RandomWalk(3)(data)
    with np.load("out.npz", allow_pickle=False) as out:
        assert set(out.files) == {"edge_index", "num_nodes", "x", "random_walk_pe"}
        assert np.array_equal(out["random_walk_pe"], expected.random_walk_pe.numpy())
        assert np.array_equal(out["edge_index"], data.edge_index.numpy())
    assert main(["encode", "out.npz", "again.npz", "--encoding", "lap", "--k", "2"]) == 0
    with np.load("again.npz", allow_pickle=False) as out:
        assert {"random_walk_pe", "laplacian_eigenvector_pe", "laplacian_eigenvector_pe_mask"} <= set(out.files)
    matrix = scipy.sparse.csr_array(nx.to_scipy_sparse_array(nx.cycle_graph(6)))
    scipy.sparse.save_npz("matrix.npz", scipy.sparse.coo_matrix(matrix))
    assert main(["encode", "matrix.npz", "from-matrix.npz", *RWSE, "3"]) == 0
    with np.load("from-matrix.npz", allow_pickle=False) as out:
        assert np.array_equal(out["random_walk_pe"], expected.random_walk_pe.numpy())


def test_names_of_nodes_stay_beside_their_rows():
    Path("in.csv").write_text("z,y\ny,x\nx,w\n")
    assert main(["encode", "in.csv", "out.pt", *RWSE, "2"]) == 0
    assert torch.load("out.pt", weights_only=False).node_names == ["z", "y", "x", "w"]
    assert main(["encode", "out.pt", "out.npz", "--encoding", "lap", "--k", "1"]) == 0
    with np.load("out.npz", allow_pickle=False) as out:
        assert out["node_names"].tolist() == ["z", "y", "x", "w"]
    for source in ("out.pt", "out.npz"):
        assert main(["encode", source, "out.csv", *RWSE, "2", "--force"]) == 0
        assert list(table_of("out.csv")[1]) == ["z", "y", "x", "w"]
        assert main(["rewire", source, "back.csv", "--method", "random-edges", "--num-edges", "0", "--force"]) == 0
        assert Path("back.csv").read_text().splitlines()[1].split(",")[0] == "z"
    assert main(["encode", "in.csv", "out.safetensors", *RWSE, "2"]) == 0
    with safe_open("out.safetensors", framework="pt") as out:
        header = out.metadata()
        assert json.loads(header["node_names"]) == ["z", "y", "x", "w"]
        assert header["num_nodes"] == "4"
        assert header["encoding"].startswith("RandomWalk(")
        assert set(out.keys()) == {"edge_index", "random_walk_pe"}


def test_files_of_pytorch_geometric_of_one_graph_a_list_and_a_dataset(capsys: pytest.CaptureFixture[str]):
    graphs = [data_of(nx.cycle_graph(n), y=torch.tensor([n]), x=torch.ones(n, 1)) for n in (5, 6, 7)]
    torch.save(graphs[0], "one.pt")
    torch.save(graphs, "list.pt")
    InMemoryDataset.save(graphs, "dataset.pt")
    assert main(["encode", "one.pt", "one-out.pt", *RWSE, "3"]) == 0
    capsys.readouterr()
    assert main(["encode", "list.pt", "list-out.pt", *RWSE, "3", "--cache", "kept"]) == 0
    assert "3 graphs, 18 nodes, random_walk_pe [*, 3] float32" in capsys.readouterr().out
    assert main(["encode", "dataset.pt", "dataset-out.pt", *RWSE, "3", "--cache", "kept", "--num-workers", "1"]) == 0
    assert len(list(Path("kept").iterdir())) == 1
    expected = [RandomWalk(3)(data.clone()) for data in graphs]
    assert torch.equal(torch.load("one-out.pt", weights_only=False).random_walk_pe, expected[0].random_walk_pe)

    class Stored(InMemoryDataset):
        def __init__(self) -> None:
            super().__init__()
            self.load("dataset-out.pt")

    for found in (torch.load("list-out.pt", weights_only=False), list(Stored())):
        for data, other in zip(found, expected, strict=True):
            assert torch.equal(data.random_walk_pe, other.random_walk_pe)
            assert torch.equal(data.y, other.y)
    for name in ("out.npz", "out.csv", "out.safetensors"):
        assert "which only a .pt file does" in fails(["list.pt", name, *RWSE, "3"], capsys)


def test_encoding_again_from_the_cache_writes_the_same_table():
    Path("in.csv").write_text("0,1\n1,2\n")
    assert main(["encode", "in.csv", "first.pt", *RWSE, "2"]) == 0
    for name in ("a.csv", "b.csv"):
        assert main(["encode", "first.pt", name, *RWSE, "2", "--cache", "kept"]) == 0
    assert Path("a.csv").read_text() == Path("b.csv").read_text()
    assert len(table_of("b.csv")[0]) == 3


def test_edges_are_undirected_where_none_has_its_reverse_or_as_asked(capsys: pytest.CaptureFixture[str]):
    Path("in.csv").write_text("0,1\n1,2\n2,0\n")
    assert main(["encode", "in.csv", "both.csv", *RWSE, "3"]) == 0
    assert table_of("both.csv")[1]["0"] == ["0.0", "0.5", "0.25"]
    assert main(["encode", "in.csv", "one.csv", *RWSE, "3", "--directed"]) == 0
    assert table_of("one.csv")[1]["0"] == ["0.0", "0.0", "1.0"]
    Path("mixed.csv").write_text("0,1\n1,0\n1,2\n")
    error = fails(["mixed.csv", "out.csv", *RWSE, "3"], capsys)
    assert "with --undirected, or as they are with --directed" in error
    assert main(["encode", "mixed.csv", "out.csv", *RWSE, "3", "--undirected"]) == 0
    assert main(["encode", "mixed.csv", "out2.csv", *RWSE, "3", "--directed"]) == 0
    assert main(["rewire", "mixed.csv", "no.csv", "--method", "random-edges", "--num-edges", "1"]) == 2
    assert "--directed" not in capsys.readouterr().err


def test_graphml_is_read():
    nx.write_graphml(nx.path_graph(["x", "y", "z"]), "in.graphml")
    assert main(["encode", "in.graphml", "out.csv", *RWSE, "2"]) == 0
    assert table_of("out.csv")[1] == {"x": ["0.0", "0.5"], "y": ["0.0", "1.0"], "z": ["0.0", "0.5"]}


@pytest.mark.parametrize("name", [*_ENCODINGS, *_ENCODING_ALIASES])
def test_every_name_has_a_class_or_says_that_this_version_has_none(name: str, capsys: pytest.CaptureFixture[str]):
    class_name, fixed = _ENCODINGS[_ENCODING_ALIASES.get(name, name)]
    with pytest.raises(SystemExit) as stop:
        main(["encode", "--encoding", name, "--help"])
    captured = capsys.readouterr()
    if hasattr(gnnkit.encodings, class_name):
        assert stop.value.code == 0
        assert f"({class_name})" in captured.out
        for argument in fixed:
            assert f"--{argument} " not in captured.out
    else:
        assert stop.value.code == 2
        assert f"this version of gnnkit has no gnnkit.encodings.{class_name}" in captured.err


def test_what_a_name_decides_is_given_to_the_class(monkeypatch: pytest.MonkeyPatch):
    class Ego(Pairs):
        def __init__(self, depth: int, *, degrees: str = "relative") -> None:
            self.depth = depth
            self.degrees = degrees

        def encode(self, data: Any) -> dict[str, Tensor]:
            return {self.degrees: torch.full((int(data.num_nodes),), self.depth)}

    monkeypatch.setattr(gnnkit.encodings, "EgoDegrees", Ego, raising=False)
    Path("in.csv").write_text("0,1\n")
    assert main(["encode", "in.csv", "igel.csv", "--encoding", "igel", "--k", "2"]) == 0
    assert table_of("igel.csv") == (["node", "total"], {"0": ["2"], "1": ["2"]})
    assert main(["encode", "in.csv", "elene.csv", "--encoding", "elene", "--k", "2"]) == 0
    assert table_of("elene.csv")[0] == ["node", "relative"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--encoding", "no-such"], "invalid choice: 'no-such'"),
        (["--encoding", "rwse"], "the following arguments are required: --steps/--k"),
        ([*RWSE, "many"], "argument --steps/--k: invalid int value: 'many'"),
        ([*RWSE, "2", "--radius", "2"], "unrecognized arguments: --radius 2"),
        ([*RWSE, "2", "--directed", "--undirected"], "not allowed with argument"),
        ([], "the following arguments are required: --encoding"),
    ],
)
def test_wrong_options_are_argparse_errors(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main(["encode", "in.csv", "out.csv", *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_mistakes_are_one_message(capsys: pytest.CaptureFixture[str]):
    Path("in.csv").write_text("0,1\n1,2\n")
    assert "steps must be an integer of at least 1" in fails(["in.csv", "out.csv", *RWSE, "0"], capsys)
    assert "there is no file none.csv" in fails(["none.csv", "out.csv", *RWSE, "2"], capsys)
    for name in ("out.graphml", "out.txt", "out"):
        error = fails(["in.csv", name, *RWSE, "2"], capsys)
        assert "the suffix must tell the format, one of .pt, .npz, .safetensors, .csv, .tsv" in error
    Path("there.csv").write_text("mine")
    assert "there.csv exists already; --force" in fails(["in.csv", "there.csv", *RWSE, "2"], capsys)
    assert Path("there.csv").read_text() == "mine"
    assert main(["encode", "in.csv", "there.csv", "--force", *RWSE, "2"]) == 0
    capsys.readouterr()
    assert "cannot write" in fails(["in.csv", "in.csv/out.csv", *RWSE, "2"], capsys)
    Path("negative.csv").write_text("source,target,weight\n0,1,-2\n")
    assert "must be finite and not negative" in fails(["negative.csv", "out.csv", *RWSE, "2"], capsys)
    assert not Path("out.csv").exists()


def test_nothing_half_written_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    Path("in.csv").write_text("0,1\n1,2\n")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", broken)
        for name in ("out.csv", "out.npz", "out.pt", "out.safetensors"):
            assert "No space left on device" in fails(["in.csv", name, *RWSE, "2"], capsys)
    assert [path.name for path in Path().iterdir()] == ["in.csv"]


def test_quiet_prints_the_result_only(capfd: pytest.CaptureFixture[str]):
    torch.save([data_of(nx.cycle_graph(n)) for n in (3, 4)], "in.pt")
    assert main(["encode", "--quiet", "in.pt", "out.pt", "--encoding", "lap", "--k", "2"]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out.startswith("LaplacianEigenvectors(")
    expected: Any = LaplacianEigenvectors(2)(data_of(nx.cycle_graph(4)))
    found = torch.load("out.pt", weights_only=False)[1]
    assert torch.equal(found.laplacian_eigenvector_pe, expected.laplacian_eigenvector_pe)
