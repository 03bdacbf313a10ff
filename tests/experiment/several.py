"""What the tests of several processes run in each of them; started by ``torchrun``: ``several.py FOLDER [SIGNAL]``."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from gnnkit.errors import GnnkitError
from gnnkit.experiment import run
from gnnkit.experiment.config import ExperimentConfig
from gnnkit.experiment.processes import Processes, join
from gnnkit.experiment.watcher import Follower
from gnnkit.nn import BatchNorm, synchronize_batch_norms
from tests.experiment.one_graph_cases import LINKS, NODES, config_of, link_dataset, node_dataset

RING: dict[str, Any] = {
    "table": "ring-transfer",
    "method": "GCN",
    "protocol": "for the test",
    "data": {"name": "ring-transfer", "options": {"ring_size": 6, "num_train": 100, "num_val": 40, "num_test": 36}},
    "model": {"conv": "gcn", "num_layers": 3, "hidden_dim": 16, "dropout": 0.0, "pool": "root", "head_layers": 2},
    "optim": {"lr": 1e-3, "clip_norm": 1.0},
    "schedule": {"kind": "plateau", "patience": 1},
    "train": {"epochs": 4, "batch_size": 16, "eval_batch_size": 7, "seed": 5, "num_threads": 1},
}
RANDOM = {"model": {"dropout": 0.2, "norm": "batch"}, "train": {"epochs": 3, "checkpoint_every_steps": 2}}
DATA = {"nodes": node_dataset, "links": link_dataset}
build_real_dataset = run.build_dataset


def configurations() -> dict[str, ExperimentConfig]:
    """Runs without random numbers, which one process must repeat."""
    gated = {"conv": "gatedgcn", "norm": "batch", "feed_forward": True}
    return {
        "graphs": config_of(RING),
        "graphs, batch norm": config_of(RING, model=gated),
        "nodes": config_of(NODES, model={"dropout": 0.0}),
        # Biases in front of a norm walk at random by the learning rate: see the test.
        "nodes, inductive, batch norm": config_of(
            NODES, model={"dropout": 0.0, "norm": "batch"}, nodes={"inductive": True}, optim={"lr": 1e-3}
        ),
        # Ten subgraphs an epoch, three a step: in the last step one process has none.
        "nodes, SaintNode": config_of(
            NODES,
            model={"dropout": 0.0},
            sampler={"kind": "saint_node", "num_nodes": 30, "num_steps": 10, "coverage": 5, "batches_per_step": 3},
        ),
        "nodes, shaDow": config_of(
            NODES,
            model={"dropout": 0.0},
            sampler={"kind": "shadow", "depth": 2, "fanout": 4, "batch_size": 5, "batches_per_step": 2},
        ),
        "links": config_of(LINKS, model={"dropout": 0.0}),
        "links, inner product": config_of(LINKS, model={"dropout": 0.0}, links={"decoder": "inner_product"}),
    }


def with_random_numbers() -> ExperimentConfig:
    """A run with dropout, whose bits depend on how many processes there are."""
    return config_of(RING, **RANDOM)


def train(config: ExperimentConfig, folder: Path, **options: Any) -> dict[str, Any]:
    """Trains on the made-up data that the configuration's table names, or on real ones."""
    make = DATA.get(config.table)
    run.build_dataset = build_real_dataset if make is None else lambda config, **_: make()
    return run.train(config, folder, progress=False, **options)


def norm_case(rows: slice, processes: Any) -> list[Tensor]:
    """Batch normalisation of some of the rows, with missing entries and without, and its gradients and statistics."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(9, 3, generator=generator, dtype=torch.float64) + 1
    mask = torch.rand(9, 3, generator=generator) < 0.7
    weight = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    found = []
    for given in (None, mask[rows]):
        norm = BatchNorm(3).double()
        synchronize_batch_norms(norm, processes)
        part = x[rows].clone().requires_grad_()
        out = norm(part, given)
        (out * weight[rows]).sum().backward()
        assert part.grad is not None
        assert norm.weight.grad is not None
        assert norm.bias.grad is not None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        found += [out.detach(), part.grad, norm.running_mean, norm.running_var, norm.weight.grad, norm.bias.grad]
        norm.eval()
        found.append(norm(part, given).detach())
    return found


def failure(function: Any) -> str:
    """Kind and message of the error that a function raises."""
    try:
        function()
    except GnnkitError as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def compare(folder: Path) -> None:
    """Trains everything, tries the batch norms and the errors, and writes down what each process saw."""
    with join(torch.device("cpu")) as processes:
        for name, config in configurations().items():
            train(config, folder / name)
        train(with_random_numbers(), folder / "random")
        # Of nine rows the first process has four, the second none, or the other five.
        for name, cuts in (("rows", (0, 4, 9)), ("none", (0, 9, 9))):
            rows = slice(cuts[processes.rank], cuts[processes.rank + 1])
            torch.save(norm_case(rows, distributed.group.WORLD), folder / f"{name}-{processes.rank}.pt")
        config = configurations()["graphs"]
        failures = {
            "other configuration": failure(lambda: train(config.override(seed=9), folder / "graphs")),
            "batch size": failure(lambda: train(config_of(RING, train={"batch_size": 33}), folder / "refused")),
            "sampler": failure(
                lambda: train(config_of(NODES, sampler={"kind": "cluster", "num_parts": 4}), folder / "refused too")
            ),
            "data": failure(lambda: processes.one_by_one(lambda: fails_in(1, processes))),
        }
        found = {
            "failures": failures,
            "rank": processes.rank,
            "gathered": processes.gathered(processes.rank),
            "total": processes.total([1.0, processes.rank]),
            "highest": processes.highest(processes.rank),
            "of_leader": processes.of_leader(processes.rank + 7),
            "finished": train(config, folder / "graphs")["weights_sha256"],
        }
        (folder / f"found-{processes.rank}.json").write_text(json.dumps(found))


def fails_in(rank: int, processes: Processes) -> int:
    if processes.rank == rank:
        raise GnnkitError("no such file here")
    return processes.rank


def interrupted(folder: Path, number: int) -> None:
    """Trains, and in the second process a signal comes with a step."""
    original = Follower.on_step

    def on_step(self: Follower, trainer: Any, values: dict[str, Any]) -> None:
        original(self, trainer, values)
        if number and trainer.state.global_step == (9 if number == signal.SIGKILL else 12):
            os.kill(os.getpid(), number)

    Follower.on_step = on_step
    try:
        train(with_random_numbers(), folder, resume_command="the same command")
    except GnnkitError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(3) from None


if __name__ == "__main__":
    if len(sys.argv) == 2:
        compare(Path(sys.argv[1]))
    else:
        interrupted(Path(sys.argv[1]), int(sys.argv[2]))
