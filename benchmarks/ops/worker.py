"""The process in which ``--base`` runs one version of gnnkit: requests in, answers out, one JSON object per line."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any


class OneVersion:
    """Finds gnnkit in one folder, before any installation of it is asked."""

    def __init__(self, folder: Path) -> None:
        """``folder`` holds the package."""
        self.folder = folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The module, where it is part of gnnkit."""
        if name.partition(".")[0] != "gnnkit":
            return None
        return PathFinder.find_spec(name, [str(self.folder)] if path is None else path, target)


class Desk:
    """What has been prepared, and what to do next."""

    def __init__(self) -> None:
        """Nothing is prepared."""
        from benchmarks.ops.cell import Topologies

        self.topologies = Topologies()
        self.bench: Any = None
        self.run: Callable[[], object] | None = None

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        from benchmarks.measure import milliseconds

        if request["do"] == "prepare":
            return self._prepare(request)
        if self.run is None:
            raise RuntimeError("nothing is prepared")
        self.run()  # the other version has had the caches since
        return {"ms": milliseconds(self.run)}

    def _prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        from benchmarks.ops.cell import Bench
        from benchmarks.ops.check import describe
        from benchmarks.ops.table import OPS
        from benchmarks.ops.workload import Workload

        op = next(op for op in OPS if op.name == request["op"])
        workload = Workload(**request["workload"])
        missing = op.missing()
        if missing is not None:
            return {"absent": missing}
        self.run = None
        if self.bench is None or (self.bench.op.name, self.bench.workload) != (op.name, workload):
            self.bench = None
        try:
            if self.bench is None:
                self.bench = Bench(op, workload, self.topologies.get(workload))
            chosen = next(each for each in op.passes(workload) if each.name == request["pass"])
            self.run = self.bench.ours(chosen).run
        except Exception as error:  # an older version may lack an option or be wrong: the table goes on
            return {"failure": describe(error)}
        return {"ready": True}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--own-library", action="store_true", help="refuse a native library from elsewhere")
    given = parser.parse_args()
    # What anything prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [str(Path(__file__).resolve().parents[2]), *(path for path in sys.path if path != here)]
    sys.meta_path.insert(0, OneVersion(given.folder))  # type: ignore[arg-type]
    gnnkit = importlib.import_module("gnnkit")
    importlib.import_module("torch").set_num_threads(given.threads)
    library = gnnkit.backend_info()["cpu"]
    if given.own_library and not Path(library["path"] or "/").is_relative_to(given.folder):
        raise SystemExit(f"the library of {given.folder} is not the one that runs: {library}")
    desk = Desk()

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    say({"gnnkit": gnnkit.__version__, "folder": str(given.folder), "library": library["loaded"]})
    for line in sys.stdin:
        say(desk.handle(json.loads(line)))


if __name__ == "__main__":
    main()
