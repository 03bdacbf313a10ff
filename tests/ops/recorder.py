"""Notes what a call asks of the operators, so that each can be compared with its reference."""

from torch.utils._python_dispatch import TorchDispatchMode


class Recorder(TorchDispatchMode):
    """Notes every call of a gnnkit operator, with its arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.namespace == "gnnkit":
            self.calls.append((func, args, result))
        return result


def as_tuple(value) -> tuple:
    return value if isinstance(value, tuple) else (value,)
