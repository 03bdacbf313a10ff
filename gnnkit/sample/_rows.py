"""Attributes that are gathered by number without being tensors."""

from abc import ABC, abstractmethod

from torch import Tensor


class Rows(ABC):
    """One row for each node or edge, of which :func:`~gnnkit.sample.take` gathers some: a tensor for each batch."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def gather(self, n_id: Tensor) -> Tensor:
        """The rows ``n_id``, int64 ``[n]``, in that order."""
