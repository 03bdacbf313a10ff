"""What a run does beside training: log, checkpoints, progress, and stopping when a signal asks for it."""

import hashlib
import logging
import time
from typing import Any

from torch import nn

from gnnkit._files import write_atomic
from gnnkit.errors import DataError, GnnkitError
from gnnkit.experiment import environment
from gnnkit.experiment.config import ExperimentConfig, config_differences
from gnnkit.experiment.files import write_json
from gnnkit.experiment.folder import RunFolder
from gnnkit.experiment.log import JsonLog
from gnnkit.experiment.processes import Processes
from gnnkit.experiment.record import build_record, write_record
from gnnkit.experiment.trainer import Trainer

logger = logging.getLogger("gnnkit.experiment")

_RELEASE_SECONDS = 10.0
"""Time between two releases of freed memory, each of which takes some hundredths of a second."""


class Interrupted(GnnkitError):
    """A signal ended the run after a checkpoint was written.

    Attributes:
        signal_number: The signal; a command that ends for it exits with 128 plus this number.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        """Takes the message and the signal's number."""
        super().__init__(message)
        self.signal_number = signal_number


class Watcher:
    """Logs each step and epoch, writes checkpoints, shows progress, and ends the run when a signal asks for it.

    Of several processes, the first has the watcher and each other one a :class:`Follower`, which takes part in what
    they must do together.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: ExperimentConfig,
        pending: list[int],
        processes: Processes,
        *,
        provenance: dict[str, Any],
        progress: bool | None,
        resume_command: str | None,
    ) -> None:
        """Watches one run; ``pending`` is where a signal handler leaves the numbers of the signals that came here."""
        self.folder = folder
        self.config = config
        self.pending = pending
        self.processes = processes
        self.provenance = provenance
        self.progress = progress
        self.resume_command = resume_command
        self.resumes = 0
        self.earlier_seconds = 0.0
        self.started = self.released = time.perf_counter()
        self.log_length = 0
        self.saved_best = 0
        self.memory_before: int | None = None
        self.counts_memory = False
        self.log: JsonLog | None = None
        self.bar: Any = None

    def restore(self, trainer: Trainer, saved: dict[str, Any]) -> None:
        """Takes up a checkpoint."""
        changed = config_differences(dict(trainer.dataset.checksums), saved["checksums"])
        if changed:
            raise DataError("the data files changed since the checkpoint (now, and then):\n  " + "\n  ".join(changed))
        now = self._code()
        for line in config_differences(now, saved["versions"]):
            logger.warning("resumed under another version, the bits may differ: %s", line)
        before = len(saved.get("others", ())) + 1
        if before != self.processes.count:
            logger.warning(
                "resumed with %d process(es) instead of %d, random numbers will differ", self.processes.count, before
            )
        trainer.load_state_dict(saved)
        self.resumes = saved["resumes"] + 1
        self.earlier_seconds = saved["wall_seconds"]
        self.log_length = saved["log_length"]
        self.saved_best = trainer.state.best_epoch
        if self.processes.leads:
            logger.info(
                "resumed %s at epoch %d, step %d", self.folder.path, trainer.state.epoch + 1, trainer.state.step
            )

    def open(self, trainer: Trainer) -> None:
        """Opens log and progress bar."""
        from tqdm import tqdm

        write_json(self.folder.config, self.config.to_dict())
        self.log = JsonLog(self.folder.log, length=self.log_length)
        self.bar = tqdm(
            total=self.config.train.epochs * trainer.steps_per_epoch,
            initial=trainer.state.global_step,
            disable=None if self.progress is None else not self.progress,
            unit="step",
            dynamic_ncols=True,
        )
        self._describe(trainer)
        self._count_memory()

    def close(self) -> None:
        """Closes both."""
        if self.bar is not None:
            self.bar.close()
        if self.log is not None:
            self.log.close()

    def on_step(self, trainer: Trainer, values: dict[str, Any]) -> None:
        """Logs the step and, when it is time, writes a checkpoint."""
        state = trainer.state
        self._write("step", epoch=state.epoch + 1, step=state.step, global_step=state.global_step, **values)
        self.bar.update()
        self._end_step(trainer)

    def _end_step(self, trainer: Trainer) -> None:
        every, state = self.config.train.checkpoint_every_steps, trainer.state
        if every is not None and state.global_step % every == 0 and state.step < trainer.steps_per_epoch:
            self.save(trainer)
        now = time.perf_counter()
        if now - self.released >= _RELEASE_SECONDS:
            environment.release_memory()
            self.released = now
        self.on_pause(trainer)

    def on_pause(self, trainer: Trainer) -> None:
        """Ends the run if a signal came to any process. Raises Interrupted."""
        number = self.processes.highest(self.pending[0] if self.pending else 0)
        if number == 0:
            return
        self.save(trainer)
        command = self.resume_command or "train(config, out) on the same folder"
        raise Interrupted(
            f"interrupted at epoch {trainer.state.epoch + 1}, step {trainer.state.step}; everything is saved. "
            f"Resume with: {command}",
            number,
        )

    def on_epoch(self, trainer: Trainer, values: dict[str, Any], *, improved: bool) -> None:
        """Logs the epoch, keeps the weights if they are the best so far, and writes a checkpoint."""
        self._write("epoch", **values, seconds=trainer.state.epoch_seconds[-1])
        if improved:
            write_atomic(self.folder.weights(trainer.state.best_epoch), pack_weights(trainer.model))
        self.save(trainer)
        self._describe(trainer)
        if self.bar.disable:
            name = trainer.metric.label
            logger.info(
                "epoch %d/%d: loss %.4f, val %s %.4f, test %s %.4f, %.1f s",
                *(values["epoch"], self.config.train.epochs, values["train_loss"]),
                *(name, values["val"], name, values["test"], trainer.state.epoch_seconds[-1]),
            )
        # A signal may come while the last epoch is saved: there is nothing left to interrupt then.
        if not trainer.finished:
            self.on_pause(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes a checkpoint, then drops the best weights that no kept checkpoint names."""
        log = self._open_log()
        state = {
            **trainer.state_dict(),
            "config": self.config.to_dict(),
            "checksums": dict(trainer.dataset.checksums),
            "versions": self._code(),
            "log_length": log.sync(),
            "resumes": self.resumes,
            "wall_seconds": self.earlier_seconds + time.perf_counter() - self.started,
        }
        self.folder.checkpoints.save(trainer.state.global_step, state)
        self._prune_weights(trainer.state.best_epoch)

    def finish(self, trainer: Trainer) -> dict[str, Any]:
        """Writes weights and record; the record comes last, so that where it is, all else is."""
        memory = self.processes.gathered(self._memory())
        return self.processes.by_leader(lambda: self._finish(trainer, memory))

    def _finish(self, trainer: Trainer, memory: list[dict[str, int | None]]) -> dict[str, Any]:
        final = pack_weights(trainer.model)
        best = self.folder.weights(trainer.state.best_epoch)
        if not best.exists():
            raise DataError(f"{best}, the best weights of this run, was removed; start again with --restart")
        write_atomic(self.folder.path / "best.safetensors", best.read_bytes())
        write_atomic(self.folder.path / "final.safetensors", final)
        record = build_record(
            trainer,
            provenance=self.provenance,
            resumes=self.resumes,
            wall_seconds=self.earlier_seconds + time.perf_counter() - self.started,
            weights_sha256=hashlib.sha256(final).hexdigest(),
            memory=memory,
        )
        write_record(self.folder.record, record)
        for file in self.folder.path.glob("best-epoch-*.safetensors"):
            file.unlink(missing_ok=True)
        return record

    def _count_memory(self) -> None:
        self.memory_before = environment.peak_memory()
        self.counts_memory = environment.restart_peak_memory()

    def _memory(self) -> dict[str, int | None]:
        """Largest resident memory of the process, and of the time since training began in it; data are in both."""
        peak = environment.peak_memory()
        return {
            "peak_memory_bytes": max(peak, self.memory_before or 0) if peak is not None else None,
            "training_memory_bytes": peak if self.counts_memory else None,
        }

    def _prune_weights(self, best_epoch: int) -> None:
        # Two checkpoints are kept, this one and the one before: each may name another file.
        named = {self.folder.weights(best_epoch), self.folder.weights(self.saved_best)}
        for file in self.folder.path.glob("best-epoch-*.safetensors"):
            if file not in named:
                file.unlink(missing_ok=True)
        self.saved_best = best_epoch

    def _code(self) -> dict[str, Any]:
        """What the bits of a run depend on beside configuration and data."""
        return {**environment.versions(), "gnnkit sources": self.provenance["gnnkit_source_sha256"]}

    def _write(self, event: str, **values: Any) -> None:
        self._open_log().write(event, **values)

    def _open_log(self) -> JsonLog:
        if self.log is None:
            raise RuntimeError("the watcher is not open")
        return self.log

    def _describe(self, trainer: Trainer) -> None:
        state = trainer.state
        self.bar.set_description(f"epoch {min(state.epoch + 1, self.config.train.epochs)}/{self.config.train.epochs}")
        if state.history:
            last = state.history[-1]
            self.bar.set_postfix_str(
                f"loss {last['train_loss']:.4f}, val {trainer.metric.label} {last['val']:.4f} (best {state.best:.4f})"
            )


class Follower(Watcher):
    """What a process has that is not the first: it writes nothing."""

    def open(self, trainer: Trainer) -> None:
        """Nothing to open."""
        self._count_memory()

    def close(self) -> None:
        """Nothing to close."""

    def on_step(self, trainer: Trainer, values: dict[str, Any]) -> None:
        """Takes part in the checkpoint, when it is time, and ends with the others."""
        self._end_step(trainer)

    def on_epoch(self, trainer: Trainer, values: dict[str, Any], *, improved: bool) -> None:
        """Takes part in the checkpoint, and ends with the others."""
        self.save(trainer)
        if not trainer.finished:
            self.on_pause(trainer)

    def save(self, trainer: Trainer) -> None:
        """Gives the first process what the checkpoint holds of this one."""
        trainer.state_dict()


def pack_weights(model: nn.Module) -> bytes:
    """The model's state as a safetensors file; equal weights give equal bytes."""
    from safetensors.torch import save

    return save({name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()})
