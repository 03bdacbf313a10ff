"""What ``torchrun`` says of the processes it started, in their environment."""

import os

from gnnkit.errors import ConfigError


def started() -> tuple[int, int]:
    """Number of this process and how many there are; ``(0, 1)`` without ``torchrun``.

    Raises:
        ConfigError: If the environment holds something else.
    """
    given = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    try:
        rank, count = (int(value) for value in given)
    except ValueError:
        rank, count = -1, 0
    if not 0 <= rank < count:
        raise ConfigError(
            "RANK and WORLD_SIZE in the environment must be the number of a process and how many there are, got "
            f"{given[0]!r} and {given[1]!r}; start with torchrun, or unset them"
        )
    return rank, count


def local_device(name: str) -> str:
    """``cuda`` is the GPU of this process where several run on one machine."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name == "cuda" and started()[1] > 1 else name


def launcher() -> list[str]:
    """The words that start ``gnnkit`` as it was started."""
    count = started()[1]
    if count == 1:
        return ["gnnkit"]
    nodes = os.environ.get("GROUP_WORLD_SIZE", "1")
    words = ["torchrun", "--nproc-per-node", os.environ.get("LOCAL_WORLD_SIZE", str(count))]
    return [*words, *([] if nodes == "1" else ["--nnodes", nodes]), "-m", "gnnkit"]
