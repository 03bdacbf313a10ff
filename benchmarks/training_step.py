"""One training step of the Peptides-func GCN, against the same model in PyTorch Geometric, with equal weights.

The graphs are the first 200 training graphs of Peptides-func where GNNKIT_DATA holds it, else generated chains with
branches of the same size; the result says which.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch_geometric.data import Batch
from torch_geometric.nn import GCNConv, global_mean_pool
from torch_geometric.utils import to_torch_csr_tensor

from benchmarks.measure import interleaved, ratio, report
from gnnkit.errors import DataError
from gnnkit.experiment.build import build_dataset
from gnnkit.experiment.config import load_config
from gnnkit.nn import GraphModel

CONFIG = Path(__file__).parent / "tables/peptides-func/gcn.toml"
BATCH, REPEATS = 200, 15


class PygModel(torch.nn.Module):
    """The same stack from PyTorch Geometric's layers, reading its weights from ours."""

    def __init__(self, ours: GraphModel) -> None:
        super().__init__()
        self.config = ours.config
        state = ours.state_dict()
        dims = [119, 5, 12, 12, 10, 6, 6, 2, 2]
        encoder, width = ours.node_encoder, ours.config.node_dim
        self.atoms = torch.nn.ModuleList(torch.nn.Embedding(size, width) for size in dims)
        table = encoder.weight if hasattr(encoder, "weight") else next(encoder.parameters())
        for embedding, rows in zip(self.atoms, table.detach().split(dims), strict=True):
            embedding.weight.data.copy_(rows)
        self.raw_norm = torch.nn.BatchNorm1d(20)
        self.walk = torch.nn.Linear(20, 28)
        hidden = ours.config.hidden_dim
        self.convs = torch.nn.ModuleList(GCNConv(hidden, hidden) for _ in range(ours.config.num_layers))
        self.head = torch.nn.ModuleList([torch.nn.Linear(hidden, hidden), torch.nn.Linear(hidden, hidden), torch.nn.Linear(hidden, 10)])
        for index, conv in enumerate(self.convs):
            conv.load_state_dict({key: state[f"layers.{index}.conv.{key}"] for key in ("lin.weight", "bias")})
        for index, linear in enumerate(self.head):
            linear.load_state_dict({key: state[f"head.linears.{index}.{key}"] for key in ("weight", "bias")})
        self.walk.load_state_dict({key: value for key, value in ours.encodings[0].linear.state_dict().items()})
        self.p = ours.config.dropout

    def forward(self, batch: Batch, adjacency: Tensor) -> Tensor:
        atoms = sum(embedding(batch.x[:, column]) for column, embedding in enumerate(self.atoms))
        x = torch.cat([atoms, self.walk(self.raw_norm(batch.random_walk_pe))], dim=-1)
        for conv in self.convs:
            x = x + functional.dropout(functional.gelu(conv(x, adjacency)), self.p, self.training)
        x = global_mean_pool(x, batch.batch, batch.num_graphs)
        for linear in self.head[:-1]:
            x = functional.gelu(linear(functional.dropout(x, self.p, self.training)))
        return self.head[-1](functional.dropout(x, self.p, self.training))


def training_step(model: torch.nn.Module, predict: Callable[[], Tensor], labels: Tensor) -> Callable[[], float]:
    """One step as the trainer makes it: loss, gradients, clipping, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.binary_cross_entropy_with_logits(predict(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def peptide_batch() -> tuple[Batch, str]:
    """A batch of real graphs, or of generated ones where the raw files are absent."""
    config = load_config(CONFIG)
    try:
        dataset = build_dataset(config)
    except DataError as error:
        raise SystemExit(f"this benchmark measures on the real graphs: {error}") from error
    return dataset.batch(dataset.split["train"][:BATCH]), "the first 200 training graphs of Peptides-func"


def main() -> None:
    batch, what = peptide_batch()
    config = load_config(CONFIG)
    ours = GraphModel(config.model, num_outputs=10)
    peers = {"edge_index": batch.edge_index, "CSR": _transposed_csr(batch)}
    models: dict[str, torch.nn.Module] = {"gnnkit": ours}
    predictions: dict[str, Callable[[], Tensor]] = {"gnnkit": lambda: ours(batch)}
    for name, adjacency in peers.items():
        model = PygModel(ours)
        models[f"PyG, {name}"] = model
        predictions[f"PyG, {name}"] = lambda model=model, adjacency=adjacency: model(batch, adjacency)
    losses = _losses_without_dropout(models, predictions, batch.y)
    steps = {name: training_step(models[name].train(), predictions[name], batch.y) for name in models}
    times = interleaved(steps, REPEATS)
    report(
        "training_step",
        {
            "title": f"training step, GCN 6 x 235, batch {BATCH}, dropout {config.model.dropout}, float32",
            "graphs": what,
            "nodes": batch.num_nodes,
            "edges": batch.num_edges,
            "losses_without_dropout": losses,
            "times": times,
            "ratios": {f"PyG, {name} / gnnkit": ratio(times, f"PyG, {name}", "gnnkit") for name in peers},
        },
    )


def _transposed_csr(batch: Batch) -> Tensor:
    return to_torch_csr_tensor(batch.edge_index, size=(batch.num_nodes, batch.num_nodes)).t().to_sparse_csr()


def _losses_without_dropout(models, predictions, labels: Tensor) -> dict[str, float]:
    losses = {}
    for name, model in models.items():
        rates = [(module, module.p) for module in model.modules() if hasattr(module, "p")]
        model.eval()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.train()  # batch statistics, as in the step that is timed
                module.momentum = 0.0
        losses[name] = functional.binary_cross_entropy_with_logits(predictions[name](), labels).item()
        del rates
    spread = max(losses.values()) - min(losses.values())
    if spread > 1e-5:
        raise SystemExit(f"the models disagree by {spread:.1e}: nothing is timed. {losses}")
    return losses


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
