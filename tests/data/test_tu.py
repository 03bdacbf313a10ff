"""The TU collection: tiny archives written here and spoiled one by one, and the real ones."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnnkit.data import DatasetInfo, card, load, names, verify
from gnnkit.data.archives import integers, numbers, words
from gnnkit.data.folds import NUM_FOLDS, fold_split, stratified_folds
from gnnkit.data.tu import read_tu
from gnnkit.data.tu_gin import read_tu_gin
from gnnkit.errors import ConfigError, DataError
from tests.data.conftest import TinySet

INFO = DatasetInfo("tiny", "multiclass", "accuracy", 3)

# A triangle, an edge with a node apart, and a path; the first edge of the triangle is listed twice, and a loop.
MEMBERS = {
    "A": "2, 1\n1, 2\n2, 3\n3, 2\n1, 3\n3, 1\n1, 2\n5, 5\n4, 6\n6, 4\n8, 7\n7, 8\n8, 9\n9, 8\n",
    "graph_indicator": "1\n1\n1\n2\n2\n2\n3\n3\n3\n",
    "graph_labels": "4\n-1\n4\n",
    "node_labels": "2\n3\n5\n2\n2\n2\n3\n3\n3\n",
    "node_attributes": "".join(f"  {i}.5, {-i}e-1\n" for i in range(9)),
    "edge_labels": "1\n1\n2\n2\n1\n1\n1\n2\n1\n1\n1\n1\n2\n2\n",
}


def zipped(members: dict[str, str], prefix: str = "TINY//TINY") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(f"{prefix}_{name}.txt", text)
        archive.writestr(f"{prefix.partition('/')[0]}/README.txt", "what A, B mean")
    return buffer.getvalue()


def gin_zipped(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("TINY/TINY.txt", text)
        archive.writestr("__MACOSX/TINY/._TINY.txt", "x")
    return buffer.getvalue()


def tiny(tmp_path: Path, cards: Path, source: str, content: bytes) -> TinySet:
    found = TinySet(tmp_path / "root", cards)
    found.head = {
        "name": "tiny", "title": "Tiny", "description": "d", "source": source, "task": "multiclass",
        "metric": "accuracy", "num_outputs": 2, "licence": "none",
    }  # fmt: skip
    found.add("archive", "tu/TINY.zip", content)
    found.statistics = '[options]\nfold = 0\nsplits = "stratified"\nseed = 0\nattributes = false'
    found.write()
    return found


@pytest.fixture
def tiny_tu(tmp_path: Path, cards: Path) -> TinySet:
    return tiny(tmp_path, cards, "tu", zipped(MEMBERS))


def respoil(found: TinySet, content: bytes) -> None:
    found.content["tu/TINY.zip"] = content
    found.write()


def test_an_archive_by_hand(tiny_tu: TinySet) -> None:
    dataset = load("tiny", progress=False)
    assert dataset.node_ptr.tolist() == [0, 3, 6, 9]
    assert dataset.edge_ptr.tolist() == [0, 6, 8, 12]
    assert dataset[0].edge_index.tolist() == [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    assert dataset[1].edge_index.tolist() == [[0, 2], [2, 0]]
    assert dataset[2].edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert dataset.graph["y"].tolist() == [1, 0, 1]
    # One column for each label from 2 to 5; none of the nodes has 4.
    assert dataset[0].x.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert dataset.node["x"].dtype == torch.float32
    assert dataset[0].edge_attr.argmax(1).tolist() == [0, 0, 0, 1, 0, 1]
    assert dataset[2].edge_attr.argmax(1).tolist() == [0, 0, 1, 1]
    assert dataset.info.options == {"fold": 0, "splits": "stratified", "seed": 0, "attributes": False}
    assert dataset.batch([0, 2]).num_nodes == 6


def test_attributes_come_before_labels_where_asked_for_and_alone_where_there_are_no_labels(tiny_tu: TinySet) -> None:
    wide = load("tiny", attributes=True, progress=False)
    assert wide[1].x[1].tolist() == pytest.approx([4.5, -0.4, 1, 0, 0, 0])
    members = {key: text for key, text in MEMBERS.items() if key != "node_labels"}
    respoil(tiny_tu, zipped(members))
    assert load("tiny", progress=False)[1].x[1].tolist() == pytest.approx([4.5, -0.4])
    del members["node_attributes"], members["edge_labels"]
    respoil(tiny_tu, zipped(members | {"edge_attributes": "0\n1\n2\n3\n4\n5\n1\n" + "7\n" * 7}))
    bare = load("tiny", progress=False)
    assert "x" not in bare.node
    assert bare[1].num_nodes == 3
    assert bare[0].edge_attr.flatten().tolist() == [1, 4, 0, 2, 5, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": None}, r"TINY\.zip has no file \*_A\.txt"),
        ({"graph_indicator": None}, r"TINY\.zip has no file \*_graph_indicator\.txt"),
        ({"graph_labels": None}, r"has no file \*_graph_labels\.txt"),
        ({"A": MEMBERS["A"].replace("4, 6", "4, 7")}, r"line 9: edge \(4, 7\) joins nodes of two graphs, 2 and 3"),
        ({"A": MEMBERS["A"].replace("4, 6", "4, 10")}, r"_A\.txt, line 9: edge \(4, 10\), but there are 9 nodes"),
        ({"A": MEMBERS["A"].replace("4, 6", "0, 6")}, r"line 9: edge \(0, 6\)"),
        ({"A": MEMBERS["A"].replace("4, 6", "4, 99999999999999999999")}, "line 9: edge"),
        ({"A": MEMBERS["A"].replace("4, 6", "4, 6, 1")}, r"line 9: expected 2 column\(s\), got 3"),
        ({"A": MEMBERS["A"].replace("4, 6", "4 6")}, r"line 9: expected 2 column\(s\), got 1"),
        ({"A": MEMBERS["A"].replace("4, 6", "4, ")}, "line 9: expected an integer, got ' '"),
        ({"A": MEMBERS["A"].replace("4, 6", "4, 6.5")}, "line 9: expected an integer, got ' 6.5'"),
        ({"A": MEMBERS["A"].replace("4, 6", "4, 6 1")}, "line 9: expected an integer, got ' 6 1'"),
        ({"A": MEMBERS["A"].replace("4, 6", "")}, r"line 9: expected 2 column\(s\), got 1"),
        ({"A": ""}, "_A.txt is empty"),
        ({"graph_indicator": "1\n1\n1\n2\n2\n2\n3\n3\n4\n"}, "indicator.txt, line 9: graph 4, but .* has 3 graphs"),
        ({"graph_indicator": "1\n1\n1\n2\n2\n2\n3\n3\n0\n"}, "line 9: graph 0"),
        ({"graph_indicator": "1\n1\n1\n3\n3\n3\n2\n2\n2\n"}, "line 7: graph 2 comes after graph 3"),
        ({"graph_indicator": "1\n1\n1\n1\n1\n1\n3\n3\n3\n"}, "graph 2 has no nodes"),
        ({"graph_indicator": "1\n1\n1\n2\n2\n2\n3\n3\n"}, r"edge \(8, 9\), but there are 8 nodes"),
        ({"graph_labels": "4\n-1\n"}, "graph 3, but .* has 2 graphs"),
        ({"graph_labels": "4\n-1\n4\n1\n"}, "graph 4 has no nodes"),
        ({"node_labels": "1\n" * 8}, r"node_labels\.txt has 8 rows, but TINY_graph_indicator\.txt has 9"),
        ({"node_labels": "x\n" * 9}, r"node_labels\.txt, line 1: expected an integer, got 'x'"),
        ({"node_labels": "1\n" * 8 + "99999\n"}, "labels from 1 to 99999 are too many"),
        ({"edge_labels": "1\n" * 13}, r"edge_labels\.txt has 13 rows, but TINY_A\.txt has 14"),
        ({"edge_labels": MEMBERS["edge_labels"].replace("1\n1\n1\n2\n", "1\n1\n2\n2\n", 1)}, "another label"),
    ],
)  # fmt: skip
def test_a_spoiled_archive_is_refused_with_file_and_line(tiny_tu: TinySet, changes, message: str) -> None:
    respoil(tiny_tu, zipped({key: text for key, text in (MEMBERS | changes).items() if text is not None}))
    with pytest.raises(DataError, match=message):
        load("tiny", progress=False)


def test_spoiled_attributes_are_refused(tiny_tu: TinySet) -> None:
    for text, message in (("1, nan\n" * 9, "line 1: expected finite"), ("1, 2\n" * 8 + "1\n", "line 9: expected 2")):
        respoil(tiny_tu, zipped(MEMBERS | {"node_attributes": text}))
        with pytest.raises(DataError, match=message):
            load("tiny", attributes=True, progress=False)


def test_an_edge_listed_with_two_labels_is_told_with_both_lines(tiny_tu: TinySet) -> None:
    labels = MEMBERS["edge_labels"].split("\n")
    labels[6] = "2"
    respoil(tiny_tu, zipped(MEMBERS | {"edge_labels": "\n".join(labels)}))
    with pytest.raises(
        DataError, match=r"line 7: edge \(1, 2\) is listed again \(first in line 2\) with another label"
    ):
        load("tiny", progress=False)


@pytest.mark.parametrize("content", [b"no zip", zipped(MEMBERS)[:-30], zipped(MEMBERS)[:200]])
def test_a_damaged_archive_is_refused(tiny_tu: TinySet, content: bytes) -> None:
    respoil(tiny_tu, content)
    with pytest.raises(DataError, match=r"TINY\.zip is damaged or truncated"):
        load("tiny", progress=False)


def test_a_damaged_member_is_refused(tiny_tu: TinySet) -> None:
    content = bytearray(zipped(MEMBERS))
    at = content.find(b"TINY_A.txt") + len(b"TINY_A.txt") + 10
    content[at] ^= 255
    respoil(tiny_tu, bytes(content))
    with pytest.raises(DataError, match=r"TINY_A\.txt is damaged"):
        load("tiny", progress=False)


def test_two_members_of_one_meaning_are_refused(tiny_tu: TinySet) -> None:
    respoil(tiny_tu, zipped(MEMBERS | {"other/TINY_A": "1, 2\n"}))
    with pytest.raises(DataError, match=r"has 2 files \*_A\.txt"):
        load("tiny", progress=False)


# The same graphs: a header per graph, then "tag degree neighbours"; no edge labels.
GIN = "3\n3 4\n2 2 1 2\n3 3 0 2 0\n5 2 0 1\n3 -1\n2 1 2\n2 1 1\n2 1 0\n3 4\n3 1 1\n3 2 0 2\n3 1 1\n"


@pytest.fixture
def tiny_gin(tmp_path: Path, cards: Path) -> TinySet:
    return tiny(tmp_path, cards, "tu-gin", gin_zipped(GIN))


def test_both_formats_give_the_same_graphs(tiny_gin: TinySet, tmp_path: Path) -> None:
    path = tmp_path / "TINY.zip"
    path.write_bytes(zipped(MEMBERS))
    expected = read_tu({"archive": path}, INFO, {})
    found = load("tiny", progress=False)
    for key in ("node_ptr", "edge_ptr", "edge_index"):
        assert torch.equal(getattr(found, key), getattr(expected, key)), key
    assert torch.equal(found.node["x"], expected.node["x"])
    assert torch.equal(found.graph["y"], expected.graph["y"])


def test_equal_tags_are_no_features(tiny_gin: TinySet) -> None:
    respoil(tiny_gin, gin_zipped("1\n2 0\n7 1 1\n7 1 0\n"))
    assert load("tiny", progress=False).node == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("3 3 0 2 0", "3 3 0 2", "line 4: degree 3, but 2 neighbours"),
        ("3 3 0 2 0", "3 2 0 3", "line 4: neighbour 3, but graph 0 has 3 nodes"),
        ("3 3 0 2 0", "3 2 0 -1", "line 4: neighbour -1"),
        ("3 3 0 2 0", "3 2 0 x", "line 4: expected an integer, got 'x'"),
        ("3 3 0 2 0", "", "line 4 is blank"),
        ("3 3 0 2 0", "3", "line 4: expected the tag and the degree"),
        ("3\n3 4\n", "2\n3 4\n", "line 1: 2 graphs are stated, but 3 follow"),
        ("3\n3 4\n", "3 1\n3 4\n", "line 1: expected the number of graphs, got 2 numbers"),
        ("3\n3 4\n", "3\n3 4 4\n", "line 2: expected the number of nodes and the label"),
        ("3\n3 4\n", "3\n0 4\n", "line 1: 3 graphs are stated"),
        ("3\n3 4\n", "3\n-5 4\n", "line 1: 3 graphs are stated"),
        ("2 0 2\n3 1 1\n", "2 0 2\n", "line 10: the last graph has 3 nodes, but 2 follow"),
        ("2 0 2\n3 1 1\n", "2 0 2\n3 1 1\n3 1 1\n", "line 1: 3 graphs are stated"),
        (GIN, "", "is empty"),
        (GIN, "5", "line 1: 5 graphs are stated, but 0 follow"),
        (GIN, "0", "line 1: 0 graphs are stated"),
    ],
)
def test_a_spoiled_text_of_gin_is_refused_with_its_line(tiny_gin: TinySet, old: str, new: str, message: str) -> None:
    assert old in GIN
    respoil(tiny_gin, gin_zipped(GIN.replace(old, new, 1)))
    with pytest.raises(DataError, match=message):
        load("tiny", progress=False)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_random_sets_written_in_both_formats_are_read_back(tmp_path_factory, seed: int, graphs: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, graphs)
    dense = [np.triu(rng.random((n, n)) < 0.4, 1) for n in sizes]
    dense = [upper | upper.T for upper in dense]
    if not any(matrix.any() for matrix in dense):
        return
    offset = np.concatenate([[0], np.cumsum(sizes)])
    tags, labels = rng.integers(0, 5, offset[-1]), rng.integers(-2, 3, graphs)
    pairs = np.concatenate([np.argwhere(matrix) + at for matrix, at in zip(dense, offset, strict=False)])
    listed = rng.permutation(np.concatenate([pairs, pairs[: len(pairs) // 2]]))
    column = "".join
    members = {
        "A": column(f"{u + 1},{v + 1}\n" for u, v in listed),
        "graph_indicator": column(f"{g + 1}\n" * n for g, n in enumerate(sizes)),
        "graph_labels": column(f"{y}\n" for y in labels),
        "node_labels": column(f"{tag}\n" for tag in tags),
    }
    lines = [f"{graphs}"]
    for graph, matrix in enumerate(dense):
        lines.append(f"{sizes[graph]} {labels[graph]}")
        for node, row in enumerate(matrix):
            others = np.flatnonzero(row)
            lines.append(" ".join(map(str, [tags[offset[graph] + node], others.size, *others])))
    folder = tmp_path_factory.mktemp("random")
    (folder / "A.zip").write_bytes(zipped(members))
    (folder / "TINY.zip").write_bytes(gin_zipped("\n".join(lines)))
    info = DatasetInfo("random", "multiclass", "accuracy", 5)
    first = read_tu({"archive": folder / "A.zip"}, info, {})
    second = read_tu_gin({"archive": folder / "TINY.zip"}, info, {})
    for dataset in (first, second):
        assert len(dataset) == graphs
        for graph, matrix in enumerate(dense):
            assert np.array_equal(dataset[graph].edge_index.numpy(), np.argwhere(matrix).T)
        assert np.array_equal(dataset.graph["y"].numpy(), np.searchsorted(np.unique(labels), labels))
    assert np.array_equal(first.node["x"].numpy().argmax(1) + tags.min(), tags)
    if len(set(tags)) > 1:
        assert torch.equal(first.node["x"], second.node["x"])


def test_tables_of_blank_cells_are_not_read_as_minus_one() -> None:
    for text in (b"1, ,2\n", b"1,2,\n", b" ,1,2\n", b"1,2\n\n3,4\n", b"1,2\n , \n"):
        with pytest.raises(DataError, match="T, line"):
            integers(text, "T")
        with pytest.raises(DataError, match="T, line"):
            numbers(text, "T")
    assert integers(b"1,\t-2\r\n 3 ,4", "T").tolist() == [[1, -2], [3, 4]]
    assert numbers(b"1e3, .5", "T").tolist() == [[1000, 0.5]]
    assert [part.tolist() for part in words(b" 1 2\r\n3\n", "T")] == [[1, 2, 3], [0, 2, 3]]
    with pytest.raises(DataError, match="T, line 1: expected an integer, got 'é'"):
        integers("é".encode(), "T")


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(0, 5))
def test_stratified_folds_share_out_every_class_evenly(classes: list[int], seed: int) -> None:
    y = torch.tensor(classes)
    folds = stratified_folds(y, seed)
    for members in [torch.ones_like(y, dtype=torch.bool), *(y == label for label in y.unique())]:
        sizes = torch.bincount(folds[members], minlength=NUM_FOLDS)
        assert int(sizes.max() - sizes.min()) <= 1
    assert torch.equal(folds, stratified_folds(y, seed))
    tested = []
    for fold in range(NUM_FOLDS):
        split = fold_split(y, None, {"fold": fold, "seed": seed})
        assert torch.cat(list(split.values())).sort().values.tolist() == list(range(y.numel()))
        assert torch.equal(split["test"], (folds == fold).nonzero().flatten())
        tested.append(split["test"])
    assert torch.cat(tested).sort().values.tolist() == list(range(y.numel()))


def test_seeds_and_folds_are_other_splits() -> None:
    y = torch.arange(60) % 3
    assert not torch.equal(stratified_folds(y, 0), stratified_folds(y, 1))
    first, second = (fold_split(y, None, {"fold": fold}) for fold in (0, 1))
    assert torch.equal(first["val"], second["test"])


def listed(graphs: int) -> list[dict[str, object]]:
    everything = list(range(graphs))
    return [
        {"test": everything[:1], "model_selection": [{"train": everything[:1:-1], "validation": everything[1:2]}]}
    ] * NUM_FOLDS


def with_lists(found: TinySet, content: bytes) -> None:
    found.add("folds", "tu-splits/tiny.json", content)
    found.statistics = found.statistics.replace("stratified", "listed")
    found.write()


def test_listed_folds_are_taken_from_their_file_and_can_be_done_without(tiny_tu: TinySet) -> None:
    with_lists(tiny_tu, json.dumps(listed(3)).encode())
    dataset = load("tiny", progress=False)
    assert {key: members.tolist() for key, members in dataset.split.items()} == {"train": [2], "val": [1], "test": [0]}
    assert set(dataset.checksums) == {"tu/TINY.zip", "tu-splits/tiny.json"}
    tiny_tu.path("tiny.json").unlink()
    with pytest.raises(DataError, match=r"tu-splits/tiny\.json: \d+ bytes, sha256"):
        load("tiny", fold=1, progress=False)
    assert load("tiny", splits="stratified", progress=False).checksums.keys() == {"tu/TINY.zip"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is damaged"),
        (b"[]", "must hold a list of 10 folds"),
        (json.dumps([{"test": [0]}] * 10).encode(), "fold 0 must hold lists"),
        (json.dumps([{"test": "a", "model_selection": [{"train": [], "validation": []}]}] * 10).encode(), "must hold"),
        (json.dumps(listed(4)).encode(), "does not name each of the 3 graphs once; it is of another dataset"),
    ],
)
def test_spoiled_lists_are_refused(tiny_tu: TinySet, content: bytes, message: str) -> None:
    with_lists(tiny_tu, content)
    with pytest.raises(DataError, match=message):
        load("tiny", progress=False)


def test_options_are_checked(tiny_tu: TinySet) -> None:
    for options, message in (
        ({"fold": 10}, "fold must be 0 to 9, got 10"),
        ({"fold": -1}, "fold must be"),
        ({"splits": "random"}, "splits must be 'listed' or 'stratified', got 'random'"),
        ({"splits": "listed"}, "tiny has no listed folds; use splits='stratified'"),
        ({"folds": 1}, r"no option 'folds' \(did you mean 'fold'"),
        ({"attributes": 1}, "option attributes of tiny must be of type bool"),
    ):
        with pytest.raises(ConfigError, match=message):
            load("tiny", progress=False, **options)


def test_options_have_their_own_caches_and_the_default_is_found_again(tiny_tu: TinySet) -> None:
    first = load("tiny", progress=False)
    assert load("tiny", seed=1, progress=False).info.options["seed"] == 1
    again = load("tiny", seed=0, progress=False)
    assert again.content_hash == first.content_hash
    assert again.info == first.info


TU_NAMES = [name for name in names() if card(name).source in ("tu", "tu-gin")]
PUBLISHED = {  # graphs, nodes per graph, edges per graph
    "mutag": (188, 17.93, 19.79),
    "enzymes": (600, 32.63, 62.14),
    "proteins": (1113, 39.06, 72.82),
    "nci1": (4110, 29.87, 32.30),
    "nci109": (4127, 29.68, 32.13),
    "imdb-binary": (1000, 19.77, 96.53),
    "imdb-multi": (1500, 13.00, 65.94),
    "ptc-mr": (344, 14.29, 14.69),
    "reddit-binary": (2000, 429.63, 497.75),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_cards_state_the_published_sizes(name: str) -> None:
    stated = card(name).statistics
    graphs = stated["graphs"]
    per_graph = (graphs, round(stated["nodes"] / graphs, 2), round(stated["edges"] / 2 / graphs, 2))
    assert per_graph == PUBLISHED[name]


@pytest.fixture
def real_root(raw_data: Path, monkeypatch: pytest.MonkeyPatch, shared_cache: Path) -> Path:
    monkeypatch.setenv("GNNKIT_DATA", str(raw_data))
    return raw_data


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name in TU_NAMES if name != "collab"])
def test_real_archives_are_what_their_cards_state(real_root: Path, name: str) -> None:
    if not all(any((real_root / file.path).is_file() for file in card(name).candidates(r)) for r in card(name).roles):
        pytest.skip(f"GNNKIT_DATA lacks files of {name}")
    result = verify(name)
    assert result.ok, str(result)
    dataset = load(name, progress=False)
    offset = dataset.node_ptr[:-1].repeat_interleave(dataset.edge_ptr.diff())
    source, target = dataset.edge_index + offset
    key = source * int(dataset.node_ptr[-1]) + target
    assert bool((key.diff() > 0).all()), "in order, none twice"
    assert torch.equal((target * int(dataset.node_ptr[-1]) + source).sort().values, key), "both directions"
    assert bool((source != target).all())
    assert bool((dataset.graph["y"].bincount(minlength=dataset.num_outputs) > 0).all())


@pytest.mark.data
@pytest.mark.slow
def test_real_collab_is_what_its_card_states(real_root: Path) -> None:
    if not (real_root / "tu-gin-format/COLLAB.zip").is_file():
        pytest.skip("GNNKIT_DATA lacks COLLAB")
    result = verify("collab")
    assert result.ok, str(result)


@pytest.mark.data
@pytest.mark.parametrize("title", ["MUTAG", "ENZYMES", "PTC_MR", "BZR"])
def test_real_archives_are_read_as_pyg_reads_them(real_root: Path, tmp_path: Path, title: str) -> None:
    from torch_geometric.io import read_tu_data

    path = real_root / f"tu/{title}.zip"
    if not path.is_file():
        pytest.skip(f"GNNKIT_DATA lacks {title}")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    theirs, slices, sizes = read_tu_data(str(tmp_path / title), title)
    name = title.lower().replace("_", "-")
    attributes = sizes["num_node_attributes"] > 0
    ours = load(name, progress=False, splits="stratified", **({"attributes": True} if attributes else {}))
    assert torch.equal(ours.node_ptr, slices["x"])
    assert torch.equal(ours.edge_ptr, slices["edge_index"])
    assert torch.equal(ours.edge_index, theirs.edge_index)
    assert torch.equal(ours.node["x"], theirs.x)
    assert torch.equal(ours.graph["y"], theirs.y)
    if sizes["num_edge_labels"]:
        assert torch.equal(ours.edge["edge_attr"], theirs.edge_attr)
