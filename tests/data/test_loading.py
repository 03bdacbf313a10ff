"""Loading from files, with tiny made-up raw files that each test spoils in its own way."""

import gzip
import hashlib
import io
import logging
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from gnnkit.data import load
from gnnkit.data.storage import DESCRIPTION, TENSORS
from gnnkit.errors import ConfigError, DataError


def spoil(tiny, end: str, content: bytes) -> None:
    """Changes a raw file and its card together, so that the reader and not the checksum has to notice."""
    (path,) = [path for path in tiny.content if path.endswith(end)]
    tiny.content[path] = content
    tiny.write()


def text(content: str) -> bytes:
    return gzip.compress(content.encode())


def test_peptides_by_hand(tiny_peptides) -> None:
    pytest.importorskip("rdkit", reason="RDKit is not installed")
    dataset = load("tiny-peptides", progress=False)
    assert len(dataset) == 5
    assert {key: members.tolist() for key, members in dataset.split.items()} == {
        "train": [3, 0, 4],
        "val": [1],
        "test": [2],
    }
    assert dataset.graph["y"].dtype == torch.float32
    assert dataset[0].y.tolist() == [[1, 0, 0, 0, 0, 0, 0, 0, 0, 1]]
    assert dataset[4].y.tolist() == [[1] * 10]
    assert dataset[3].num_nodes == 1
    assert dataset[3].num_edges == 0
    assert dataset.checksums == {
        path: hashlib.sha256(content).hexdigest() for path, content in tiny_peptides.content.items()
    }
    assert dataset.official
    assert dataset.node_categories == (119, 5, 12, 12, 10, 6, 6, 2, 2)


def test_molecules_by_hand(tiny_molecules) -> None:
    dataset = load("tiny-molecules", progress=False)
    assert dataset.node_ptr.tolist() == [0, 3, 4, 6]
    assert dataset.edge_ptr.tolist() == [0, 4, 4, 6]
    assert dataset[0].edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert dataset[0].edge_attr.tolist() == [[0, 0, 0], [0, 0, 0], [1, 2, 0], [1, 2, 0]]
    assert dataset[2].edge_attr.tolist() == [[3, 0, 1], [3, 0, 1]]
    assert dataset.graph["y"].isnan().flatten().tolist() == [False, True, False]
    assert {key: members.tolist() for key, members in dataset.split.items()} == {"train": [2], "val": [0], "test": [1]}
    assert dataset.statistics()["labels"] == {"positive": [1], "missing": [1]}


@pytest.mark.parametrize("tiny", ["tiny_peptides", "tiny_molecules"])
def test_missing_files_are_named_with_place_size_and_checksum(tiny, request) -> None:
    tiny = request.getfixturevalue(tiny)
    first, second = list(tiny.content)[:2]
    tiny.write(without=(first, second))
    with pytest.raises(DataError) as caught:
        load(tiny.head["name"], progress=False)
    message = str(caught.value)
    for path in (first, second):
        content = tiny.content[path]
        assert f"{tiny.root / path}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}" in message
    assert "2 raw file(s) are missing" in message
    assert "GNNKIT_DATA" in message
    assert not any(path in message for path in list(tiny.content)[2:])


@pytest.mark.parametrize("tiny", ["tiny_peptides", "tiny_molecules"])
def test_a_wrong_checksum_is_told_with_both_sums(tiny, request) -> None:
    tiny = request.getfixturevalue(tiny)
    for path, content in tiny.content.items():
        changed = content[:-1] + bytes([content[-1] ^ 1])
        (tiny.root / path).write_bytes(changed)
        with pytest.raises(DataError) as caught:
            load(tiny.head["name"], progress=False)
        assert str(tiny.root / path) in str(caught.value)
        assert hashlib.sha256(content).hexdigest() in str(caught.value)
        assert hashlib.sha256(changed).hexdigest() in str(caught.value)
        (tiny.root / path).write_bytes(content)


@pytest.mark.parametrize("tiny", ["tiny_peptides", "tiny_molecules"])
def test_truncated_files_are_named(tiny, request) -> None:
    pytest.importorskip("rdkit", reason="RDKit is not installed")
    tiny = request.getfixturevalue(tiny)
    for path, content in list(tiny.content.items()):
        spoil(tiny, path, content[:-9])
        with pytest.raises(DataError, match=f"{Path(path).name} is (truncated|damaged)"):
            load(tiny.head["name"], progress=False)
        spoil(tiny, path, content)
    load(tiny.head["name"], progress=False)


ROW = '0,CC,"[1, 0, 0, 0, 0, 0, 0, 0, 0, 1]"\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (",smile,labels\n" + ROW, r"no column 'smiles' \(did you mean 'smile'\?\)"),
        (",smiles,label\n" + ROW, "no column 'labels'"),
        (",smiles,labels\n" + ROW + '1,CC,"[1, 0]"\n', r"row 1: labels must be a list of 10 .* got '\[1, 0\]'"),
        (",smiles,labels\n" + ROW.replace("[1", "[2"), "row 0: labels must be a list of 10 zeros and ones"),
        (",smiles,labels\n" + ROW.replace("[1", "[x"), "row 0: labels must be"),
        (",smiles,labels\n" + ROW + ROW.replace("CC", "C1CC"), "row 1: 'C1CC' is not a molecule: the SMILES has a syn"),
        (",smiles,labels\n" + ROW + "1,CC\n", r"row 1 \(line 3\): expected 3 cells"),
        ("", "is empty"),
    ],
)
def test_bad_peptide_tables(tiny_peptides, content: str, message: str) -> None:
    pytest.importorskip("rdkit", reason="RDKit is not installed")
    spoil(tiny_peptides, "peptides.csv.gz", text(content))
    with pytest.raises(DataError, match=r"peptides\.csv\.gz.*" + message):
        load("tiny-peptides", progress=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "a dict with the keys train, val, test, got list"),
        ({"train": np.arange(5)}, r"got \['train'\]"),
        ({"train": np.arange(3), "valid": np.array([3]), "test": np.array([4])}, "valid"),
        ({"train": np.arange(3.0), "val": np.array([3]), "test": np.array([4])}, "vector of integers, got float64"),
        ({"train": np.arange(3), "val": np.array([3]), "test": np.array([5])}, "names graph 5"),
        ({"train": np.arange(3), "val": np.array([2]), "test": np.array([4])}, "graph 2 is in more than one"),
        ({"train": np.arange(2), "val": np.array([2]), "test": np.array([3])}, "split.train: the card says 3"),
    ],
)
def test_bad_peptide_splits(tiny_peptides, content, message: str) -> None:
    pytest.importorskip("rdkit", reason="RDKit is not installed")
    spoil(tiny_peptides, "split.pickle", pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        load("tiny-peptides", progress=False)


class Evil:
    def __reduce__(self):
        return os.system, ("exit 1",)


def test_an_evil_split_is_refused_before_it_runs(tiny_peptides, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rdkit", reason="RDKit is not installed")
    spoil(tiny_peptides, "split.pickle", pickle.dumps({"train": Evil(), "val": [], "test": []}))
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("the pickle was run"))
    with pytest.raises(DataError, match=r"split\.pickle is refused: the pickle names (posix|nt)\.system"):
        load("tiny-peptides", progress=False)


ATOM = "5,0,4,5,2,0,2,0,0\n"


@pytest.mark.parametrize(
    ("end", "content", "message"),
    [
        ("edge.csv.gz", "0,1\n1,3\n0,1\n", r"edge\.csv\.gz, line 2: bond \(1, 3\) leaves graph 0, which has 3 atoms"),
        ("edge.csv.gz", "0,1\n1,2\n0,-1\n", r"line 3: bond \(0, -1\) leaves graph 2, which has 2 atoms"),
        ("edge.csv.gz", "0,1\n1,2\n", "has 2 rows, but num-edge-list adds up to 3"),
        ("edge.csv.gz", "0,1,2\n" * 3, "line 1: expected 2 .* got 3"),
        ("node-feat.csv.gz", ATOM * 5, "has 5 rows, but num-node-list adds up to 6"),
        ("node-feat.csv.gz", ATOM * 5 + "5,0,4,5,2,0,2,0,2\n", "line 6: feature 8 is 2, expected 0 to 1"),
        ("node-feat.csv.gz", ATOM * 5 + "5,0,4,x,2,0,2,0,0\n", "line 6: expected an integer, got 'x'"),
        ("edge-feat.csv.gz", "0,0,0\n" * 4, "has 4 rows, but num-edge-list"),
        ("edge-feat.csv.gz", "0,0,0\n0,0\n0,0,0\n", "line 2: expected 3"),
        ("num-node-list.csv.gz", "3\n-1\n4\n", "line 2: a count cannot be negative, got -1"),
        ("num-node-list.csv.gz", "3\n3\n", "disagree on the number of graphs"),
        ("graph-label.csv.gz", "0\n1\n2\n", "labels of graph 2 must be 0, 1 or missing"),
        ("graph-label.csv.gz", "0\n1\nx\n", r"graph-label\.csv\.gz, line 3"),
        ("graph-label.csv.gz", "0,1\n1,0\n1,1\n", r"expected 1 column\(s\), got 2"),
        ("train.csv.gz", "3\n", "names graph 3"),
        ("train.csv.gz", "0\n", "graph 0 is in more than one place"),
    ],
)
def test_bad_molecule_files(tiny_molecules, end: str, content: str, message: str) -> None:
    spoil(tiny_molecules, end, text(content))
    with pytest.raises(DataError, match=message):
        load("tiny-molecules", progress=False)


def test_statistics_that_differ_from_the_card_are_all_told(tiny_molecules, tmp_path: Path) -> None:
    tiny_molecules.statistics = "[statistics]\ngraphs = 3\nnodes = 7\n[statistics.labels]\npositive = [2]"
    tiny_molecules.write()
    with pytest.raises(DataError, match=r"nodes: the card says 7, the data has 6; labels\.positive: .*\[2\].*\[1\]"):
        load("tiny-molecules", progress=False)
    assert not list((tmp_path / "cache").rglob(DESCRIPTION)), "nothing wrong is cached"


def test_the_second_load_does_not_read_raw_files(tiny_molecules, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("tiny-molecules", progress=False)
    monkeypatch.setattr("gnnkit.data.ogb_molecules.read_integers", lambda *_: pytest.fail("a raw file was read"))
    second = load("tiny-molecules", progress=False)
    assert second.content_hash == first.content_hash
    assert second.info == first.info
    for path in tiny_molecules.content:
        (tiny_molecules.root / path).unlink()
    assert load("tiny-molecules", progress=False).content_hash == first.content_hash


@pytest.mark.parametrize("file", [TENSORS, DESCRIPTION])
def test_a_half_written_cache_is_made_again(
    tiny_molecules, tmp_path: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = load("tiny-molecules", progress=False)
    (path,) = (tmp_path / "cache" / "processed").glob(f"*/{file}")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with caplog.at_level(logging.WARNING, "gnnkit.data"):
        again = load("tiny-molecules", progress=False)
    assert "processing again" in caplog.text
    assert again.content_hash == first.content_hash
    assert path.read_bytes() == content


def test_a_changed_card_is_another_cache(tiny_molecules, tmp_path: Path) -> None:
    load("tiny-molecules", progress=False)
    spoil(tiny_molecules, "edge-feat.csv.gz", text("0,0,0\n" * 3))
    assert load("tiny-molecules", progress=False)[2].edge_attr.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert len(list((tmp_path / "cache").rglob(TENSORS))) == 2


def test_nothing_is_written_under_the_data_root(tiny_molecules) -> None:
    def files() -> list[str]:
        return sorted(str(path) for path in tiny_molecules.root.rglob("*"))

    before = files()
    load("tiny-molecules", progress=False)
    assert files() == before


def test_the_root_can_be_given(tiny_molecules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_DATA", str(tmp_path / "elsewhere"))
    assert len(load("tiny-molecules", root=tiny_molecules.root, progress=False)) == 3
    assert len(load("tiny-molecules", root=str(tiny_molecules.root), progress=False)) == 3


def test_files_have_no_options(tiny_molecules) -> None:
    with pytest.raises(ConfigError, match="tiny-molecules has no option 'depth'; it has none"):
        load("tiny-molecules", depth=3)


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match=r"unknown dataset 'ogbg-molesoll' \(did you mean 'ogbg-molesol'\?\)"):
        load("ogbg-molesoll")


def test_a_card_with_an_unknown_source_or_without_a_role(tiny_molecules) -> None:
    tiny_molecules.head["source"] = "ogb-molecule"
    tiny_molecules.write()
    with pytest.raises(ConfigError, match=r"unknown source 'ogb-molecule' \(did you mean 'ogb-molecules'\?\)"):
        load("tiny-molecules")
    tiny_molecules.head["source"] = "ogb-molecules"
    tiny_molecules.files.pop()
    tiny_molecules.write()
    with pytest.raises(ConfigError, match="no file has the role split-test"):
        load("tiny-molecules")


def test_substitutes_are_used_and_labelled_only_where_the_official_file_is_absent(tiny_molecules) -> None:
    official = tiny_molecules.content["tiny/raw/edge-feat.csv.gz"]
    tiny_molecules.add(
        "edge-features", "tiny/derived/edge-feat.csv.gz", text("0,0,0\n" * 3), official=False, note="Nearly the same."
    )
    tiny_molecules.write(without=("tiny/raw/edge-feat.csv.gz",))
    dataset = load("tiny-molecules", progress=False)
    assert not dataset.official
    assert "official=False" in repr(dataset)
    assert dataset.notes == ("not official: tiny/derived/edge-feat.csv.gz. Nearly the same.",)
    assert "tiny/derived/edge-feat.csv.gz" in dataset.checksums
    assert dataset.edge["edge_attr"].sum() == 0
    assert not dataset[:2].official
    (tiny_molecules.root / "tiny/raw/edge-feat.csv.gz").write_bytes(official)
    dataset = load("tiny-molecules", progress=False)
    assert dataset.official
    assert dataset.edge["edge_attr"].sum() > 0


@pytest.fixture
def mirror(tiny_molecules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All files of the tiny set behind file: addresses: an archive, one single file, and none in the data root."""
    monkeypatch.setenv("GNNKIT_OFFLINE", "0")
    folder = tmp_path / "mirror"
    folder.mkdir()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for entry in tiny_molecules.files:
            content = tiny_molecules.content[entry["path"]]
            if entry["role"] == "labels":
                (folder / "labels.gz").write_bytes(content)
                entry["urls"] = [(folder / "dead.gz").as_uri(), (folder / "labels.gz").as_uri()]
            else:
                archive.writestr(f"set/{entry['path']}", content)
                entry |= {"urls": [(folder / "set.zip").as_uri()], "member": f"set/{entry['path']}"}
    (folder / "set.zip").write_bytes(buffer.getvalue())
    tiny_molecules.write(without=tuple(tiny_molecules.content))
    return folder


def test_missing_files_are_fetched_into_the_data_root(tiny_molecules, mirror: Path) -> None:
    assert len(load("tiny-molecules", progress=False)) == 3
    for path, content in tiny_molecules.content.items():
        assert (tiny_molecules.root / path).read_bytes() == content
    assert not list(tiny_molecules.root.rglob("*.tmp"))


def test_downloads_for_a_read_only_root_go_to_the_cache(
    tiny_molecules, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gnnkit.data.download.is_writable", lambda folder: folder != tiny_molecules.root)
    assert len(load("tiny-molecules", progress=False)) == 3
    for path, content in tiny_molecules.content.items():
        assert (tmp_path / "cache" / "raw" / path).read_bytes() == content
        assert not (tiny_molecules.root / path).exists()


def test_a_download_with_a_wrong_checksum_is_not_kept(tiny_molecules, mirror: Path) -> None:
    (mirror / "labels.gz").write_bytes(text("1\n1\n1\n"))
    with pytest.raises(DataError) as caught:
        load("tiny-molecules", progress=False)
    message = str(caught.value)
    assert "labels.gz is not the file on the dataset card" in message
    assert "1 raw file(s) are missing" in message
    assert "dead.gz" in message
    assert not tiny_molecules.path("graph-label.csv.gz").exists()
    assert not list(tiny_molecules.root.rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["truncated", "other member", "not a zip"])
def test_a_damaged_archive_is_not_kept(tiny_molecules, mirror: Path, damage: str) -> None:
    archive = mirror / "set.zip"
    if damage == "truncated":
        archive.write_bytes(archive.read_bytes()[:-50])
    elif damage == "not a zip":
        archive.write_bytes(b"<html>moved</html>")
    else:
        archive.unlink()
        with zipfile.ZipFile(archive, "w") as other:
            other.writestr("set/other", b"")
    with pytest.raises(DataError, match=r"8 raw file\(s\) are missing(.|\n)*Not fetched: .*set\.zip"):
        load("tiny-molecules", progress=False)
    assert not list(tiny_molecules.root.rglob("num-node-list*"))


def test_offline_nothing_is_fetched(tiny_molecules, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNNKIT_OFFLINE", "1")
    monkeypatch.setattr("gnnkit.data.download.urlopen", lambda *_, **__: pytest.fail("the network was used"))
    with pytest.raises(DataError, match=r"9 raw file\(s\) are missing(.|\n)*GNNKIT_OFFLINE is set"):
        load("tiny-molecules", progress=False)


def test_a_larger_download_than_stated_is_stopped(tiny_molecules, mirror: Path) -> None:
    (mirror / "labels.gz").write_bytes(b"x" * 1_000_000)
    with pytest.raises(DataError, match="is larger than the"):
        load("tiny-molecules", progress=False)
