import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gnnkit.errors import ConfigError, DataError
from gnnkit.experiment import run, watcher
from gnnkit.experiment.checkpoint import CheckpointFolder
from gnnkit.experiment.config import config_from_dict
from gnnkit.experiment.log import read_log
from gnnkit.experiment.run import train
from gnnkit.experiment.watcher import Interrupted, Watcher

pytestmark = pytest.mark.usefixtures("dataset")


def comparable(record):
    """What must not depend on when, where and in how many pieces a run was made."""
    return {key: record[key] for key in ("final", "history", "weights_sha256", "parameters", "config", "epochs_run")}


def lines(folder: Path):
    """The log without times."""
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(folder / "log.jsonl")]


@pytest.fixture
def whole(config, tmp_path):
    folder = tmp_path / "whole"
    return train(config, folder, progress=False), folder


@pytest.fixture
def stop_at(monkeypatch):
    """Sends this process a signal after the n-th step; a step of -1 takes that back."""
    original = Watcher.on_step

    def arrange(step: int, number: int = signal.SIGINT) -> None:
        def on_step(self, trainer, values):
            if trainer.state.global_step == step:
                os.kill(os.getpid(), number)
            original(self, trainer, values)

        monkeypatch.setattr(Watcher, "on_step", on_step)

    return arrange


@pytest.mark.parametrize(("seconds", "times"), [(0.0, 28), (1e9, 0)])
def test_freed_memory_is_given_back_now_and_then(config, tmp_path, monkeypatch, seconds, times):
    calls = []
    monkeypatch.setattr(watcher, "_RELEASE_SECONDS", seconds)
    monkeypatch.setattr(watcher.environment, "release_memory", lambda: calls.append(1))
    train(config, tmp_path / "run", progress=False)
    assert len(calls) == times


def test_the_folder_of_a_run(whole, config):
    record, folder = whole
    assert json.loads((folder / "record.json").read_text()) == json.loads(json.dumps(record))
    assert config_from_dict(json.loads((folder / "config.json").read_text())) == config
    events = [line["event"] for line in lines(folder)]
    assert events == (["step"] * 7 + ["epoch"]) * 4
    assert [line["global_step"] for line in lines(folder) if line["event"] == "step"] == list(range(1, 29))
    final, best = load_file(folder / "final.safetensors"), load_file(folder / "best.safetensors")
    assert final.keys() == best.keys()
    assert len(CheckpointFolder(folder / "checkpoints").paths()) == 2
    assert not list(folder.glob("best-epoch-*"))
    saved = CheckpointFolder(folder / "checkpoints").load()
    assert saved is not None
    assert all(torch.equal(value, final[name]) for name, value in saved[0]["model"].items())


def test_what_a_record_says(whole, config):
    record, _ = whole
    history = record["history"]
    best = max(history, key=lambda values: values["val"])
    assert record["final"]["best_epoch"] == best["epoch"]
    assert (record["final"]["val"], record["final"]["test"]) == (best["val"], best["test"])
    assert record["final"]["last"] == {"epoch": 4, "val": history[-1]["val"], "test": history[-1]["test"]}
    assert record["config"] == config.to_dict()
    assert (record["seed"], record["epochs"], record["protocol_epochs"]) == (3, 4, 4)
    assert (record["short_schedule"], record["schedule"]) == (False, "full (4 epochs)")
    assert record["data"] == {
        "name": "small",
        "graphs": {"train": 50, "val": 20, "test": 20},
        "checksums": {"small.csv": "ab" * 32},
        "official": True,
        "notes": [],
    }
    assert record["parameters"] == {"total": 8 * 16 + 16 + 32 + 16 * 3 + 3, "trainable": 227}
    assert len(record["timing"]["epoch_seconds"]) == 4
    assert record["timing"]["wall_seconds"] > 0
    assert record["peak_memory_bytes"] > 2**20
    assert record["training_memory_bytes"] is None or record["training_memory_bytes"] <= record["peak_memory_bytes"]
    assert record["steps_per_epoch"] == 7
    expected = {"versions", "machine", "backend", "processes", "git", "gnnkit_source_sha256"}
    assert record["environment"].keys() == expected


def test_the_same_seed_gives_the_same_record_and_another_does_not(whole, config, tmp_path):
    record, _ = whole
    assert comparable(train(config, tmp_path / "again", progress=False)) == comparable(record)
    other = train(config.override(seed=4), tmp_path / "other", progress=False)
    assert other["weights_sha256"] != record["weights_sha256"]


def test_a_short_schedule_is_marked(config, tmp_path):
    record = train(config.override(epochs=2), tmp_path / "short", progress=False)
    assert (record["epochs"], record["protocol_epochs"], record["epochs_run"]) == (2, 4, 2)
    assert (record["short_schedule"], record["schedule"]) == (True, "short (2 of 4 epochs)")
    longer = train(config.override(epochs=5), tmp_path / "long", progress=False)
    assert (longer["short_schedule"], longer["schedule"]) == (False, "long (5 epochs instead of 4)")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 9, 14, 27])
def test_a_signal_saves_and_the_resumed_run_has_the_same_bits(whole, config, tmp_path, stop_at, step, number):
    record, folder = whole
    stop_at(step, number)
    with pytest.raises(Interrupted, match="Resume with: gnnkit run x") as error:
        train(config, tmp_path / "cut", progress=False, resume_command="gnnkit run x")
    assert error.value.signal_number == number
    assert f"epoch {(step - 1) // 7 + 1}, step {(step - 1) % 7 + 1};" in str(error.value)
    stop_at(-1)
    resumed = train(config, tmp_path / "cut", resume=True, progress=False)
    assert comparable(resumed) == comparable(record)
    assert lines(tmp_path / "cut") == lines(folder)
    assert resumed["timing"]["resumes"] == 1
    for name in ("best.safetensors", "final.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (folder / name).read_bytes()


def test_a_signal_during_evaluation_saves_too(whole, config, tmp_path, monkeypatch):
    record, folder = whole
    original = Watcher.on_pause

    def on_pause(self, trainer):
        if not trainer.model.training and (trainer.state.epoch, trainer.state.step) == (1, 7) and not self.pending:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Watcher, "on_pause", on_pause)
        with pytest.raises(Interrupted, match="epoch 2, step 7"):
            train(config, tmp_path / "cut", progress=False)
    assert comparable(train(config, tmp_path / "cut", progress=False)) == comparable(record)
    assert lines(tmp_path / "cut") == lines(folder)


def test_a_signal_that_comes_twice_at_once_is_one_and_an_impatient_one_is_obeyed(config, tmp_path, monkeypatch):
    original = Watcher.on_step

    def twice(self, trainer, values):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        original(self, trainer, values)

    monkeypatch.setattr(Watcher, "on_step", twice)
    with pytest.raises(Interrupted):
        train(config, tmp_path / "once", progress=False)
    assert CheckpointFolder(tmp_path / "once" / "checkpoints").load() is not None
    monkeypatch.setattr(run, "_REPEATED_AFTER", -1.0)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "twice", progress=False)


def test_handlers_generator_and_threads_are_given_back(config, tmp_path, table):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    threads = torch.get_num_threads()
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    table["train"]["num_threads"] = threads + 1
    record = train(config_from_dict(table), tmp_path / "run", progress=False)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert record["environment"]["machine"]["torch_threads"] == threads + 1
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


@pytest.fixture
def cut(config, tmp_path, stop_at):
    """A run that was interrupted at step 9 of 28."""
    stop_at(9)
    with pytest.raises(Interrupted):
        train(config, tmp_path / "cut", progress=False)
    stop_at(-1)
    return tmp_path / "cut"


def test_another_configuration_is_refused_and_the_keys_are_named(cut, config):
    with pytest.raises(ConfigError) as error:
        train(config.override(seed=5, epochs=6), cut, progress=False)
    for words in ("train.seed: 5 and 3", "train.epochs: 6 and 4", "--out", "--restart"):
        assert words in str(error.value)


def test_how_often_checkpoints_are_written_may_change(cut, whole, table):
    table["train"]["checkpoint_every_steps"] = 2
    record = train(config_from_dict(table), cut, progress=False)
    assert record["weights_sha256"] == whole[0]["weights_sha256"]


def test_changed_data_are_refused(cut, config, dataset):
    dataset.checksums = {"small.csv": "cd" * 32}
    with pytest.raises(DataError, match=r"data files changed .*\n.*small\.csv"):
        train(config, cut, progress=False)


def test_another_torch_is_said(cut, config, monkeypatch, caplog):
    monkeypatch.setattr(watcher.environment, "versions", lambda: {"torch": "0.0"})
    train(config, cut, progress=False)
    assert "the bits may differ: torch: '0.0'" in caplog.text


def test_the_record_names_the_code_of_the_start_and_a_resumed_run_says_if_it_changed(cut, config, monkeypatch, caplog):
    answers = iter(["a" * 64, "b" * 64])
    monkeypatch.setattr(run.environment, "source_checksum", lambda: next(answers))
    record = train(config, cut, progress=False)
    assert record["environment"]["gnnkit_source_sha256"] == "a" * 64
    assert f"the bits may differ: gnnkit sources: '{'a' * 64}' and" in caplog.text


def test_a_damaged_checkpoint_falls_back_and_gives_the_same_bits(cut, config, whole, caplog):
    newest = CheckpointFolder(cut / "checkpoints").paths()[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    record = train(config, cut, progress=False)
    assert "passed over a checkpoint" in caplog.text
    assert comparable(record) == comparable(whole[0])
    assert lines(cut) == lines(whole[1])


def test_only_damaged_checkpoints_are_an_error_and_restart_mends_it(cut, config, whole):
    for path in CheckpointFolder(cut / "checkpoints").paths():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no checkpoint of this run can be read"):
        train(config, cut, progress=False)
    assert comparable(train(config, cut, restart=True, progress=False)) == comparable(whole[0])


def test_a_crash_while_a_checkpoint_is_written_loses_only_that_one(config, tmp_path, monkeypatch, whole):
    original, calls = os.replace, []

    def fail(source, target):
        if str(target).endswith(".ckpt"):
            calls.append(target)
            if len(calls) == 3:
                raise OSError("power cut")
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="power cut"):
            train(config, tmp_path / "cut", progress=False)
    saved = CheckpointFolder(tmp_path / "cut" / "checkpoints").load()
    assert saved is not None
    assert saved[0]["state"]["epoch"] == 2
    assert saved[1] == []
    assert comparable(train(config, tmp_path / "cut", progress=False)) == comparable(whole[0])
    assert lines(tmp_path / "cut") == lines(whole[1])


def test_resume_and_no_resume(tmp_path, config, cut):
    with pytest.raises(DataError, match="no checkpoint to resume from"):
        train(config, tmp_path / "empty", resume=True, progress=False)
    with pytest.raises(ConfigError, match="unfinished run"):
        train(config, cut, resume=False, progress=False)


def test_a_finished_run_is_not_run_again_unless_asked(whole, config, monkeypatch):
    record, folder = whole
    with monkeypatch.context() as patch:
        patch.setattr(run, "build_dataset", lambda *_, **__: pytest.fail("it was run again"))
        assert comparable(train(config, folder, progress=False)) == comparable(record)
        with pytest.raises(ConfigError, match=r"a finished run of another .*\n.*train\.seed"):
            train(config.override(seed=8), folder, progress=False)
    again = train(config, folder, restart=True, progress=False)
    assert again["timing"] != record["timing"]
    assert comparable(again) == comparable(record)


def test_a_damaged_record_is_an_error(whole, config):
    (whole[1] / "record.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        train(config, whole[1], progress=False)


def test_restart_removes_nothing_but_the_run(whole, config):
    (whole[1] / "notes.txt").write_text("mine")
    train(config, whole[1], restart=True, progress=False)
    assert (whole[1] / "notes.txt").read_text() == "mine"


def test_two_processes_cannot_share_a_folder(config, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another process is running in"):
            train(config, tmp_path, progress=False)


def test_no_more_best_weights_than_checkpoints_can_name(config, tmp_path, stop_at, table):
    table["train"]["epochs"] = 30
    stop_at(200)
    with pytest.raises(Interrupted):
        train(config_from_dict(table), tmp_path, progress=False)
    saved = CheckpointFolder(tmp_path / "checkpoints").load()
    assert saved is not None
    names = [path.name for path in tmp_path.glob("best-epoch-*")]
    assert f"best-epoch-{saved[0]['state']['best_epoch']:06d}.safetensors" in names
    assert len(names) <= 2


def test_progress_can_be_shown_and_hidden(config, tmp_path, capfd):
    train(config, tmp_path / "shown", progress=True)
    assert "epoch 4/4" in capfd.readouterr().err
    train(config, tmp_path / "hidden", progress=False)
    assert capfd.readouterr().err == ""


def test_epochs_are_told_where_no_bar_is_shown(config, tmp_path, caplog):
    caplog.set_level("INFO", logger="gnnkit")
    train(config, tmp_path, progress=False)
    assert "epoch 4/4: loss" in caplog.text
