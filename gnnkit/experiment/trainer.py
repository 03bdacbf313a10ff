"""The training loop: plain torch, every bit of it replayable."""

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gnnkit.errors import GnnkitError
from gnnkit.experiment.build import AnyDataset
from gnnkit.experiment.config import ExperimentConfig
from gnnkit.experiment.loss import masked_loss
from gnnkit.experiment.metrics import get_metric
from gnnkit.experiment.processes import Processes
from gnnkit.experiment.schedule import Schedule
from gnnkit.experiment.tasks import make_task, seed_of


class DivergenceError(GnnkitError, ArithmeticError):
    """A loss, a gradient or a prediction is NaN or infinite."""


@dataclass
class RunState:
    """Where a run stands.

    Attributes:
        epoch: Epochs completed.
        step: Steps done in the epoch under way.
        global_step: Steps done in all.
        loss_sum: Sum of losses over the labels seen in the epoch under way.
        loss_count: Number of these labels.
        seconds: Time spent on the epoch under way.
        epoch_seconds: Time of each completed epoch, evaluation included.
        history: Per completed epoch its losses and metrics.
        best_epoch: Epoch (from 1) of the best validation metric, 0 before the first.
        best: The best validation metric.
    """

    epoch: int = 0
    step: int = 0
    global_step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    seconds: float = 0.0
    epoch_seconds: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best: float | None = None


class Observer(Protocol):
    """What watches a training run: it logs, saves and may stop it by raising."""

    def on_step(self, trainer: "Trainer", values: dict[str, Any]) -> None:
        """After each step; the trainer's state may be saved here."""
        ...

    def on_pause(self, trainer: "Trainer") -> None:
        """Between evaluation batches, where the state is that of the last step."""
        ...

    def on_epoch(self, trainer: "Trainer", values: dict[str, Any], *, improved: bool) -> None:
        """After each epoch and its evaluation; the trainer's state may be saved here."""
        ...


class Trainer:
    """AdamW on one model and one data set. Parameters marked ``no_weight_decay`` do not decay.

    Several processes share the graphs, nodes or links of each step; losses and gradients are those of the whole step,
    metrics those of whole splits. All of them hold the same state, but for their random numbers.

    The state after any step is ``state_dict()``; a new trainer that loads it goes on to the very same bits, on the same
    machine, versions and number of threads. Dropout must draw from torch's global generator, as ``gnnkit.nn`` does.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        dataset: AnyDataset,
        model: nn.Module,
        observer: Observer,
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        """Prepares the run.

        Args:
            config: What to do.
            dataset: The data.
            model: The model, on any device.
            observer: What logs and saves.
            device: Where to train.
            processes: Those that train together; ``None``: this one alone.

        Raises:
            ConfigError: If loss or metric do not fit the data, or a step is of fewer graphs than there are processes.
        """
        self.config = config
        self.dataset = dataset
        self.observer = observer
        self.device = device
        self.processes = processes or Processes()
        self.model = model.to(device)
        self.task = make_task(config, dataset, device, self.processes)
        self.processes.prepare(self.model, divides_rows=self.task.divides_rows)
        if not self.processes.leads:
            # Weights were drawn alike; what is drawn from here on must not be.
            torch.manual_seed(seed_of(config.train.seed, self.processes.rank))
        self.metric = get_metric(dataset.metric)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, config.optim.weight_decay), lr=config.optim.lr, betas=config.optim.betas
        )
        observes_metric = config.schedule.monitor == "metric"
        self.schedule = Schedule(
            config.schedule,
            lr=config.optim.lr,
            epochs=config.train.epochs,
            higher_is_better=observes_metric and self.metric.higher_is_better,
        )
        self.state = RunState()

    @property
    def steps_per_epoch(self) -> int:
        """Steps of each epoch."""
        return self.task.steps_per_epoch

    @property
    def stopped_early(self) -> bool:
        """Whether the validation metric has not improved for as many epochs as the configuration bears."""
        patience = self.config.train.early_stopping
        return patience is not None and self.state.epoch - self.state.best_epoch >= patience and self.state.epoch > 0

    @property
    def finished(self) -> bool:
        """Whether no epoch is left."""
        return self.state.epoch >= self.config.train.epochs or self.stopped_early

    def fit(self) -> None:
        """Trains from the present state to the end.

        Raises:
            DivergenceError: If a loss, gradient or prediction is not finite.
        """
        while not self.finished:
            self._train_epoch()
            self._end_epoch()

    def evaluate(self, split: str) -> tuple[float, float]:
        """Mean loss and metric on a split; consumes no random numbers.

        Raises:
            DivergenceError: If a prediction or the loss is not finite.
            DataError: If the metric is undefined on this split.
        """
        return self._evaluate((split,))[split]

    def _evaluate(self, splits: Sequence[str]) -> dict[str, tuple[float, float]]:
        ours: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        self.model.eval()
        with torch.no_grad():
            for prediction in self.task.predict(self._forward, splits):
                ours[prediction.split].append((prediction.outputs.float(), prediction.labels))
                if self.processes.count == 1:
                    self.observer.on_pause(self)
        if self.processes.count > 1:
            ours = {split: [(outputs.cpu(), labels.cpu()) for outputs, labels in ours[split]] for split in splits}
        parts = self.processes.gathered(ours)
        scores = {split: self._score(split, *_joined([part[split] for part in parts])) for split in splits}
        # What the course of training depends on must be the same everywhere, to the last bit.
        return self.processes.of_leader(scores)

    def _score(self, split: str, scores: Tensor, truth: Tensor) -> tuple[float, float]:
        where = f"epoch {self.state.epoch + 1}: on the {split} split"
        if not scores.isfinite().all():
            raise DivergenceError(f"{where} the model predicts NaN or infinity; {_REMEDY}")
        loss = masked_loss(self.task.loss_name, scores, truth)[0].item()
        if not math.isfinite(loss):
            raise DivergenceError(f"{where} the loss is {loss}; {_REMEDY}")
        return loss, self.metric.function(truth, scores)

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on. Several processes must ask for it together."""
        leader, *others = self.processes.gathered(self._random_state())
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "state": asdict(self.state),
            **leader,
            "others": others,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes up a run where ``state_dict`` left it; sets torch's global generator.

        The state of another number of processes is taken, too; from there on random numbers are others.
        """
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.state = RunState(**saved["state"])
        random = [saved, *saved.get("others", ())]
        if self.processes.rank < len(random):
            self._set_random_state(random[self.processes.rank])

    def _random_state(self) -> dict[str, Tensor | None]:
        return {
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def _set_random_state(self, saved: dict[str, Any]) -> None:
        torch.set_rng_state(saved["rng"])
        if saved["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(saved["cuda_rng"], self.device)

    def _train_epoch(self) -> None:
        state = self.state
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(state.epoch)
        self.model.train()
        started = time.perf_counter()
        for step in self.task.steps(state.epoch, state.step):
            values = self._step(step)
            values["seconds"] = time.perf_counter() - started
            state.seconds += values["seconds"]
            self.observer.on_step(self, values)
            started = time.perf_counter()

    def _step(self, step: Any) -> dict[str, Any]:
        state = self.state
        self.optimizer.zero_grad(set_to_none=True)
        loss, count = self.task.loss(self._forward, step)
        value = loss.item()
        if self.processes.count > 1:
            whole, total = self.processes.total([value * count, count])
            # The processes' gradients are added up: each gives its share of the mean over the whole step.
            loss = loss * (count / max(total, 1))
            value, count = whole / max(total, 1), int(total)
        where = f"epoch {state.epoch + 1}, step {state.step + 1} (step {state.global_step + 1} in all)"
        if not math.isfinite(value):
            raise DivergenceError(f"{where}: the loss is {value}; {_REMEDY}")
        loss.backward()
        self.processes.sum_gradients(self.model)
        values = {"loss": value, "lr": self.optimizer.param_groups[0]["lr"]}
        if self.config.optim.clip_norm is not None:
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm).item()
            if not math.isfinite(norm):
                raise DivergenceError(f"{where}: the norm of the gradient is {norm}; {_REMEDY}")
            values["grad_norm"] = norm
        self.optimizer.step()
        state.step += 1
        state.global_step += 1
        state.loss_sum += value * count
        state.loss_count += count
        return values

    def _forward(self, batch: Any) -> Tensor:
        low = self.config.train.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low):
            return self.model(batch)

    def _end_epoch(self) -> None:
        state = self.state
        started = time.perf_counter()
        lr = self.optimizer.param_groups[0]["lr"]
        values: dict[str, Any] = {
            "epoch": state.epoch + 1,
            "lr": lr,
            "train_loss": state.loss_sum / max(state.loss_count, 1),
        }
        for split, scores in self._evaluate(("val", "test")).items():
            values[f"{split}_loss"], values[split] = scores
        improved = state.best is None or self.metric.better(values["val"], state.best)
        if improved:
            state.best, state.best_epoch = values["val"], state.epoch + 1
        self.schedule.observe(state.epoch, values["val_loss" if self.config.schedule.monitor == "loss" else "val"])
        state.history.append(values)
        state.epoch_seconds.append(state.seconds + time.perf_counter() - started)
        state.epoch += 1
        state.step, state.loss_sum, state.loss_count, state.seconds = 0, 0.0, 0, 0.0
        self.observer.on_epoch(self, values, improved=improved)


def _joined(parts: list[list[tuple[Tensor, Tensor]]]) -> tuple[Tensor, Tensor]:
    """Outputs and labels of a split in its order: piece ``k`` is the next one of process ``k`` modulo their number."""
    rounds = itertools.zip_longest(*parts)
    outputs, labels = zip(*(piece for round in rounds for piece in round if piece is not None), strict=True)
    return torch.cat(outputs), torch.cat(labels)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters for an optimizer: those that decay, then those with ``no_weight_decay = True`` on them.

    Args:
        model: The model.
        weight_decay: Of the first group; that of the second is zero.

    Returns:
        Groups that have any parameter. One where none is marked: its state is as that of an optimizer that knows of no
        groups.
    """
    groups: list[dict[str, Any]] = [
        {"params": [], "weight_decay": weight_decay},
        {"params": [], "weight_decay": 0.0},
    ]
    for parameter in model.parameters():
        groups[bool(getattr(parameter, "no_weight_decay", False))]["params"].append(parameter)
    return [group for group in groups if group["params"]]


def parameter_count(model: nn.Module) -> dict[str, int]:
    """Number of parameters, all and trainable."""
    parameters: Sequence[nn.Parameter] = list(model.parameters())
    return {
        "total": sum(parameter.numel() for parameter in parameters),
        "trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    }


_REMEDY = "lower optim.lr, set optim.clip_norm, or lengthen schedule.warmup_epochs"
