"""Runs the tests of the kernels on a library that is named: a build with sanitizers, the CUDA kernels under emulation.

    python -m tests.sanitize.run build/sanitize/libgnnkit_cpu.so --probe build/sanitize/libgnnkit_probe.so [pytest ...]

Without ``--probe`` the library runs as it is. With it the sanitizers must report the mistakes of ``probe.cpp`` first,
on a tensor of torch too; then any report ends the tests and fails the run. Arguments that follow go to pytest; without
any, the tests are those below.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

# Every operator on every awkward structure and both index types, gradients, and all of the fuzz tests. What is left out
# calls the same kernels again, from compiled code or at other instruction sets.
TESTS = [
    "tests/ops/test_battery.py",
    "tests/ops/test_bad_input.py",
    "tests/ops/test_fuzz.py",
    "tests/ops/test_dropout.py",
    "tests/ops/test_segment_topk.py",
    "tests/encodings/test_walk_operators.py",
    "tests/encodings/test_chebyshev_operators.py",
    "tests/encodings/test_feature_operators.py",
    "tests/geometry/test_cycle_operators.py",
    "tests/geometry/test_laplacian_operators.py",
    "tests/geometry/test_transport_operators.py",
    "tests/encodings/test_ego_degrees.py",
    "tests/rewire/test_greedy.py",
    "tests/ops/test_induced_subgraphs.py",
    "tests/sample/test_node_sets.py",
    "tests/sample/store/test_gather_rows.py",
    "tests/sample/test_root_operators.py",
    "tests/sequence/test_token_operators.py",
    "tests/sequence/test_traversal_operator.py",
    "tests/test_graph.py",
    "tests/compat/test_torch_scatter.py",
    "tests/compat/test_torch_scatter_fuzz.py",
]
SKIPPED = "compiles or opcheck or test_gradients or uses_the_same_mask or other_instruction_sets"

PROBES = {
    "heap-buffer-overflow": "probe.read_float(ctypes.c_void_p(values.data_ptr()), ctypes.c_int64(7))",
    "signed integer overflow": "probe.add(ctypes.c_int64(2**63 - 1), ctypes.c_int64(1))",
}
PROBE_CODE = "import ctypes, torch; values = torch.ones(7); probe = ctypes.CDLL({path!r}); print({call})"


def environment(library: Path) -> dict[str, str]:
    """What loads the library in place of the installed one, with its sanitizers in front of everything."""
    chosen = os.environ | {
        "GNNKIT_CPU_LIBRARY": str(library),
        # Python and torch keep memory to the end. An allocation beyond all memory must raise as it does without.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=4096:abort_on_error=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    runtimes = sanitizers(library)
    return chosen | ({"LD_PRELOAD": " ".join(runtimes)} if runtimes else {})


def sanitizers(library: Path) -> list[str]:
    """Names of the sanitizers' shared libraries that ``library`` is linked with."""
    dynamic = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    return sorted(re.findall(r"\[(lib(?:asan|ubsan)\.so[^\]]*)\]", dynamic))


def check_sanitizers(probe: Path, settings: dict[str, str]) -> None:
    """Ends the program unless every deliberate mistake is reported."""
    for report, call in PROBES.items():
        code = PROBE_CODE.format(path=str(probe), call=call)
        done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=False)
        if done.returncode == 0 or report not in done.stderr:
            sys.exit(f"the sanitizers did not report a {report} made on purpose:\n{done.stdout}{done.stderr}")
        print(f"reported as it should be: {report}")


def check_library(library: Path, settings: dict[str, str]) -> None:
    """Ends the program unless gnnkit loads ``library``."""
    code = "import gnnkit; print(gnnkit.backend_info()['cpu']['path'])"
    done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=False)
    if done.stdout.strip() != str(library):
        sys.exit(f"gnnkit did not load {library} but {done.stdout.strip() or done.stderr}")
    print(f"gnnkit runs on {library}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path, help="the library to run as that of the CPU")
    parser.add_argument("--probe", type=Path, help="the library of deliberate mistakes, built with the same sanitizers")
    parser.add_argument("--workers", default="0", help="how many processes pytest uses")
    options, rest = parser.parse_known_args()
    library = options.library.resolve(strict=True)
    settings = environment(library)
    if options.probe is not None:
        if not sanitizers(library):
            sys.exit(f"{library} is not linked with the sanitizers: build it with -DGNNKIT_SANITIZE=ON")
        check_sanitizers(options.probe.resolve(strict=True), settings)
    check_library(library, settings)
    arguments = rest or [*TESTS, "-k", f"not ({SKIPPED})"]
    # Without capturing file descriptors: a report is written as the process dies.
    command = [sys.executable, "-m", "pytest", "-q", "--capture=sys", "-p", "no:cacheprovider"]
    command += ["-n", options.workers, "--dist", "worksteal", *arguments]
    return subprocess.run(command, env=settings, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
