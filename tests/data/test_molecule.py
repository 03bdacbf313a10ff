import sys
import warnings

import numpy as np
import pytest
import torch

from gnnkit.data import ATOM_FEATURE_DIMS, BOND_FEATURE_DIMS, smiles_to_data
from gnnkit.data.molecule import featurize
from gnnkit.errors import BackendError, DataError

pytest.importorskip("rdkit", reason="RDKit is not installed")

SMILES = [
    "C",
    "[H][H]",
    "[He]",
    "*C",
    "CCO",
    "c1ccccc1",
    "c1cc[nH]c1",
    "C1CC1",
    "N#N",
    "C#CC=C",
    "[Na+].[Cl-]",
    "CC(=O)[O-].[K+]",
    "[13CH4]",
    "[2H]O[2H]",
    "[CH3]",
    "[CH2]",
    "[O][O]",
    "N[C@@H](C)C(=O)O",
    "N[C@H](C)C(=O)O",
    "F/C=C/F",
    "F/C=C\\F",
    "CC=CC",
    r"C/C=C/C=C\C",
    "F[P-](F)(F)(F)(F)F",
    "FS(F)(F)(F)(F)F",
    "F[As](F)(F)(F)F",
    "[Fe+2]",
    "[U+6]",
    "[Cu-3]",
    "C[N+](C)(C)C",
    "O=S(=O)(O)O",
    "CS(=O)C",
    "[NH4+]",
    "[BH4-]",
    "B1OC1",
    "[SiH3][SiH3]",
    "C[Se]C",
    "O=C1NC(=O)c2ccccc21",
    "CC1=C[O+]=CC=C1",
    "[Cl-].[Cl-].[Pt+2].N.N",
    "N[Pt@SP1](N)(Cl)Cl",
    "C[S@](=O)CC",
    "OC[C@H]1OC(O)[C@H](O)[C@@H](O)[C@@H]1O",
    "CC1CCC/C(C)=C1/C=C/C(C)=C/C=C/C(C)=C/C(=O)O",
    "[O-][N+](=O)c1ccc(cc1)/N=N/c1ccccc1",
    "CC(C)C[C@H](NC(=O)[C@H](CCCC[NH3+])NC(=O)[C@@H](N)C(C)C)C(=O)N",
    "[CH-]1C=CC=C1.[CH-]1C=CC=C1.[Fe+2]",
    "C->[Fe]",
    "[Al+3].[OH-].[OH-].[OH-]",
    "[C-]#[O+]",
    "O=[Os](=O)(=O)=O",
    "[Og]",
]


@pytest.fixture(scope="module")
def smiles2graph():
    """OGB's own featuriser, taken without ``import ogb``, which asks the network for its latest version."""
    pytest.importorskip("pandas", reason="pandas, which ogb needs, is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = sys.modules.get("outdated")
        sys.modules["outdated"] = type(sys)("outdated")
        sys.modules["outdated"].check_outdated = lambda *_: (False, "")  # type: ignore[attr-defined]
        sys.modules["outdated"].OutdatedPackageWarning = UserWarning  # type: ignore[attr-defined]
        try:
            module = pytest.importorskip("ogb.utils.mol", reason="ogb is not installed")
        finally:
            del sys.modules["outdated"]
            if saved is not None:
                sys.modules["outdated"] = saved
    return module.smiles2graph


@pytest.mark.parametrize("smiles", SMILES)
def test_features_equal_ogbs(smiles2graph, smiles: str) -> None:
    expected = smiles2graph(smiles)
    data = smiles_to_data(smiles)
    assert data.x.dtype == data.edge_index.dtype == data.edge_attr.dtype == torch.int64
    assert np.array_equal(data.x.numpy(), expected["node_feat"])
    assert np.array_equal(data.edge_index.numpy(), expected["edge_index"])
    assert np.array_equal(data.edge_attr.numpy(), expected["edge_feat"])
    assert (data.x < torch.tensor(ATOM_FEATURE_DIMS)).all()
    assert (data.edge_attr < torch.tensor(BOND_FEATURE_DIMS)).all()


def test_dimensions_equal_ogbs(smiles2graph) -> None:
    features = pytest.importorskip("ogb.utils.features")
    assert list(ATOM_FEATURE_DIMS) == features.get_atom_feature_dims()
    assert list(BOND_FEATURE_DIMS) == features.get_bond_feature_dims()


def test_ethanol_by_hand() -> None:
    data = smiles_to_data("CCO")
    assert data.x.tolist() == [[5, 0, 4, 5, 3, 0, 2, 0, 0], [5, 0, 4, 5, 2, 0, 2, 0, 0], [7, 0, 2, 5, 1, 0, 2, 0, 0]]
    assert data.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert data.edge_attr.tolist() == [[0, 0, 0]] * 4


@pytest.mark.parametrize("num_workers", [1, 2])
def test_many_molecules_equal_single_ones(num_workers: int) -> None:
    smiles = SMILES * 4
    molecules = featurize(smiles, num_workers=num_workers)
    assert molecules.num_nodes.size == len(smiles)
    nodes = np.concatenate([[0], np.cumsum(molecules.num_nodes)])
    edges = np.concatenate([[0], np.cumsum(molecules.num_edges)])
    for number, text in enumerate(smiles):
        data = smiles_to_data(text)
        own = slice(edges[number], edges[number + 1])
        assert np.array_equal(molecules.x[nodes[number] : nodes[number + 1]], data.x.numpy())
        assert np.array_equal(molecules.edge_index[:, own], data.edge_index.numpy())
        assert np.array_equal(molecules.edge_attr[own], data.edge_attr.numpy())


def test_no_molecules() -> None:
    molecules = featurize([])
    assert molecules.x.shape == (0, 9)
    assert molecules.edge_index.shape == (2, 0)


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("C1CC", "syntax error"),
        ("C(C)(C)(C)(C)C", "Explicit valence for atom # 0 C, 5"),
        ("c1cccc1", "kekulize"),
        ("", "empty"),
        ("not a molecule", "syntax error"),
    ],
)
def test_a_bad_smiles_is_named_with_its_row(num_workers: int, smiles: str, reason: str, capfd) -> None:
    rows = ["CCO"] * 300
    rows[200] = smiles
    with pytest.raises(DataError, match=f"row 200: .*{reason}"):
        featurize(rows, num_workers=num_workers)
    assert "SMILES Parse Error" not in capfd.readouterr().err


def test_bad_single_smiles() -> None:
    with pytest.raises(DataError, match="'C1CC' is not a molecule"):
        smiles_to_data("C1CC")


def test_without_rdkit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(BackendError, match=r"gnnkit\[mol\]"):
        smiles_to_data("C")


def test_progress_is_shown_only_on_request(capfd) -> None:
    featurize(["C"] * 3, num_workers=1)
    assert capfd.readouterr().err == ""
    featurize(["C"] * 3, num_workers=1, progress=True)
    assert "SMILES to graphs" in capfd.readouterr().err
