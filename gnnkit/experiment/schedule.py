"""Learning-rate schedules: one factor per epoch."""

import math
from typing import Any

from gnnkit.experiment.config import ScheduleConfig


def warmup(epoch: int, warmup_epochs: int) -> float:
    """Linear warm-up, ``epoch / warmup_epochs`` before ``warmup_epochs`` and 1 from there on.

    Epochs count from 0, so the first one has a factor of 1e-6 rather than 0: GraphGym's rule, under which the first of
    five warm-up epochs hardly moves the weights. It is kept because the published LRGB figures were made with it.
    """
    return max(1e-6, epoch / warmup_epochs) if epoch < warmup_epochs else 1.0


def warmup_cosine(epoch: int, epochs: int, warmup_epochs: int = 0) -> float:
    r"""Linear warm-up, then half a cosine that would reach zero in the epoch after the last.

    :math:`\tfrac12 \bigl(1 + \cos(\pi \frac{e - w}{E - w})\bigr)` for epoch :math:`e` of :math:`E` with :math:`w`
    epochs of warm-up. This is ``cosine_with_warmup`` of GraphGym and GraphGPS, which step once per epoch.
    """
    if epoch < warmup_epochs:
        return warmup(epoch, warmup_epochs)
    progress = (epoch - warmup_epochs) / max(1, epochs - warmup_epochs)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


class Schedule:
    """The learning rate of each epoch, as a configuration describes it.

    ``constant`` and ``cosine`` are functions of the epoch. ``plateau`` multiplies the rate by ``factor`` once the
    observed value has not improved by a relative 1e-4 for more than ``patience`` epochs (torch's
    ``ReduceLROnPlateau``); epochs of warm-up do not count.
    """

    threshold = 1e-4

    def __init__(self, config: ScheduleConfig, *, lr: float, epochs: int, higher_is_better: bool = False) -> None:
        """Prepares the schedule.

        Args:
            config: Its kind and parameters.
            lr: Learning rate at factor 1.
            epochs: Epochs that will be run.
            higher_is_better: Whether a plateau's observed value should rise.
        """
        self.config = config
        self.lr = lr
        self.epochs = epochs
        self.higher_is_better = higher_is_better
        self.plateau_lr = lr
        self.best: float | None = None
        self.bad_epochs = 0

    def rate(self, epoch: int) -> float:
        """The learning rate of epoch ``epoch``, counted from 0."""
        if self.config.kind == "cosine":
            return self.lr * warmup_cosine(epoch, self.epochs, self.config.warmup_epochs)
        return self.plateau_lr * warmup(epoch, self.config.warmup_epochs)

    def observe(self, epoch: int, value: float) -> None:
        """Takes note of the validation loss or metric after an epoch; matters to ``plateau`` alone."""
        if self.config.kind != "plateau" or epoch < self.config.warmup_epochs:
            return
        if self.best is None or self._improves(value, self.best):
            self.best = value
            self.bad_epochs = 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > self.config.patience:
            self.plateau_lr = max(self.plateau_lr * self.config.factor, self.config.min_lr)
            self.bad_epochs = 0

    def _improves(self, value: float, best: float) -> bool:
        if self.higher_is_better:
            return value > best * (1 + self.threshold)
        return value < best * (1 - self.threshold)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return {"plateau_lr": self.plateau_lr, "best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` gave."""
        self.plateau_lr = state["plateau_lr"]
        self.best = state["best"]
        self.bad_epochs = state["bad_epochs"]
