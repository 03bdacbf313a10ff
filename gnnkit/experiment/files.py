"""JSON files that are written whole and read with clear errors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gnnkit._files import write_atomic
from gnnkit.errors import DataError


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically; NaN and infinity are refused, JSON has neither."""
    text = json.dumps(content, indent=2, sort_keys=False, allow_nan=False, ensure_ascii=False)
    write_atomic(path, text.encode() + b"\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds one object.

    Raises:
        DataError: If it is missing, damaged or holds anything else.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged, it is not JSON ({error}); restore it or delete it") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold one JSON object, it holds a {type(content).__name__}")
    return content
