from pathlib import Path

import pytest

from gnnkit.data import card, hypergcn, links, names, nodes
from gnnkit.data.dataset_card import nearest, read_card
from gnnkit.data.loading import _FOLDED, _GENERATORS, _ROLES
from gnnkit.errors import ConfigError

GOOD = """
name = "good"
title = "Good"
description = "d"
source = "peptides"
task = "binary"
metric = "rocauc"
num_outputs = 1
licence = "MIT"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "good.toml"
    path.write_text(text)
    return path


def test_the_shipped_cards_are_complete() -> None:
    tu = (
        "aids bzr collab cox2 dhfr enzymes imdb-binary imdb-multi mutag mutagenicity nci1 nci109 proteins "
        "proteins-full ptc-fm ptc-fr ptc-mm ptc-mr reddit-binary"
    )
    others = [
        "brec",
        "coauthorship-cora",
        "coauthorship-dblp",
        "cocitation-citeseer",
        "cocitation-cora",
        "cocitation-pubmed",
        "csl",
        "ogbg-molbace",
        "ogbg-molbbbp",
        "ogbg-molesol",
        "ogbg-molfreesolv",
        "ogbg-molhiv",
        "peptides-func",
        "ring-transfer",
        "sr16622",
        "sr25",
        "sr261034",
        "sr281264",
        "sr291467",
        "sr351668",
        "sr351899",
        "sr361446",
        "sr401224",
        "tree-neighbors-match",
    ]
    one_graph = (
        "actor amazon-computers amazon-photo chameleon chameleon-filtered citeseer coauthor-cs coauthor-physics cora "
        "cornell minesweeper ogbl-ddi pubmed squirrel squirrel-filtered texas tolokers wisconsin"
    )
    assert names() == sorted([*tu.split(), *one_graph.split(), *others])
    for name in names():
        found = card(name)
        assert found.licence
        assert found.citation
        assert found.homepage.startswith("https://")
        if found.source == hypergcn.SOURCE:
            counts = {"nodes", "hyperedges", "incidences", "isolated", "features", "split", "labels"}
            assert set(found.statistics) == counts
            assert set(hypergcn.ROLES) <= set(found.roles)
            assert bool(found.statistics["features"]) == bool(found.candidates("features"))
            assert sum(found.statistics["split"].values()) in (0, found.statistics["nodes"])
            continue
        if found.source in nodes.SOURCES:
            counts = {"nodes", "edges", "features", "self_loops", "isolated", "split", "labels"}
            assert set(found.statistics) == counts
            assert set(found.options) <= {"split", "splits"}
            continue
        if found.source == links.SOURCE:
            assert set(found.statistics) == {"nodes", "edges", "pairs"}
            assert set(links.ROLES) == set(found.roles)
            continue
        # Where every graph is a class of its own, their counts say nothing.
        labels = set() if found.source in ("brec", "graph6") else {"labels"}
        assert {"graphs", "nodes", "edges", "split"} | labels == set(found.statistics)
        assert found.source in {**_GENERATORS, **_ROLES}
        assert set(_ROLES.get(found.source, ())) <= set(found.roles)
        assert bool(found.files) != (found.source in _GENERATORS)
        assert bool(found.options) == (found.source in {**_GENERATORS, **_FOLDED})
        assert sum(found.statistics["split"].values()) == found.statistics["graphs"]


def test_files_that_are_not_official_say_why() -> None:
    substitutes = {name: [file for file in card(name).files if not file.official] for name in names()}
    assert {name for name, files in substitutes.items() if files} == {
        "collab",
        "ogbg-molhiv",
        "reddit-binary",
        "amazon-computers",
        "amazon-photo",
        "coauthor-cs",
        "coauthor-physics",
    }
    for file in substitutes["ogbg-molhiv"]:
        assert "derived/" in file.path
        assert "Near-official" in file.note
        assert card("ogbg-molhiv").candidates(file.role)[0].official
    for name in ("collab", "reddit-binary"):
        assert [file.role for file in substitutes[name]] == ["archive"]
        assert "text format of GIN" in substitutes[name][0].note


def test_lists_of_folds_under_another_licence_are_only_named() -> None:
    for name in names():
        for file in card(name).candidates("folds"):
            assert "GPL-3.0" in file.note or "MIT" in file.note
            assert len({other.sha256 for other in card(name).candidates("folds")}) == 1


def test_an_unknown_dataset_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown dataset 'peptide-func' \(did you mean 'peptides-func'\?\)"):
        card("peptide-func")


def test_nearest_says_nothing_where_nothing_is_near() -> None:
    assert nearest("qqq", ["abc"]) == ""


def test_a_good_card(tmp_path: Path) -> None:
    found = read_card(write(tmp_path, GOOD))
    assert found.files == ()
    assert found.statistics == {}
    assert found.num_outputs == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + 'licens = "x"', r"unknown key 'licens' \(did you mean 'licence'\?\)"),
        (GOOD.replace('title = "Good"', ""), "key 'title' is missing"),
        (GOOD.replace("num_outputs = 1", 'num_outputs = "1"'), "num_outputs must be of type int, got '1'"),
        (GOOD.replace("num_outputs = 1", "num_outputs = true"), "num_outputs must be of type int, got True"),
        (GOOD.replace('"binary"', '"binari"'), r"task is 'binari' \(did you mean 'binary'\?\)"),
        (GOOD.replace('"rocauc"', '"auc"'), "metric is 'auc'"),
        (GOOD.replace('"good"', '"other"'), "expected 'good' like the file"),
        (GOOD + "notes = [1]", "notes must be"),
        (GOOD + "files = 3", "files must be an array of tables"),
        (GOOD + "[[files]]\nrole = 'a'", r"\[\[files\]\] number 1: key 'path' is missing"),
        (GOOD + "[[files]]\nrole = 'a'\npath = '/x'\nsize = 1\nsha256 = 'ab'", "relative to the data root"),
        (GOOD + "[[files]]\nrole = 'a'\npath = '../x'\nsize = 1\nsha256 = 'ab'", "without '..'"),
        (GOOD + "[[files]]\nrole = 'a'\npath = 'x'\nsize = 1\nsha256 = 'ab'", "2 digits, expected 64"),
        (GOOD + "[[files]]\nrole = 'a'\npaht = 'x'\nsize = 1\nsha256 = 'ab'", r"did you mean 'path'\?"),
        ("name = ", "cannot be read"),
    ],
)
def test_bad_cards(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_card(write(tmp_path, text))


def test_no_public_name_is_hidden_by_a_module() -> None:
    import pkgutil

    import gnnkit.data

    modules = {module.name for module in pkgutil.iter_modules(gnnkit.data.__path__)}
    assert not modules & set(gnnkit.data.__all__)
    for name in gnnkit.data.__all__:
        assert getattr(gnnkit.data, name) is not None
    assert set(gnnkit.data.__all__) <= set(dir(gnnkit.data))
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        gnnkit.data.lod  # noqa: B018
