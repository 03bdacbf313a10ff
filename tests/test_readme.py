"""What the README shows works as shown."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_python_blocks_run_in_order():
    blocks = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "peptides" not in block]
    assert len(blocks) >= 3
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert "out" in namespace


@pytest.mark.data
def test_data_block_runs(raw_data):
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "peptides" in block]
    namespace: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), namespace)
    assert namespace["batch"].num_graphs == 200  # type: ignore[attr-defined]


def test_commands_and_files_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for path in re.findall(r"(benchmarks/tables/\S+\.toml)", README):
        assert (ROOT / path).exists()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for names in re.findall(r'"\.\[([\w,]+)\]"', README):
        assert set(names.split(",")) <= set(extras)


def test_figures_are_those_of_the_committed_results():
    results = ROOT / "benchmarks/results"
    contents = [json.loads(path.read_text()) for path in sorted((results / "speed").glob("*.json"))]
    timed = [part for content in contents for part in content.get("cells", [content]) if "times" in part]
    medians = [times["median_ms"] for part in timed for times in part["times"].values()]
    shown = [float(value.replace(",", "")) for value in re.findall(r"([\d,]+(?:\.\d+)?) ms", README)]
    assert shown
    for value in shown:
        # To the digits shown: three significant ones.
        assert any(float(f"{median:.3g}") == value or round(median) == value for median in medians), value
    record = json.loads((results / "peptides-func/gcn-epochs25-seed0.json").read_text())
    assert f"{record['final']['test']:.4f} | {record['final']['val']:.4f} | 1 |" in README
    assert f"{record['parameters']['total']:,} | {record['epochs']} of {record['protocol_epochs']}" in README
