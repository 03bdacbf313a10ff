"""``gnnkit.compat.install``: what ``import torch_scatter`` finds, each time in a process of its own."""

import subprocess
import sys
import textwrap

import pytest

import gnnkit
from gnnkit import compat
from gnnkit.compat import torch_scatter as drop_in


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def restored_modules():
    before = {name: module for name, module in sys.modules.items() if name.startswith("torch_scatter")}
    for name in before:
        del sys.modules[name]
    yield
    compat.uninstall()
    for name in [name for name in sys.modules if name.startswith("torch_scatter")]:
        del sys.modules[name]
    sys.modules.update(before)


def test_install_and_uninstall(restored_modules):
    compat.install()
    compat.install()
    import torch_scatter
    import torch_scatter.composite
    from torch_scatter.composite.softmax import scatter_softmax
    from torch_scatter.scatter import scatter_add
    from torch_scatter.segment_coo import gather_coo
    from torch_scatter.segment_csr import segment_csr
    from torch_scatter.utils import broadcast

    assert torch_scatter is drop_in
    assert callable(torch_scatter.scatter)
    assert (torch_scatter.__version__, torch_scatter.__gnnkit__) == ("2.1.2", gnnkit.__version__)
    assert scatter_add is drop_in.scatter_add
    assert scatter_softmax is drop_in.scatter_softmax
    assert {gather_coo, segment_csr, broadcast} <= {getattr(drop_in, name) for name in drop_in.__all__[:-2]}
    compat.uninstall()
    compat.uninstall()
    assert not [name for name in sys.modules if name.startswith("torch_scatter")]
    compat.install()
    assert sys.modules["torch_scatter"] is drop_in


def test_another_one_is_not_replaced_unasked(restored_modules):
    other, part = type(sys)("torch_scatter"), type(sys)("torch_scatter.scatter")
    sys.modules.update({"torch_scatter": other, "torch_scatter.scatter": part})
    with pytest.raises(gnnkit.errors.BackendError, match="force=True"):
        compat.install()
    assert sys.modules["torch_scatter"] is other
    compat.uninstall()
    assert sys.modules["torch_scatter"] is other
    compat.install(force=True)
    assert sys.modules["torch_scatter"] is drop_in
    assert sys.modules["torch_scatter.scatter"] is not part
    compat.uninstall()
    assert sys.modules["torch_scatter"] is other
    assert sys.modules["torch_scatter.scatter"] is part
    assert "torch_scatter.utils" not in sys.modules


def test_installing_stays_light():
    assert run("import sys, gnnkit.compat as c; c.install(); print('torch_geometric' in sys.modules)") == "False"


def test_pyg_uses_it():
    """PyTorch Geometric takes torch_scatter for arguments of maxima, and on an accelerator for more."""
    code = """
        import gnnkit.compat

        gnnkit.compat.install()
        import torch
        import torch_geometric.typing
        from torch_geometric.utils import scatter, segment, softmax
        from torch_geometric.utils._scatter import scatter_argmax
        from torch_geometric.nn import MaxAggregation, SAGEConv

        assert torch_geometric.typing.WITH_TORCH_SCATTER
        assert torch_geometric.typing.torch_scatter.__gnnkit__
        assert torch_geometric.utils._segment.torch_scatter.__gnnkit__

        index = torch.tensor([2, 0, 2, 0])
        for reduce, expected in {
            "sum": [4.0, 0, 6],
            "mean": [2.0, 0, 3],
            "min": [-1.0, 0, 2],
            "max": [5.0, 0, 4],
            "mul": [-5.0, 1, 8],
        }.items():
            src = torch.tensor([4.0, -1.0, 2.0, 5.0], requires_grad=True)
            out = scatter(src, index, dim_size=3, reduce=reduce)
            assert out.tolist() == expected, (reduce, out)
            if reduce == "max":
                assert torch.autograd.grad(out.sum(), src)[0].tolist() == [1, 0, 0, 1]
        assert scatter_argmax(src.detach(), index, dim_size=4).tolist() == [3, 4, 0, 4]
        # The way PyTorch Geometric calls it where tensors are on an accelerator.
        import torch_scatter
        out = torch_scatter.scatter(src, index, 0, dim_size=3, reduce="max")
        assert torch.autograd.grad(out.sum(), src)[0].tolist() == [1, 0, 0, 1]
        ptr = torch.tensor([0, 2, 2, 4])
        rows = torch.arange(8.0).reshape(4, 2).requires_grad_()
        for reduce in ("sum", "mean", "min", "max"):
            found = segment(rows, ptr, reduce)
            assert torch.equal(found, torch_scatter.segment_csr(rows, ptr, reduce=reduce))
        gradient = torch.autograd.grad(segment(rows, ptr, "max").sum(), rows)[0]
        assert gradient.tolist() == [[0, 0], [1, 1], [0, 0], [1, 1]]
        x, edge_index = torch.randn(3, 4), torch.tensor([[0, 1, 2, 0], [1, 2, 0, 0]])
        assert SAGEConv(4, 5, aggr="max")(x, edge_index).shape == (3, 5)
        assert MaxAggregation()(rows, ptr=ptr).shape == (3, 2)
        torch.testing.assert_close(softmax(src, index), torch_scatter.scatter_softmax(src, index))
        print("done")
    """
    assert run(code) == "done"
