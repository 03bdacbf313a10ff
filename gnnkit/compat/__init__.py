"""Adapters to PyTorch Geometric, SciPy and NetworkX. An edge always points from its source to its destination."""

from gnnkit.compat.networkx_graph import FromNetworkX, from_networkx, to_networkx
from gnnkit.compat.pyg import from_pyg, to_pyg
from gnnkit.compat.scipy_sparse import from_scipy, to_scipy

__all__ = ["FromNetworkX", "from_networkx", "from_pyg", "from_scipy", "to_networkx", "to_pyg", "to_scipy"]
