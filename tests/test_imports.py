"""What imports what, and what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import gnnkit

ROOT = Path(gnnkit.__file__).parent
BASE = {"errors", "_version", "_backend", "_construct", "_files", "_optional", "graph", "ops"}
TRANSFORMS = {"rewire", "encodings", "hypergraph", "sequence", "sample"}
# Each part and what it may import besides itself.
ALLOWED = {
    **dict.fromkeys(BASE, BASE),
    "nn": BASE,
    "geometry": BASE,
    "compat": BASE,
    "transforms": BASE | {"compat", "geometry"},
    **{name: BASE | {"nn", "geometry", "compat", "transforms"} for name in TRANSFORMS},
    "data": BASE | {"nn", "geometry", "compat", "transforms"} | TRANSFORMS,
    "experiment": BASE | {"nn", "geometry", "compat", "transforms", "data"} | TRANSFORMS,
}


def imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            pieces = name.split(".")
            if pieces[0] == "gnnkit" and len(pieces) > 1:
                parts.add(pieces[1])
    return parts


def test_arrows_point_one_way():
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if part in ("__init__", "__main__", "cli"):
            continue
        wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in imported_parts(path) - ALLOWED[part] - {part}]
    # "from gnnkit import Graph" and the like name no part.
    assert [line for line in wrong if line.split()[-1] not in ("Graph", "__version__", "backend_info")] == []


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_loads_only_the_core():
    loaded = run("import sys, gnnkit; print(sorted(m for m in sys.modules if m.startswith('gnnkit.')))")
    parts = {name.split(".")[1] for name in ast.literal_eval(loaded)}
    assert parts <= BASE
    heavy = run("import sys, torch; a = set(sys.modules); import gnnkit; print(sorted(set(sys.modules) - a))")
    names = {name.split(".")[0] for name in ast.literal_eval(heavy)}
    assert names.isdisjoint({"torch_geometric", "scipy", "sklearn", "matplotlib", "pandas", "rdkit", "networkx"})


def test_import_adds_less_than_a_tenth_of_a_second():
    # Of the processor: other tests run at the same time.
    code = "import time, torch; a = time.process_time(); import gnnkit; print(time.process_time() - a)"
    assert min(float(run(code)) for _ in range(5)) < 0.1


def test_parts_load_when_touched():
    assert run("import gnnkit; print(gnnkit.nn.__name__)") == "gnnkit.nn"
    assert run("import gnnkit; print(hasattr(gnnkit, 'nonsense'))") == "False"
