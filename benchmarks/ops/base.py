"""This gnnkit against that of an earlier commit, on the same table, in turns."""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import gnnkit
from benchmarks.measure import environment, summary, within_budget, write_text
from benchmarks.ops import record
from benchmarks.ops.cell import Settings
from benchmarks.ops.entry import Pass
from benchmarks.ops.table import Cell

ROOT = Path(__file__).resolve().parents[2]
NEW, BASE = "new", "base"


class BaseError(Exception):
    """The other version cannot be had."""


class Worker:
    """A process that runs one version of gnnkit and is told cell by cell what to do."""

    def __init__(self, folder: Path, *, needs_library: bool) -> None:
        """Starts it on the package in ``folder``."""
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), str(folder)]
        command += ["--threads", str(torch.get_num_threads())] + (["--own-library"] if needs_library else [])
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.version = self._read()

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request and its answer."""
        if self._process.stdin is None:
            raise BaseError("the process that measures has no input")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def time(self) -> float:
        """Milliseconds of one more run of the prepared cell."""
        return self.ask(do="run")["ms"]

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise BaseError(f"the process that measures ended with status {self._process.wait()}; its output is above")
        return json.loads(line)


@contextlib.contextmanager
def built(ref: str) -> Iterator[tuple[Path, str]]:
    """A tree of another commit with its native library, in a temporary folder that does not outlive the block.

    Yields:
        The folder and the commit.

    Raises:
        BaseError: If there is no such commit, or it cannot be built.
    """
    found = _run(
        ["git", "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"], f"there is no commit {ref!r}"
    ).strip()
    if shutil.which("cmake") is None:
        raise BaseError("--base builds the other version with cmake, which is not on the PATH")
    with tempfile.TemporaryDirectory(prefix="gnnkit-base-") as folder:
        tree, build = Path(folder) / "tree", Path(folder) / "build"
        _run(["git", "worktree", "add", "--detach", str(tree), found], f"cannot check out {ref}")
        try:
            _build(tree, build)
            yield tree, found[:12]
        finally:
            _run(["git", "worktree", "remove", "--force", str(tree)], "cannot remove the other tree")


def _build(tree: Path, build: Path) -> None:
    torch_folder = Path(torch.__file__).parent
    options = [
        f"-DGNNKIT_TORCH_DIR={torch_folder}",
        f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={tree / 'gnnkit/lib'}",
        "-DCMAKE_BUILD_TYPE=Release",
    ]
    why = "the native library of the other version cannot be built"
    _run(["cmake", "-S", str(tree), "-B", str(build), *options], why)
    _run(["cmake", "--build", str(build), "--target", "gnnkit_cpu", "--parallel"], why)


def _run(command: Sequence[str], why: str) -> str:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BaseError(f"{why}: {' '.join(command[:4])} gave\n{(result.stderr or result.stdout)[-2000:]}")
    return result.stdout


def compare(ref: str, cells: Sequence[Cell], settings: Settings, json_path: Path | None) -> int:
    """Measures and prints old beside new; 1 where a cell failed, 2 where the base cannot be had."""
    try:
        print(f"building {ref} ...", flush=True)
        with built(ref) as (tree, commit), contextlib.ExitStack() as stack:
            workers = {}
            for name, folder in ((BASE, tree), (NEW, Path(gnnkit.__file__).resolve().parents[1])):
                workers[name] = Worker(folder, needs_library=name == BASE)
                stack.callback(workers[name].close)
                print(f"{name}: {workers[name].version}", flush=True)
            records = [each for cell in cells for each in compare_cell(cell, workers, settings)]
    except BaseError as error:
        print(error, file=sys.stderr)
        return 2
    failures = [each for each in records if "failure" in each]
    print(f"{len(records)} cells, {len(failures)} failed")
    if json_path is not None:
        content = {"kind": "base", "environment": environment(), "base": commit, "cells": records}
        write_text(json_path, record.dump(content))
    return 1 if failures else 0


def compare_cell(cell: Cell, workers: dict[str, Worker], settings: Settings) -> Iterator[dict[str, Any]]:
    """One record per pass: what both versions take, each in its own process, in turns."""
    for chosen in cell.passes:
        answers = {name: worker.ask(**_request(cell, chosen)) for name, worker in workers.items()}
        made: dict[str, Any] = {"op": cell.op.name, "pass": chosen.name, **vars(cell.workload)}
        ready = [name for name, answer in answers.items() if "ready" in answer]
        failed = [f"{name}: {answer['failure']}" for name, answer in answers.items() if "failure" in answer]
        times = within_budget(
            {name: workers[name].time for name in ready}, seconds=settings.seconds, at_least=settings.at_least
        )
        made |= {name: summary(values) for name, values in times.items()}
        made |= {name: "absent" for name, answer in answers.items() if "absent" in answer}
        if failed:
            made["failure"] = "; ".join(failed)
        if len(ready) == 2:
            made["ratio"] = round(made[BASE]["median_ms"] / made[NEW]["median_ms"], 3)
        print(_line(made), flush=True)
        yield made


def _request(cell: Cell, chosen: Pass) -> dict[str, Any]:
    return {"do": "prepare", "op": cell.op.name, "pass": chosen.name, "workload": vars(cell.workload)}


def _line(made: dict[str, Any]) -> str:
    where = f"{made['graph']} {made['edges']:,} x {made['width']}"
    cells = [
        f"{name} {value['median_ms']:10.3f} ms" if isinstance(value, dict) else f"{name} {value or '-':>13s}"
        for name, value in ((name, made.get(name)) for name in (BASE, NEW))
    ]
    gain = f"{made['ratio']:7.2f} x" if "ratio" in made else ""
    failure = f"   FAILED: {made['failure']}" if "failure" in made else ""
    return f"{made['op'] + ', ' + made['pass']:48s} {where:28s} {'   '.join(cells)}   {gain}{failure}"
