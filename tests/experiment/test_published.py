import tomllib
from pathlib import Path

import pytest

from gnnkit.errors import ConfigError, DataError
from gnnkit.experiment.published import benchmarks_folder, load_published

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "published.toml"


def test_unverified_rows_are_never_given():
    raw = tomllib.loads(PATH.read_text(encoding="utf-8"))["result"]
    rows = load_published(PATH)
    assert len(rows) == sum(row["verified"] != "unverified" for row in raw) < len(raw)
    assert {row.verified for row in rows} == {"read", "quoted"}


def test_transcriptions_are_told():
    rows = load_published(PATH)
    transcribed = [row for row in rows if "transcribed" in row.standing]
    assert len(transcribed) == sum("machine transcription" in row.source for row in rows) > 0
    assert {row.standing for row in rows} <= {"read", "quoted", "quoted, transcribed", "read, transcribed"}


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        load_published(tmp_path / "none.toml")
    path = tmp_path / "published.toml"
    path.write_text("[[result]")
    with pytest.raises(DataError, match="not valid TOML"):
        load_published(path)
    text = PATH.read_text(encoding="utf-8").split("[[result]]")[1]
    path.write_text("[[result]]" + text + 'colour = "red"\n')
    with pytest.raises(ConfigError, match='unknown key "colour"'):
        load_published(path)
    path.write_text(("[[result]]" + text).replace('"quoted"', '"guessed"'))
    with pytest.raises(DataError, match="guessed"):
        load_published(path)


def test_the_folder_is_found_from_below_and_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "published.toml").write_text("")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert benchmarks_folder() == tmp_path / "benchmarks"
