import os

import pytest
import torch

from gnnkit.errors import DataError
from gnnkit.experiment.checkpoint import CheckpointFolder, load_checkpoint, save_checkpoint

STATE = {"weights": torch.arange(5.0), "step": 3, "history": [{"val": 0.5}], "rng": torch.get_rng_state(), "none": None}


def test_round_trip(tmp_path):
    save_checkpoint(tmp_path / "a.ckpt", STATE)
    loaded = load_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(loaded.pop("weights"), STATE["weights"])
    assert torch.equal(loaded.pop("rng"), STATE["rng"])
    assert loaded == {"step": 3, "history": [{"val": 0.5}], "none": None}


def test_every_truncation_and_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, {"step": 1})
    content = path.read_bytes()
    for length in [*range(0, 120), *range(120, len(content), 37)]:
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"truncated|cut off"):
            load_checkpoint(path)
    for position in [*range(0, 120, 3), *range(120, len(content), 53)]:
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(DataError, match="delete it"):
            load_checkpoint(path)
    path.write_bytes(content + b"x")
    with pytest.raises(DataError, match="truncated"):
        load_checkpoint(path)


def test_a_missing_file_and_another_kind_of_file(tmp_path):
    with pytest.raises(DataError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")
    torch.save({"step": 1}, tmp_path / "plain.pt")
    with pytest.raises(DataError, match="is not a gnnkit checkpoint"):
        load_checkpoint(tmp_path / "plain.pt")


class Malicious:
    def __reduce__(self):
        return (os.system, ("exit 1",))


def test_a_pickle_that_names_anything_else_is_not_run(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "a.ckpt", {"step": Malicious()})
    monkeypatch.setattr(os, "system", lambda _: pytest.fail("the pickle was executed"))
    with pytest.raises(DataError, match=r"will not read: it names (posix|nt)\.system"):
        load_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_checkpoint(tmp_path, monkeypatch, step):
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, {"step": 1})
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(OSError, match="no space left"):
            save_checkpoint(path, {"step": 2})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]
    assert load_checkpoint(path) == {"step": 1}


def test_a_folder_keeps_the_newest_two(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert folder.load() is None
    for step in (2, 10, 9):
        folder.save(step, {"step": step})
    assert [path.name for path in folder.paths()] == ["step-000000000010.ckpt", "step-000000000009.ckpt"]
    loaded = folder.load()
    assert loaded == ({"step": 10}, [])


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save(1, {"step": 1})
    newest = folder.save(2, {"step": 2})
    newest.write_bytes(newest.read_bytes()[:-5])
    loaded = folder.load()
    assert loaded is not None
    assert loaded[0] == {"step": 1}
    assert "truncated" in loaded[1][0]
    folder.paths()[1].write_bytes(b"")
    with pytest.raises(DataError, match="no checkpoint of this run can be read") as error:
        folder.load()
    assert "--restart" in str(error.value)
