"""The public functions of torch_scatter 2.1.2 on gnnkit's operators, without anything to compile.

:func:`gnnkit.compat.install` makes ``import torch_scatter`` find this package. What is different on purpose:

* int32 indices, and vectors with a repeated dimension, are taken as they are; an index is checked before use (on the
  CPU) and raises an error where it does not fit, an index that does not ascend in ``segment_coo`` included.
* Results are the same bits for any number of threads, and half precision is accumulated in float32.
* Among equals the first one is the minimum or maximum; a NaN is passed on; infinities are values like others.
* ``scatter_mul`` has its gradient also where factors are zero, and towards ``out``; so have minima and maxima.
* No function is a TorchScript function; bool and complex values are refused.
"""

from gnnkit._version import __version__ as _gnnkit_version
from gnnkit.compat.torch_scatter.composite import (
    scatter_log_softmax,
    scatter_logsumexp,
    scatter_softmax,
    scatter_std,
)
from gnnkit.compat.torch_scatter.scatter import (
    scatter,
    scatter_add,
    scatter_max,
    scatter_mean,
    scatter_min,
    scatter_mul,
    scatter_sum,
)
from gnnkit.compat.torch_scatter.segment_coo import (
    gather_coo,
    segment_add_coo,
    segment_coo,
    segment_max_coo,
    segment_mean_coo,
    segment_min_coo,
    segment_sum_coo,
)
from gnnkit.compat.torch_scatter.segment_csr import (
    gather_csr,
    segment_add_csr,
    segment_csr,
    segment_max_csr,
    segment_mean_csr,
    segment_min_csr,
    segment_sum_csr,
)
from gnnkit.compat.torch_scatter.utils import broadcast

# The version whose interface this is, and the version of gnnkit that provides it.
__version__ = "2.1.2"
__gnnkit__ = _gnnkit_version

__all__ = [
    "scatter_sum",
    "scatter_add",
    "scatter_mul",
    "scatter_mean",
    "scatter_min",
    "scatter_max",
    "scatter",
    "segment_sum_csr",
    "segment_add_csr",
    "segment_mean_csr",
    "segment_min_csr",
    "segment_max_csr",
    "segment_csr",
    "gather_csr",
    "segment_sum_coo",
    "segment_add_coo",
    "segment_mean_coo",
    "segment_min_coo",
    "segment_max_coo",
    "segment_coo",
    "gather_coo",
    "scatter_std",
    "scatter_logsumexp",
    "scatter_softmax",
    "scatter_log_softmax",
    "broadcast",
    "__gnnkit__",
    "__version__",
]
