"""Words of the group S3: which models follow them further than they were trained for.

Each letter is one of the six orders of three things, and the answer at each place of a word is the order that all
letters so far lead to. The group is not commutative, so that nothing less than the whole state will do, and it is the
smallest of that kind: a state space with a diagonal matrix cannot follow it for long, two reflections per letter can.
Writes ``results/state_tracking.json``; takes about three minutes on one core.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.measure import RESULTS, environment, write_text
from gnnkit.sequence import DeltaProduct, Hybrid, Mamba

ORDERS = list(permutations(range(3)))
PRODUCTS = torch.tensor([[ORDERS.index(tuple(a[i] for i in b)) for b in ORDERS] for a in ORDERS])
"""Which order ``PRODUCTS[a, b]`` comes of rearranging order ``a`` by order ``b``."""


@dataclass(frozen=True)
class Settings:
    """How all models are trained and tested."""

    dim: int = 32
    steps: int = 1000
    letters_per_step: int = 2048
    longest: int = 32
    shortest: int = 3
    learning_rate: float = 1e-2
    test_lengths: tuple[int, ...] = (32, 64, 128, 256, 512)
    test_words: int = 128
    seeds: tuple[int, ...] = (0, 1, 2)


def _delta(dim: int, **options: Any) -> DeltaProduct:
    """No gate and no convolution: what follows the words is the product of steps alone."""
    return DeltaProduct(dim, num_heads=2, gate=False, conv_width=1, **options)


MODELS: dict[str, Callable[[int], list[torch.nn.Module]]] = {
    "DeltaProduct, 2 steps": lambda dim: [_delta(dim, num_steps=2)],
    "DeltaProduct, 2 steps, eigenvalues 0 to 1": lambda dim: [_delta(dim, num_steps=2, negative_eigenvalues=False)],
    "DeltaNet, 1 step": lambda dim: [_delta(dim, num_steps=1)],
    "Mamba (diagonal)": lambda dim: [Mamba(dim)],
    "Mamba (diagonal), 2 layers": lambda dim: [Mamba(dim), Mamba(dim)],
}


class WordModel(torch.nn.Module):
    """Letters in, a guess of the order at each place out."""

    def __init__(self, blocks: list[torch.nn.Module], dim: int) -> None:
        """Blocks in a residual stack between an embedding and a linear map."""
        super().__init__()
        self.embedding = torch.nn.Embedding(len(ORDERS), dim)
        self.stack = Hybrid(blocks)  # type: ignore[arg-type]
        self.norm = torch.nn.LayerNorm(dim)
        self.head = torch.nn.Linear(dim, len(ORDERS))

    def forward(self, letters: Tensor) -> Tensor:
        """Logits ``[words, length, 6]``."""
        words, length = letters.shape
        offsets = torch.arange(0, words * length + 1, length)
        x = self.stack(self.embedding(letters.flatten()), offsets)
        return self.head(self.norm(x)).unflatten(0, (words, length))


def random_words(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Letters and answers, ``[count, length]`` each."""
    letters = torch.randint(len(ORDERS), (count, length), generator=generator)
    answers = letters.clone()
    for place in range(1, length):
        answers[:, place] = PRODUCTS[answers[:, place - 1], letters[:, place]]
    return letters, answers


def length_at(step: int, settings: Settings) -> int:
    """Words grow over the first half of training: a model must find short products before long ones teach anything."""
    grown = int(settings.longest * step / (0.5 * settings.steps))
    return min(settings.longest, max(settings.shortest, grown))


def train(model: WordModel, settings: Settings, seed: int) -> float:
    """Trains on new words at each step; the last loss."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, settings.steps, pct_start=0.1)
    loss = torch.zeros(())
    for step in range(settings.steps):
        length = length_at(step, settings)
        letters, answers = random_words(settings.letters_per_step // length, length, generator)
        loss = functional.cross_entropy(model(letters).flatten(0, 1), answers.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return loss.item()


@torch.no_grad()
def accuracies(model: WordModel, settings: Settings) -> dict[str, dict[str, float]]:
    """Share of right answers by length of the words, at all places and at the last one; words are the same for all."""
    generator = torch.Generator().manual_seed(2**20)
    found = {}
    for length in settings.test_lengths:
        letters, answers = random_words(settings.test_words, length, generator)
        right = (model(letters).argmax(-1) == answers).double()
        found[str(length)] = {"all": round(right.mean().item(), 4), "last": round(right[:, -1].mean().item(), 4)}
    return found


def measure(settings: Settings) -> dict[str, Any]:
    """Every model with every seed."""
    models: dict[str, Any] = {}
    for name, blocks in MODELS.items():
        runs, parameters = [], 0
        for seed in settings.seeds:
            torch.manual_seed(seed)
            model = WordModel(blocks(settings.dim), settings.dim)
            parameters = sum(parameter.numel() for parameter in model.parameters())
            start = time.perf_counter()
            loss = train(model, settings, seed)
            seconds = round(time.perf_counter() - start, 1)
            runs.append({"seed": seed, "loss": loss, "seconds": seconds, "accuracy": accuracies(model, settings)})
            shown = "   ".join(f"{length}: {value['all']:.3f}" for length, value in runs[-1]["accuracy"].items())
            print(f"{name:44s} seed {seed}   {seconds:5.1f} s   {shown}", flush=True)
        models[name] = {"parameters": parameters, "runs": runs}
    return models


def table(models: dict[str, Any], settings: Settings) -> str:
    """Mean accuracy over the seeds, and the lowest, by length."""
    lines = [
        "| model | parameters | " + " | ".join(f"length {length}" for length in settings.test_lengths) + " |",
        "|---" * (len(settings.test_lengths) + 2) + "|",
    ]
    for name, model in models.items():
        cells = []
        for length in settings.test_lengths:
            values = [run["accuracy"][str(length)]["all"] for run in model["runs"]]
            cells.append(f"{statistics.mean(values):.3f} ({min(values):.3f})")
        lines.append(f"| {name} | {model['parameters']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    settings = Settings()
    models = measure(settings)
    result = {
        "kind": "state-tracking",
        "title": "Word problem of S3: share of right answers, trained on words of up to "
        f"{settings.longest} letters, guessing is 1/6",
        "command": "python -m benchmarks.state_tracking",
        "environment": environment(),
        "settings": asdict(settings),
        "models": models,
    }
    write_text(RESULTS / "state_tracking.json", json.dumps(result, indent=2) + "\n")
    print(f"\n{result['title']}; mean over {len(settings.seeds)} seeds, and the lowest:\n\n{table(models, settings)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
