"""The processes that train one model together, as ``torchrun`` starts them, and what they tell each other."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from gnnkit.errors import GnnkitError
from gnnkit.experiment.launch import started
from gnnkit.nn import synchronize_batch_norms

Result = TypeVar("Result")


class PeerError(GnnkitError):
    """Another process of the run failed, or is gone."""


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    Every method but :meth:`share` is collective: all processes must call it, in the same order. One process talks to
    nobody.

    Attributes:
        rank: Number of this process; 0 leads: it alone writes files.
        count: How many there are.
        backend: How they talk, ``gloo`` or ``nccl``; ``None``: there is one.
    """

    rank: int = 0
    count: int = 1
    backend: str | None = None

    @property
    def leads(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where tensors must lie that the processes exchange."""
        return torch.device("cuda", torch.cuda.current_device()) if self.backend == "nccl" else torch.device("cpu")

    def share(self, items: Any) -> Any:
        """The part of this process of what can be sliced: items ``rank``, ``rank + count``, ..."""
        return items[self.rank :: self.count]

    def total(self, values: Sequence[float]) -> list[float]:
        """The sum of each value over the processes."""
        if self.count == 1:
            return list(values)
        totals = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(totals)
        return totals.tolist()

    def highest(self, value: int) -> int:
        """The largest of the values of the processes."""
        if self.count == 1:
            return value
        highest = torch.tensor(value, device=self.device)
        distributed.all_reduce(highest, op=distributed.ReduceOp.MAX)
        return int(highest)

    def gathered(self, value: Any) -> list[Any]:
        """The values of all processes, by rank; tensors in them must lie in main memory."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def of_leader(self, value: Any) -> Any:
        """The value of the leader, whatever the others give."""
        if self.count == 1:
            return value
        values = [value if self.leads else None]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def by_leader(self, function: Callable[[], Result]) -> Result:
        """What a function returns in the leader, which alone calls it.

        Raises:
            PeerError: In the others, if it fails there.
        """
        result, error = None, None
        if self.leads:
            try:
                result = function()
            except Exception as caught:
                error = caught
        self._agree(error)
        return self.of_leader(result)

    def one_by_one(self, function: Callable[[], Result]) -> Result:
        """Calls a function in the leader first and then in the others, which find in the cache what it left there.

        Raises:
            PeerError: In the others, if it fails in one.
        """
        result, error = None, None
        for turn in (True, False):
            if self.leads is turn:
                try:
                    result = function()
                except Exception as caught:
                    error = caught
            self._agree(error)
        return result  # type: ignore[return-value]

    def prepare(self, model: nn.Module, *, divides_rows: bool) -> None:
        """Gives the model the leader's weights and buffers.

        Args:
            model: The model, changed in place.
            divides_rows: Whether each process holds other rows, so that batch normalisation must look at all of them.
        """
        if self.count == 1:
            return
        for value in model.state_dict().values():
            distributed.broadcast(value.detach(), src=0)
        if divides_rows:
            synchronize_batch_norms(model, distributed.group.WORLD)

    def sum_gradients(self, model: nn.Module) -> None:
        """Gives every parameter the sum of its gradients in all processes.

        All gradients go in one sum after the backward pass. ``DistributedDataParallel`` would begin before its end, but
        has to be told which parameters a step does not use, which here depends on the data (a batch may have no edges);
        and this sum is in the same order, and so has the same bits, in a run that was resumed.
        """
        if self.count == 1:
            return
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
        used = used.to(self.device)
        distributed.all_reduce(used, op=distributed.ReduceOp.MAX)
        parameters = [parameter for parameter, flag in zip(parameters, used.tolist(), strict=True) if flag]
        if not parameters:
            return
        gradients = [torch.zeros_like(value) if value.grad is None else value.grad for value in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        for parameter, part in zip(parameters, flat.split([value.numel() for value in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def _agree(self, error: Exception | None) -> None:
        """Fails everywhere if there is an error anywhere."""
        found = self.gathered(None if error is None else str(error))
        if error is not None:
            raise error
        for rank, message in enumerate(found):
            if message is not None:
                raise PeerError(f"process {rank} of {self.count} failed: {message}")


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[Processes]:
    """Meets the other processes, if ``torchrun`` started several, and leaves them at the end.

    A group that is there already is used, and left as it is.

    Raises:
        ConfigError: If the environment does not say who is there.
        PeerError: If another process is gone while this one waits for it.
    """
    rank, count = started()
    there = distributed.is_available() and distributed.is_initialized()
    if count == 1 and not there:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _lost_contact():
        if not there:
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=count)
        group = Processes(distributed.get_rank(), distributed.get_world_size(), distributed.get_backend())
        try:
            yield group
        finally:
            if not there:
                distributed.destroy_process_group()


@contextlib.contextmanager
def _lost_contact() -> Iterator[None]:
    """Tells in plain words that a collective failed because another process is gone."""
    try:
        yield
    except RuntimeError as error:
        if not _is_of_collective(error):
            raise
        first = str(error).strip().splitlines()[0].split(" This is typically")[0]
        raise PeerError(
            f"lost contact with another process of this run: it failed, was killed, or cannot be reached ({first}). "
            "What was saved is not lost: start the run again in the same way, and it goes on from its last checkpoint"
        ) from error


def _is_of_collective(error: RuntimeError) -> bool:
    words = str(error).lower()
    kinds = (distributed.DistError,)
    return isinstance(error, kinds) or any(word in words for word in ("gloo", "nccl", "connection closed by peer"))
