"""Shows that a wheel built against one torch runs under another: builds it, installs it there, tests the operators.

    python -m tests.abi.run build/abi --built-against 2.13.0 --run-under 2.14.1

Two virtual environments are made in the folder that is named, or taken from there. Both torches are whole ones, so this
takes gigabytes and minutes, and is not part of continuous integration.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ["tests/ops", "tests/compat", "tests/test_graph.py", "tests/test_backend.py"]
LIBRARY = "gnnkit/lib/libgnnkit_cpu.so"


def environment(folder: Path, torch: str) -> Path:
    """The interpreter of a virtual environment in ``folder`` that has this torch."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip(python, f"torch=={torch}")
    return python


def pip(python: Path, *arguments: str) -> None:
    """Installs into the environment of ``python``."""
    subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True)


def output(python: Path, code: str, cwd: Path) -> str:
    """What a piece of code prints."""
    done = subprocess.run([python, "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the environments and the wheel lie")
    parser.add_argument(
        "--built-against", default="2.13.0", metavar="VERSION", help="torch that the wheel is built with"
    )
    parser.add_argument("--run-under", default="2.14.1", metavar="VERSION", help="torch that the tests run under")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)

    builder = environment(folder / f"torch-{options.built_against}", options.built_against)
    wheels = folder / "wheel"
    shutil.rmtree(wheels, ignore_errors=True)
    subprocess.run([builder, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("gnnkit-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        built = hashlib.sha256(archive.read(LIBRARY)).hexdigest()

    runner = environment(folder / f"torch-{options.run_under}", options.run_under)
    pip(
        runner,
        f"{wheel}[networkx]",
        f"torch=={options.run_under}",
        "hypothesis",
        "pytest",
        "pytest-socket",
        "pytest-xdist",
    )
    # Of two installations of one version pip keeps the first, and this wheel may be a new one.
    pip(runner, "--force-reinstall", "--no-deps", str(wheel))
    # Away from the sources: there gnnkit would be the folder, not the wheel.
    with tempfile.TemporaryDirectory() as elsewhere:
        work = Path(elsewhere)
        shutil.copytree(ROOT / "tests", work / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", work)
        loaded = output(runner, "import gnnkit; print(gnnkit.backend_info()['cpu']['path'])", work)
        if hashlib.sha256(Path(loaded).read_bytes()).hexdigest() != built:
            sys.exit(f"{loaded} is not the library of {wheel}")
        print(f"built against torch {options.built_against}, sha256 {built}")
        print("runs under torch", output(runner, "import torch; print(torch.__version__)", work), flush=True)
        command = [runner, "-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal", "-p", "no:cacheprovider"]
        # What a later torch warns of, in its own opcheck and where torch_geometric calls it, is not what is asked here.
        command += ["-W", "default", *TESTS]
        return subprocess.run(command, cwd=work, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
