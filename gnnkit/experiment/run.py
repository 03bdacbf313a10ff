"""One run in its folder: start or resume, log, checkpoints, signals, record."""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from gnnkit.errors import ConfigError
from gnnkit.experiment import environment
from gnnkit.experiment.build import build_dataset, build_model, select_device
from gnnkit.experiment.config import ExperimentConfig
from gnnkit.experiment.folder import RunFolder
from gnnkit.experiment.launch import local_device
from gnnkit.experiment.processes import join
from gnnkit.experiment.trainer import Trainer
from gnnkit.experiment.watcher import Follower, Watcher

logger = logging.getLogger("gnnkit.experiment")

_REPEATED_AFTER = 1.0


def train(
    config: ExperimentConfig,
    out: str | Path,
    *,
    data_root: str | Path | None = None,
    resume: bool | None = None,
    restart: bool = False,
    progress: bool | None = None,
    config_folder: str | Path | None = None,
    resume_command: str | None = None,
) -> dict[str, Any]:
    """Runs an experiment in a folder, or takes up the run that the folder holds.

    The folder gets ``config.json`` (resolved), ``log.jsonl``, ``checkpoints/``, ``best.safetensors``,
    ``final.safetensors`` and ``record.json``. Torch's global generator and number of threads are as before when this
    returns.

    Started by ``torchrun``, the processes share the graphs, nodes or links of each step of the configuration, and those
    that are evaluated. The first of them alone reads and writes the folder. Without dropout and other random numbers in
    the model, losses and metrics are those of one process but for rounding; which is not little after epochs with a
    bias in front of a batch normalisation: AdamW scales its gradient, nothing but rounding, up, and the running means
    of evaluation follow.

    Args:
        config: What to run.
        out: The run's folder; made if missing.
        data_root: Folder of the raw files; ``None``: where ``gnnkit.data`` looks by default.
        resume: True: there must be a checkpoint; ``None``: resume if there is one; False: refuse if there is one.
        restart: Forget what the folder holds.
        progress: Show a bar; ``None``: if standard error is a terminal.
        config_folder: Folder whose git repository the record names; ``None``: the working directory.
        resume_command: Named when the run is interrupted.

    Returns:
        The record. A folder that holds the finished record of the same configuration is not run again.

    Raises:
        ConfigError: If the folder holds a run of another configuration, or the configuration does not fit the data.
        DataError: If the data, or all checkpoints, are missing or damaged; or if the data changed since the checkpoint.
        DivergenceError: If the loss becomes NaN or infinite.
        Interrupted: On SIGINT or SIGTERM, after the step under way and a checkpoint.
        PeerError: If another of several processes fails or is gone. The run can be resumed from its last checkpoint.

    Determinism: the same configuration, seed, versions, machine, number of threads and of processes give the same bits,
    interrupted and resumed or not.
    """
    out = Path(out)
    device = select_device(local_device(config.train.device))
    gpus = [device] if device.type == "cuda" else []
    with contextlib.ExitStack() as stack:
        processes = stack.enter_context(join(device))
        stack.enter_context(_threads(config.train.num_threads))
        stack.enter_context(torch.random.fork_rng(gpus))

        def begin() -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
            stack.enter_context(_lock(out))
            return _begin(RunFolder(out), config, resume=resume, restart=restart)

        finished, saved = processes.by_leader(begin)
        if finished is not None:
            return finished
        root, shows = Path(data_root) if data_root else None, processes.leads and progress is not False
        dataset = processes.one_by_one(lambda: build_dataset(config, root=root, progress=shows))
        torch.manual_seed(config.train.seed)
        model = build_model(config, dataset)
        with _signals() as pending:
            kind = Watcher if processes.leads else Follower
            watcher = kind(
                RunFolder(out),
                config,
                pending,
                processes,
                provenance=environment.provenance(Path(config_folder) if config_folder else Path.cwd()),
                progress=progress,
                resume_command=resume_command,
            )
            trainer = Trainer(config, dataset, model, watcher, device, processes)
            if saved is not None:
                watcher.restore(trainer, saved)
            watcher.open(trainer)
            try:
                trainer.fit()
            finally:
                watcher.close()
        return watcher.finish(trainer)


def _begin(
    folder: RunFolder, config: ExperimentConfig, *, resume: bool | None, restart: bool
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The record, if the run is finished, and the state to take up, if there is one."""
    folder.sweep()
    if restart:
        folder.clear()
    elif (finished := folder.finished(config)) is not None:
        logger.info("%s is finished already; --restart runs it again", folder.path)
        return finished, None
    return None, folder.load(config, resume)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; one that is repeated after a while is obeyed at once."""
    pending: list[int] = []
    came = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        now = time.monotonic()
        # Some tools (timeout(1), for one) signal the process and then its group: that is one wish, not two.
        if pending and now - came > _REPEATED_AFTER:
            raise KeyboardInterrupt
        if not pending:
            came = now
            pending.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield pending
        return
    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield pending
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keeps a second process out of the folder; the lock dies with its process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except BlockingIOError:
            raise ConfigError(
                f"another process is running in {folder}; wait for it, or name another folder with --out"
            ) from None
        yield
