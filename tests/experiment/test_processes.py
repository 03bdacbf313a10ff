"""Several processes against one: steps, norms, metrics, records, errors, and what a killed one leaves behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gnnkit.cli import main
from gnnkit.errors import ConfigError
from gnnkit.experiment.launch import launcher, local_device, started
from gnnkit.experiment.processes import Processes
from tests.experiment import several

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed"),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def torchrun(cache: Path, *arguments: str) -> tuple[int, str]:
    """Two processes of ``several.py``: exit code and what they printed."""
    # A free port each time, so that tests can run side by side.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GNNKIT_CACHE": str(cache)}
    script = str(Path(several.__file__))
    process = subprocess.run(
        [*command, script, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    return process.returncode, process.stdout + process.stderr


@pytest.fixture(scope="module")
def compared(cache, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    code, printed = torchrun(cache, str(folder))
    assert code == 0, printed
    return folder


@pytest.fixture
def single(cache, monkeypatch):
    """Trains in this process alone."""
    monkeypatch.setenv("GNNKIT_CACHE", str(cache))
    monkeypatch.setattr(several.run, "build_dataset", several.build_real_dataset)
    return several.train


@pytest.mark.parametrize("name", several.configurations())
def test_two_processes_have_the_losses_and_metrics_of_one(name, compared, single, tmp_path):
    two = json.loads((compared / name / "record.json").read_text())
    one = single(several.configurations()[name], tmp_path)
    # Biases before a batch norm have gradients of rounding alone, which Adam scales up: they move the running means.
    tolerance = 5e-3 if "batch norm" in name else 1e-5
    for ours, theirs in zip(two["history"], one["history"], strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-5)
        for key in ("val_loss", "test_loss"):
            assert ours[key] == pytest.approx(theirs[key], abs=tolerance)
        assert ours["lr"] == theirs["lr"]
    if tolerance < 1e-3:
        assert two["final"] == one["final"]
    assert two["environment"]["processes"]["count"] == 2
    assert two["environment"]["processes"]["backend"] == "gloo"
    assert two["peak_memory_bytes"] == max(
        part["peak_memory_bytes"] for part in two["environment"]["processes"]["memory"]
    )
    assert one["environment"]["processes"]["count"] == 1


def test_the_leader_alone_writes_one_log(compared, single, tmp_path):
    one = tmp_path / "one"
    single(several.configurations()["graphs"], one)
    files = [sorted(path.name for path in folder.iterdir()) for folder in (compared / "graphs", one)]
    assert files[0] == files[1]
    lines = [(folder / "log.jsonl").read_text().count("\n") for folder in (compared / "graphs", one)]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("name", ["rows", "none"])
def test_batch_norm_over_processes_is_that_of_all_rows(name, compared):
    parts = [torch.load(compared / f"{name}-{rank}.pt") for rank in range(2)]
    whole = several.norm_case(slice(None), None)
    assert len(whole) == 14
    for number, expected in enumerate(whole):
        kind = number % 7
        if kind in (0, 1, 6):  # of rows
            found = torch.cat([part[number] for part in parts])
        elif kind in (2, 3):  # alike everywhere
            torch.testing.assert_close(parts[0][number], parts[1][number], rtol=0, atol=0)
            found = parts[0][number]
        else:  # gradients of parameters, which are added up
            found = parts[0][number] + parts[1][number]
        torch.testing.assert_close(found, expected)


def test_what_processes_tell_each_other(compared):
    found = [json.loads((compared / f"found-{rank}.json").read_text()) for rank in range(2)]
    for rank, seen in enumerate(found):
        assert seen["rank"] == rank
        assert seen["gathered"] == [0, 1]
        assert seen["total"] == [2.0, 1.0]
        assert seen["highest"] == 1
        assert seen["of_leader"] == 7
    assert found[0]["finished"] == found[1]["finished"]


def test_an_error_in_one_process_ends_all(compared):
    leader, other = (json.loads((compared / f"found-{rank}.json").read_text())["failures"] for rank in range(2))
    assert leader["other configuration"].startswith("ConfigError: ")
    assert "another configuration" in leader["other configuration"]
    assert other["other configuration"].startswith("PeerError: process 0 of 2 failed: ")
    assert leader["batch size"] == other["batch size"]
    assert "the last step of an epoch is of 1 graph(s), which 2 processes cannot share" in leader["batch size"]
    assert leader["sampler"] == other["sampler"]
    assert "set batches_per_step to 2 or more" in leader["sampler"]
    assert leader["data"] == "PeerError: process 1 of 2 failed: no such file here"
    assert other["data"] == "GnnkitError: no such file here"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this platform has no SIGKILL")
def test_a_run_whose_process_is_killed_says_so_and_goes_on_to_the_same_bits(compared, cache, tmp_path):
    folder = tmp_path / "killed"
    code, printed = torchrun(cache, str(folder), str(int(signal.SIGKILL)))
    assert code != 0
    assert "PeerError: lost contact with another process of this run: it failed, was killed" in printed
    assert "goes on from its last checkpoint" in printed
    assert not (folder / "record.json").exists()
    code, printed = torchrun(cache, str(folder), str(int(signal.SIGTERM)))
    assert code != 0
    # Both saw the signal that came to one.
    assert printed.count("Interrupted: interrupted at epoch 2, step 6; everything is saved") == 2
    assert "Resume with: the same command" in printed
    code, printed = torchrun(cache, str(folder), "0")
    assert code == 0, printed
    first, second = (json.loads((path / "record.json").read_text()) for path in (folder, compared / "random"))
    assert first["timing"]["resumes"] == 2
    for key in ("final", "history", "weights_sha256"):
        assert first[key] == second[key], key


def test_a_checkpoint_of_two_processes_can_be_taken_up_by_one(cache, single, tmp_path, caplog):
    code, _ = torchrun(cache, str(tmp_path), str(int(signal.SIGTERM)))
    assert code != 0
    with caplog.at_level("WARNING", logger="gnnkit.experiment"):
        record = single(several.with_random_numbers(), tmp_path)
    assert record["epochs_run"] == 3
    assert "resumed with 1 process(es) instead of 2, random numbers will differ" in caplog.text


def test_one_process_talks_to_nobody():
    alone = Processes()
    model: Any = torch.nn.Linear(2, 2)
    alone.prepare(model, divides_rows=True)
    alone.sum_gradients(model)
    assert alone.leads
    assert alone.share([1, 2, 3]) == [1, 2, 3]
    assert alone.total([2.0]) == [2.0]
    assert alone.highest(3) == 3
    assert alone.gathered("a") == ["a"]
    assert alone.of_leader("a") == "a"
    assert alone.by_leader(lambda: "a") == "a"
    assert alone.one_by_one(lambda: "a") == "a"
    with pytest.raises(ConfigError, match="as it was"):
        alone.by_leader(lambda: _raise(ConfigError("as it was")))


def _raise(error: Exception) -> None:
    raise error


def test_shares_are_disjoint_and_together_everything():
    parts = [Processes(rank, 3, "gloo").share(torch.arange(8)) for rank in range(3)]
    assert [part.tolist() for part in parts] == [[0, 3, 6], [1, 4, 7], [2, 5]]


def test_the_environment_says_who_is_there(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert started() == (0, 1)
    assert launcher() == ["gnnkit"]
    assert local_device("cuda") == "cuda"
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    assert started() == (3, 4)
    assert launcher() == ["torchrun", "--nproc-per-node", "2", "--nnodes", "2", "-m", "gnnkit"]
    assert local_device("cuda") == "cuda:1"
    assert local_device("cuda:0") == "cuda:0"
    assert local_device("cpu") == "cpu"
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    assert launcher() == ["torchrun", "--nproc-per-node", "2", "-m", "gnnkit"]


@pytest.mark.parametrize(("rank", "count"), [("4", "4"), ("-1", "2"), ("one", "2"), ("0", "0")])
def test_an_environment_that_makes_no_sense_is_refused(rank, count, monkeypatch):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", count)
    with pytest.raises(ConfigError, match="start with torchrun, or unset them"):
        started()


def test_the_command_says_so_without_a_traceback(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("RANK", "one")
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = ROOT / "benchmarks/tables/ring-transfer/gcn.toml"
    assert main(["run", str(config), "--out", str(tmp_path)]) == 2
    assert "gnnkit: RANK and WORLD_SIZE in the environment must be" in capsys.readouterr().err
