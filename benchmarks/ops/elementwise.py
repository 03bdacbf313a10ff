"""What follows a layer, row by row."""

import torch
from scipy.special import erf
from torch import Tensor
from torch.nn import functional

from benchmarks.ops.entry import FORWARD, Call, Leaves, OpBenchmark, Peer, forward_and_backward
from benchmarks.ops.workload import Data, curve, widths
from gnnkit import ops

DROPOUT = 0.1


def dropout_epilogue() -> OpBenchmark:
    """Bias, activation, dropout and residual: one row per node, edges do not matter."""

    def inputs(data: Data) -> Leaves:
        return {
            "x": data.node_rows("x"),
            "bias": data.rows("bias", data.width, 1).squeeze(1),
            "residual": data.node_rows("residual"),
        }

    def ours(data: Data) -> Call:
        given = inputs(data)
        x, bias, residual = given.values()
        return Call(lambda: ops.dropout_epilogue(x, bias, residual, DROPOUT, 1, "gelu"), given)

    def separate(data: Data) -> Call:
        given = inputs(data)
        x, bias, residual = given.values()
        return Call(lambda: functional.dropout(functional.gelu(x + bias), DROPOUT) + residual, given)

    def expected(data: Data, leaves: Leaves, out: Tensor | None) -> Tensor:
        """With the mask that the result shows: what was dropped equals the residual."""
        x, residual = leaves["x"].double() + leaves["bias"].double(), leaves["residual"]
        active = x * (1 + torch.from_numpy(erf(x.numpy() * 0.5**0.5))) / 2
        if out is None:
            raise ValueError("the mask is read off a result")
        kept = out != data.node_rows("residual")
        share = 1 - kept.double().mean().item()
        # Five standard deviations of a share of that many elements, and a few that rounding makes equal.
        allowed = 5 * (DROPOUT * (1 - DROPOUT) / kept.numel()) ** 0.5 + 1e-3
        if abs(share - DROPOUT) > allowed:
            raise ValueError(f"{share:.4f} of all elements are dropped, {DROPOUT} should be")
        return torch.where(kept, active / (1 - DROPOUT), 0) + residual.double()

    return OpBenchmark(
        name="dropout_epilogue",
        title=f"`dropout_epilogue`: bias, GELU, dropout {DROPOUT}, residual",
        needs=("ops.dropout_epilogue",),
        ours=ours,
        peers=(Peer("separate functions of torch", "torch", separate),),
        reference=expected,
        main=(forward_and_backward(),),
        more=(FORWARD,),
        workloads=tuple(dict.fromkeys(curve(64) + widths())),
        by_chance=True,
    )


OPS = (dropout_epilogue(),)
