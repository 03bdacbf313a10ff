"""BREC's Reliable Paired Comparison: does a trained network tell the two graphs of a pair apart?

Wang and Zhang, "An Empirical Study of Realized GNN Expressiveness", ICML 2024, https://arxiv.org/abs/2304.07702. For
every pair a network is trained anew on relabelled copies of both graphs, to give vectors of different direction. Then
Hotelling's T^2 test asks whether the mean difference of the vectors of copies of the one and copies of the other is
more than the spread of these differences explains. The same test between copies of one and the same graph must find
nothing: otherwise the network's answer for the pair is not reliable.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.expressivity.copies import Matrix, packed, relabelled
from benchmarks.expressivity.methods import Description, Method, describe
from benchmarks.expressivity.networks import Inputs, build


@dataclass(frozen=True)
class Protocol:
    """Settings; the defaults are those of the published evaluation program.

    Attributes:
        copies: Relabelled copies of each graph, the graph itself among them, no two equal.
        batch: Graphs in a step of training, those of a pair side by side.
        epochs: Passes over the copies at most.
        learning_rate: Of Adam; divided by ten where the loss has not fallen for ten epochs.
        weight_decay: Of Adam.
        margin: Of the cosine embedding loss, whose target is -1 for all pairs.
        loss_threshold: Training ends where the mean loss of an epoch is below.
        threshold: Of T^2. It is ``d (q - 1) / (q - d)`` times the 95 % quantile of the F distribution with ``d`` and
            ``q - d`` degrees of freedom, for ``q = 32`` copies and ``d = 16`` outputs.
        equal: The T^2 of the pair must differ from that of the single graph by more than this (and 1e-5 of it).
        rounding: What counts as rounding, relative to the vectors; see :func:`hotelling`.
        seed: With the number of the pair it determines copies and weights.
    """

    copies: int = 32
    batch: int = 16
    epochs: int = 20
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    margin: float = 0.0
    loss_threshold: float = 0.2
    threshold: float = 72.34
    equal: float = 1e-6
    rounding: float = 1e-6
    seed: int = 2022

    def settings(self) -> dict[str, Any]:
        """All of them by name."""
        return asdict(self)


@dataclass(frozen=True)
class Answer:
    """Both tests with one statistic.

    Attributes:
        pair_t2: T^2 between copies of the two graphs.
        single_t2: T^2 between copies of one of them.
        distinguished: ``pair_t2`` is above the threshold, and not the same as ``single_t2``.
        reliable: ``single_t2`` is below the threshold.
    """

    pair_t2: float
    single_t2: float
    distinguished: bool
    reliable: bool


@dataclass(frozen=True)
class Outcome:
    """What became of one pair.

    Attributes:
        test: With the spread of the copies and that of rounding.
        plain: With the spread of the copies alone, and a pseudo-inverse.
        epochs: Epochs of training.
        loss: Mean loss of the last.
        seconds: Time of all of it.
    """

    test: Answer
    plain: Answer
    epochs: int
    loss: float
    seconds: float


def hotelling(first: Tensor, second: Tensor, rounding: float | None) -> float:
    """Paired T^2 as the published program computes it: ``mean(D)^T inverse(cov(D)) mean(D)`` for differences ``D``.

    That leaves the factor ``q`` out which the test statistic has. The program takes a pseudo-inverse, which ignores
    directions without spread. So where all copies of each graph give the very same vectors, as happens on graphs that
    look the same from every node, T^2 would be zero however much the graphs differ; a comment in the program asks to
    add a multiple of the identity then. With ``rounding`` that is done, by the square of this part of the root mean
    square of the vectors: results that agree up to float32 rounding stay the same, and others differ.

    Args:
        first: Vectors of ``q`` copies, ``[q, d]``.
        second: Vectors of ``q`` copies, ``[q, d]``.
        rounding: As above. None: the pseudo-inverse in the precision of the vectors.
    """
    if rounding is None:
        difference = first - second
        mean = difference.mean(dim=0)
        return float(mean @ torch.linalg.pinv(torch.cov(difference.T)) @ mean)
    both = torch.stack([first, second]).double()
    size = float(both.square().mean().sqrt())
    if size == 0:
        return 0.0
    difference = (both[0] - both[1]) / size
    mean = difference.mean(dim=0)
    spread = torch.cov(difference.T) + rounding**2 * torch.eye(mean.numel(), dtype=torch.float64)
    return float(mean @ torch.linalg.solve(spread, mean))


def tested(pair: Tensor, single: Tensor, rounding: float | None, protocol: Protocol) -> Answer:
    """The tests on vectors of copies, those that are compared by turns, ``[2 q, d]`` each."""
    pair_t2, single_t2 = (hotelling(outputs[0::2], outputs[1::2], rounding) for outputs in (pair, single))
    same = math.isclose(pair_t2, single_t2, rel_tol=1e-5, abs_tol=protocol.equal)
    return Answer(pair_t2, single_t2, pair_t2 > protocol.threshold and not same, single_t2 < protocol.threshold)


def stacks(first: Matrix, second: Matrix, protocol: Protocol, number: int) -> list[Matrix]:
    """The copies in the order in which they are compared: 2 ``copies`` of the pair by turns, then of one graph."""
    generator = np.random.default_rng([protocol.seed, number])
    pair = [relabelled(matrix, protocol.copies, generator, distinct=True) for matrix in (first, second)]
    chosen = (first, second)[int(generator.integers(2))]
    single = relabelled(chosen, 2 * protocol.copies, generator, distinct=True)
    return [*(stack[copy : copy + 1] for copy in range(protocol.copies) for stack in pair), single]


def described(method: Method, transform: Any, copies: list[Matrix], batch: int) -> Iterator[Description]:
    """Descriptions of the copies, ``batch`` graphs in each."""
    dataset = packed(copies)
    for begin in range(0, len(dataset), batch):
        numbers = range(begin, min(begin + batch, len(dataset)))
        yield describe(method, transform, dataset.batch(numbers))


def compare(method: Method, transform: Any, first: Matrix, second: Matrix, number: int, protocol: Protocol) -> Outcome:
    """Trains a network on one pair and tests it.

    Args:
        method: The method.
        transform: Its encoding.
        first: Adjacency matrix, ``[n, n]``.
        second: Adjacency matrix, ``[n, n]``.
        number: Of the pair; seeds copies and weights.
        protocol: Settings.

    Determinism: a function of the arguments, for one number of threads.
    """
    start = time.perf_counter()
    network, inputs = None, []
    for description in described(method, transform, stacks(first, second, protocol, number), protocol.batch):
        network = network or build(method.network, description, protocol.seed + number)
        inputs.append(Inputs(description, torch.float32))
    if network is None:
        raise ValueError("a protocol needs at least one copy")
    half = len(inputs) // 2
    epochs, loss = _train(network, inputs[:half], protocol)
    network.eval()
    with torch.no_grad():
        pair, single = (torch.cat([network(part) for part in parts]) for parts in (inputs[:half], inputs[half:]))
    return Outcome(
        test=tested(pair, single, protocol.rounding, protocol),
        plain=tested(pair, single, None, protocol),
        epochs=epochs,
        loss=loss,
        seconds=round(time.perf_counter() - start, 3),
    )


def _train(network: torch.nn.Module, inputs: list[Inputs], protocol: Protocol) -> tuple[int, float]:
    """Returns the number of epochs and the mean loss of the last."""
    optimizer = torch.optim.Adam(network.parameters(), lr=protocol.learning_rate, weight_decay=protocol.weight_decay)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    criterion = torch.nn.CosineEmbeddingLoss(margin=protocol.margin)
    network.train()
    mean = float("nan")
    for epoch in range(1, protocol.epochs + 1):
        total = 0.0
        for part in inputs:
            optimizer.zero_grad()
            outputs = network(part)
            apart = torch.full((outputs.size(0) // 2,), -1)
            loss = criterion(outputs[0::2], outputs[1::2], apart)
            loss.backward()
            optimizer.step()
            total += apart.numel() * loss.item()
        mean = total / protocol.copies
        if mean < protocol.loss_threshold:
            return epoch, mean
        schedule.step(mean)
    return protocol.epochs, mean
