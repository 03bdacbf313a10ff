"""Adapters to PyTorch Geometric, SciPy and NetworkX, and a drop-in for torch_scatter.

An edge always points from its source to its destination.
"""

from gnnkit.compat.installation import install, uninstall
from gnnkit.compat.networkx_graph import FromNetworkX, from_networkx, to_networkx
from gnnkit.compat.pyg import from_pyg, to_pyg
from gnnkit.compat.scipy_sparse import from_scipy, to_scipy

__all__ = [
    "FromNetworkX",
    "from_networkx",
    "from_pyg",
    "from_scipy",
    "install",
    "to_networkx",
    "to_pyg",
    "to_scipy",
    "uninstall",
]
