import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gnnkit
from gnnkit.cli import main
from gnnkit.experiment import watcher
from gnnkit.experiment.trainer import DivergenceError

pytestmark = pytest.mark.usefixtures("restored_logging")
ROOT = Path(__file__).resolve().parents[1]
# The gnnkit that is under test, whether it is installed or lies in the working directory.
COMMAND = [sys.executable, "-P", "-m", "gnnkit"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(gnnkit.__file__).parents[1])}

CONFIG = """
table = "ring-transfer"
method = "GCN"
protocol = "for the test"
data = { name = "ring-transfer", options = { ring_size = 4, num_train = 20, num_val = 10, num_test = 10 } }
model = { conv = "gcn", num_layers = 2, hidden_dim = 8, pool = "root" }
train = { epochs = 4, batch_size = 10, num_threads = 1 }
"""


@pytest.fixture
def config(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "gcn.toml"
    path.write_text(CONFIG)
    return path


def test_info(capsys):
    assert main(["info"]) == 0
    output = capsys.readouterr().out
    assert torch.__version__ in output
    assert gnnkit.__version__ in output
    for name, state in gnnkit.backend_info().items():
        assert f"{name} library" in output
        assert (state["path"] if state["loaded"] else state["reason"]) in output


def test_info_as_json(capsys):
    assert main(["info", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["libraries"] == gnnkit.backend_info()
    assert info["versions"]["torch"] == torch.__version__


def test_run_writes_its_folder_and_the_record(config, capsys):
    assert main(["run", str(config), "--seed", "2", "--epochs", "1", "--record", "results", "--no-progress"]) == 0
    out, record = Path("runs/ring-transfer/gcn/seed2"), Path("results/ring-transfer/gcn-epochs1-seed2.json")
    assert json.loads((out / "record.json").read_text()) == json.loads(record.read_text())
    content = json.loads(record.read_text())
    assert (content["seed"], content["epochs"], content["protocol_epochs"]) == (2, 1, 4)
    output = capsys.readouterr().out
    assert "schedule short (1 of 4 epochs)" in output
    assert f"test accuracy {content['final']['test']:.4f}" in output
    assert str(record) in output


def test_run_encodes_its_data_and_says_what_is_wrong(config, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))
    encodings = (
        '{ kind = "random_walk", steps = 4 }, { kind = "heat_kernel", times = [0.5, 2] }, '
        '{ kind = "hop_distances", max_distance = 2 }'
    )
    encoded = CONFIG.replace("num_test = 10 } }", f"num_test = 10 }}, transforms = [{encodings}] }}")
    encoded = encoded.replace('pool = "root" }', 'pool = "root", encodings = [{ attr = "random_walk_pe", in_dim = 4, '
                              'dim = 2 }, { attr = "heat_kernel_pe", in_dim = 2, dim = 2 }] }')  # fmt: skip
    config.write_text(encoded)
    assert main(["run", str(config), "--epochs", "1", "--no-progress"]) == 0
    for change, words in (
        (("steps = 4", "k = 4"), '[data.transforms random_walk]: unknown key "k"'),
        (("steps = 4", "steps = 0"), "steps must be an integer of at least 1, got 0"),
        (("heat_kernel", "heat_kernle"), 'unknown transform "heat_kernle"; did you mean "heat_kernel"'),
        (("times = [0.5, 2]", "times = []"), "times must be one or more finite numbers"),
        (("in_dim = 2", "in_dim = 3"), '"heat_kernel_pe" is 2 wide in the data, but in_dim is 3'),
    ):
        config.write_text(encoded.replace(*change))
        capsys.readouterr()
        assert main(["run", str(config), "--epochs", "1", "--no-progress", "--restart"]) == 2
        assert words in capsys.readouterr().err


def test_run_again_says_that_it_is_finished(config, capsys, caplog):
    arguments = ["run", str(config), "--out", "here", "--epochs", "1", "--no-progress"]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert main([*arguments, "--record", "one.json"]) == 0
    assert "finished already; --restart runs it again" in caplog.text
    assert Path("one.json").exists()
    assert first.replace("here/record.json", "one.json") == capsys.readouterr().out
    assert main([*arguments, "--restart"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "none.toml"], "there is no configuration file none.toml"),
        (["run", "gcn.toml", "--epochs", "0"], "epochs must be 1 or more, got 0"),
        (["run", "gcn.toml", "--resume"], "no checkpoint to resume from"),
        (["table", "peptides-fun"], 'did you mean "peptides-func"'),
        (["data", "get", "ring-transfre"], "ring-transfer"),
        (["data", "verify", "ring-transfre"], "ring-transfer"),
    ],
)
def test_errors_are_one_message_and_code_2(config, capsys, monkeypatch, arguments, words):
    if arguments[0] == "table":
        monkeypatch.chdir(ROOT)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("gnnkit: ")
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_an_unknown_key_names_file_and_nearest_key(config, capsys):
    config.write_text(CONFIG.replace("hidden_dim", "hiden_dim"))
    assert main(["run", str(config)]) == 2
    error = capsys.readouterr().err
    assert "gcn.toml" in error
    assert '[model]: unknown key "hiden_dim"; did you mean "hidden_dim"?' in error


def test_debug_lets_the_error_through(config):
    with pytest.raises(gnnkit.errors.ConfigError):
        main(["--debug", "run", "none.toml"])
    with pytest.raises(gnnkit.errors.ConfigError):
        main(["run", "none.toml", "--debug"])


def test_a_diverged_run_is_code_2_and_keeps_its_checkpoints(config, capsys, monkeypatch):
    def diverge(*_, **__):
        raise DivergenceError("epoch 1, step 1: the loss is nan")

    with monkeypatch.context() as patch:
        patch.setattr(watcher.Watcher, "on_step", diverge)
        assert main(["run", str(config), "--no-progress"]) == 2
    assert "the loss is nan" in capsys.readouterr().err


def test_a_keyboard_interrupt_elsewhere_is_code_130(config, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("gnnkit.experiment.run.build_dataset", interrupt)
    assert main(["run", str(config)]) == 130
    assert capsys.readouterr().err == "gnnkit: interrupted\n"


def test_quiet_prints_the_result_only(config, capfd):
    assert main(["run", str(config), "--quiet", "--epochs", "1"]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out.startswith("GCN on ring-transfer, seed 0")


def test_table(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert main(["table", "peptides-func", "--results", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "| ECFP+LightGBM | 0.7460 |" in output
    assert main(["table", "Peptides-func", "--format", "tex", "--published", "ECFP", "--results", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "ECFP+LightGBM & 0.7460" in output
    assert "DRew" not in output


def test_data_list_and_verify(capsys):
    assert main(["data", "list"]) == 0
    output = capsys.readouterr().out
    for name in ("peptides-func", "ring-transfer", "ogbg-molesol"):
        assert name in output
    assert main(["data", "verify", "ring-transfer"]) == 0
    assert "ring-transfer: ok" in capsys.readouterr().out


def test_data_that_are_missing_fail_verification(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("GNNKIT_CACHE", str(tmp_path / "cache"))
    assert main(["data", "verify", "peptides-func", "--data", str(tmp_path)]) == 1
    assert "missing" in capsys.readouterr().out


def test_help_and_wrong_commands_are_argparse_ones(capsys):
    for arguments, code in [(["--help"], 0), (["run", "--help"], 0), (["train"], 2), ([], 2)]:
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == code
    assert "COMMAND" in capsys.readouterr().out


def test_python_m_gnnkit():
    command = [*COMMAND, "info", "--json"]
    result = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "versions" in json.loads(result.stdout)


def test_a_pipe_that_is_closed_early_is_no_error():
    result = subprocess.run(
        f"{shlex.join(COMMAND)} table peptides-func | head -n 1",
        env=ENVIRONMENT,
        cwd=ROOT,
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.casefold().startswith("## peptides-func")
    assert "Traceback" not in result.stderr
