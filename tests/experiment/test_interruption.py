"""The promise that a killed run loses nothing, checked from outside with the real command."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

import gnnkit
from gnnkit.experiment.checkpoint import CheckpointFolder
from gnnkit.experiment.log import read_log

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this platform has no SIGKILL"),
]

STEPS_PER_EPOCH = 150
CONFIG = """
table = "ring-transfer"
method = "GCN"
protocol = "for the test"
data = { name = "ring-transfer", options = { ring_size = 6, num_train = 1200, num_val = 40, num_test = 40 } }
model = { conv = "gcn", num_layers = 3, hidden_dim = 16, dropout = 0.2, norm = "batch", pool = "root", head_layers = 2 }
optim = { lr = 1e-3, clip_norm = 1.0 }
schedule = { kind = "cosine", warmup_epochs = 1 }
train = { epochs = 3, batch_size = 8, seed = 5, num_threads = 1, checkpoint_every_steps = 40 }
"""
# Dies, as if the power failed, when the fifth checkpoint is about to take its name.
DYING = """
import os, signal, sys
replace, checkpoints = os.replace, []
def die(source, target):
    if str(target).endswith(".ckpt"):
        checkpoints.append(target)
        if len(checkpoints) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = die
from gnnkit.cli import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "gcn.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(config, folder)
    return folder


def start(program: list[str], config: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, *program, "run", str(config), "--out", str(folder), "--no-progress", *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(gnnkit.__file__).parents[1])}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(config: Path, folder: Path, *options: str) -> str:
    process = start(["-m", "gnnkit"], config, folder, *options)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output + errors


def signal_at(step: int, number: int, config: Path, folder: Path, *options: str) -> tuple[int, str]:
    """Starts or resumes a run and sends it a signal once the log holds a step."""
    process = start(["-m", "gnnkit"], config, folder, *options)
    log, deadline = folder / "log.jsonl", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and f'"global_step": {step},' in log.read_text():
            process.send_signal(number)
            break
        time.sleep(0.005)
    errors = process.communicate(timeout=60)[1]
    return process.returncode, errors


def assert_equal_runs(folder: Path, whole: Path, *, resumes: int) -> None:
    first, second = (json.loads((path / "record.json").read_text()) for path in (folder, whole))
    for key in ("final", "history", "weights_sha256", "epochs_run", "config"):
        assert first[key] == second[key], key
    assert first["timing"]["resumes"] == resumes
    for name in ("final.safetensors", "best.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert untimed(folder) == untimed(whole)


def untimed(folder: Path) -> list[dict[str, object]]:
    lines = read_log(folder / "log.jsonl")
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_a_run_killed_twice_within_an_epoch_ends_with_the_same_bits(config, whole, tmp_path):
    for kills, step in enumerate((STEPS_PER_EPOCH + 50, 2 * STEPS_PER_EPOCH + 50)):
        code, _ = signal_at(step, signal.SIGKILL, config, tmp_path)
        assert code == -signal.SIGKILL
        last = [line for line in read_log(tmp_path / "log.jsonl") if line["event"] == "step"][-1]
        assert last["epoch"] == kills + 2
        assert 50 <= last["step"] < STEPS_PER_EPOCH
        assert not (tmp_path / "record.json").exists()
    output = run(config, tmp_path, "--resume")
    assert "resumed" in output
    assert_equal_runs(tmp_path, whole, resumes=2)
    assert len(load_file(tmp_path / "final.safetensors")) > 10


def test_a_run_killed_while_it_writes_a_checkpoint_keeps_the_one_before(config, whole, tmp_path):
    process = start(["-c", DYING], config, tmp_path)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    checkpoints = CheckpointFolder(tmp_path / "checkpoints")
    loaded = checkpoints.load()
    assert loaded is not None
    assert loaded[1] == []
    assert loaded[0]["state"]["global_step"] == STEPS_PER_EPOCH
    assert list((tmp_path / "checkpoints").glob(".*.tmp")), "it died before it had begun to write"
    run(config, tmp_path)
    assert not list(tmp_path.rglob(".*.tmp"))
    assert_equal_runs(tmp_path, whole, resumes=1)


def test_an_interrupted_command_says_how_to_go_on_and_exits_130(config, whole, tmp_path):
    code, errors = signal_at(STEPS_PER_EPOCH + 20, signal.SIGINT, config, tmp_path, "--seed", "5")
    assert code == 130
    assert f"gnnkit run {config} --seed 5 --out {tmp_path} --resume" in errors
    assert "Traceback" not in errors
    run(config, tmp_path, "--seed", "5", "--resume")
    assert_equal_runs(tmp_path, whole, resumes=1)
