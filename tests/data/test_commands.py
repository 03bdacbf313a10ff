import hashlib
from pathlib import Path

import pytest

from gnnkit.data import get, list_datasets, names, verify
from gnnkit.errors import ConfigError, DataError


def test_the_list_of_shipped_sets(tmp_path: Path) -> None:
    summaries = {summary.name: summary for summary in list_datasets()}
    assert list(summaries) == names()
    assert summaries["ring-transfer"].status == "generated"
    assert summaries["ring-transfer"].options["ring_size"] == 10
    assert summaries["ring-transfer"].graphs is None
    assert summaries["peptides-func"].status == "2 of 2 files missing"
    assert summaries["peptides-func"].graphs == 15535
    text = str(list_datasets(tmp_path))
    assert len(text.splitlines()) == len(names())
    assert "ring_size=10" in text


def test_verify_names_what_is_wrong(tiny_molecules) -> None:
    result = verify("tiny-molecules")
    assert result.ok
    assert len(result.files) == 9
    assert result.statistics["graphs"] == 3
    assert str(result).startswith("tiny-molecules: ok\n")
    path = tiny_molecules.path("edge.csv.gz")
    content = path.read_bytes()
    path.write_bytes(content + b"x")
    tiny_molecules.path("train.csv.gz").unlink()
    result = verify("tiny-molecules")
    assert not result.ok
    bad = [check for check in result.files if not check.ok]
    assert [Path(check.path).name for check in bad] == ["edge.csv.gz", "train.csv.gz"]
    assert hashlib.sha256(content).hexdigest() in bad[0].message
    assert bad[1].message.startswith("missing; expected")
    assert "NOT OK" in str(result)
    assert result.statistics == {}


def test_verify_compares_statistics(tiny_molecules) -> None:
    tiny_molecules.statistics = "[statistics]\ngraphs = 4"
    tiny_molecules.write()
    result = verify("tiny-molecules")
    assert not result.ok
    assert all(check.ok for check in result.files)
    assert "graphs: the card says 4, the data has 3" in result.problems[0]
    assert "problem: " in str(result)


def test_verify_shows_what_is_not_official(tiny_molecules) -> None:
    tiny_molecules.files[4] |= {"official": False, "note": "Nearly."}
    tiny_molecules.write()
    result = verify("tiny-molecules")
    assert result.ok
    assert "(not the official file)" in str(result)
    assert any("not official" in note for note in result.notes)
    (summary,) = list_datasets()
    assert not summary.official
    assert "not official" in str(summary)


def test_verify_of_a_generated_set() -> None:
    result = verify("ring-transfer")
    assert result.ok
    assert result.files == ()
    assert result.statistics["nodes"] == 25000


def test_get_processes_what_is_there_and_says_what_is_missing(tiny_molecules, tmp_path: Path) -> None:
    result = get("tiny-molecules", progress=False)
    assert result.ok
    assert result.statistics["graphs"] == 3
    assert list((tmp_path / "cache" / "processed").iterdir())
    tiny_molecules.path("train.csv.gz").unlink()
    with pytest.raises(DataError, match=r"train\.csv\.gz"):
        get("tiny-molecules", progress=False)


def test_get_of_a_generated_set() -> None:
    assert get("tree-neighbors-match", progress=False).statistics["graphs"] == 16000


@pytest.mark.parametrize("command", [get, verify])
def test_unknown_names(command) -> None:
    with pytest.raises(ConfigError, match="did you mean 'ring-transfer'"):
        command("ring-transfr")
