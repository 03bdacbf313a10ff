"""SMILES to graphs with OGB's atom and bond features, through RDKit.

Importing this module loads neither RDKit nor torch_geometric, because worker processes import it.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gnnkit._optional import require
from gnnkit.errors import DataError

if TYPE_CHECKING:
    from torch_geometric.data import Data

ATOM_FEATURE_DIMS = (119, 5, 12, 12, 10, 6, 6, 2, 2)
"""Categories per atom feature: atomic number, chirality, degree, formal charge, hydrogens, radical electrons,
hybridisation, aromatic, in a ring. Where a value is not listed the last category stands for it."""

BOND_FEATURE_DIMS = (5, 6, 2)
"""Categories per bond feature: type, stereo, conjugated."""

FEATURE_VERSION = 1
"""Part of every cache key; raise it when the features below change."""

_CHIRALITY = ("CHI_UNSPECIFIED", "CHI_TETRAHEDRAL_CW", "CHI_TETRAHEDRAL_CCW", "CHI_OTHER")
_HYBRIDIZATION = ("SP", "SP2", "SP3", "SP3D", "SP3D2")
_BOND_TYPE = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")
_BOND_STEREO = ("STEREONONE", "STEREOZ", "STEREOE", "STEREOCIS", "STEREOTRANS", "STEREOANY")
_CHUNK = 128


class Molecules(NamedTuple):
    """Graphs of several molecules, one after the other.

    Attributes:
        num_nodes: Atoms of each molecule, ``[G]``.
        num_edges: Directed edges of each molecule, two per bond, ``[G]``.
        x: Atom features, ``[N, 9]``.
        edge_index: Atom numbers local to each molecule, ``[2, E]``: bond ``b`` gives edges ``2b`` (as RDKit stores it)
            and ``2b + 1`` (reversed).
        edge_attr: Bond features, ``[E, 3]``.
    """

    num_nodes: NDArray[np.int64]
    num_edges: NDArray[np.int64]
    x: NDArray[np.uint8]
    edge_index: NDArray[np.int32]
    edge_attr: NDArray[np.uint8]


def rdkit_version() -> str:
    """Version of the installed RDKit; features of unusual molecules depend on it.

    Raises:
        BackendError: If RDKit is not installed, or cannot be imported.
    """
    return require("rdkit", "RDKit", "reading SMILES", "mol").__version__


def featurize(smiles: Sequence[str], *, num_workers: int | None = None, progress: bool = False) -> Molecules:
    """Turns SMILES into graphs with exactly the features of OGB's ``smiles2graph``.

    Args:
        smiles: One molecule each.
        num_workers: Processes; default all cores.
        progress: Show a progress bar.

    Raises:
        DataError: If a SMILES cannot be parsed; the message names its row (from 0) and the reason.
        BackendError: If RDKit is not installed, or cannot be imported.

    Determinism: the result does not depend on ``num_workers``.
    Complexity: linear in the number of atoms, about 15 microseconds each per process.
    """
    rdkit_version()
    chunks = [(start, list(smiles[start : start + _CHUNK])) for start in range(0, len(smiles), _CHUNK)]
    workers = min(os.cpu_count() or 1 if num_workers is None else num_workers, len(chunks))
    parts: list[Molecules] = []
    from tqdm import tqdm

    with tqdm(total=len(smiles), desc="SMILES to graphs", unit="mol", disable=not progress) as bar:
        for part in _featurize_chunks(chunks, workers):
            parts.append(part)
            bar.update(part.num_nodes.size)
    return _concatenate(parts)


def _featurize_chunks(chunks: list[tuple[int, list[str]]], workers: int) -> Any:
    if workers <= 1:
        return (_featurize_chunk(first, rows) for first, rows in chunks)
    from joblib import Parallel, delayed

    # loky starts fresh processes: forking one that already runs torch's threads can deadlock, and plain
    # multiprocessing would import the user's main script again.
    parallel = Parallel(n_jobs=workers, backend="loky", return_as="generator", idle_worker_timeout=10)
    return parallel(delayed(_featurize_chunk)(first, rows) for first, rows in chunks)


def _featurize_chunk(first_row: int, smiles: list[str]) -> Molecules:
    tables = _tables()
    rows = [_features(text, first_row + offset, tables) for offset, text in enumerate(smiles)]
    return Molecules(
        np.array([len(atoms) for atoms, _, _ in rows], dtype=np.int64),
        np.array([2 * len(bonds) for _, bonds, _ in rows], dtype=np.int64),
        np.array([atom for atoms, _, _ in rows for atom in atoms], dtype=np.uint8).reshape(-1, len(ATOM_FEATURE_DIMS)),
        _both_directions(np.array([ends for _, _, pairs in rows for ends in pairs], dtype=np.int32).reshape(-1, 2)),
        np.array([bond for _, bonds, _ in rows for bond in bonds], dtype=np.uint8)
        .reshape(-1, len(BOND_FEATURE_DIMS))
        .repeat(2, axis=0),
    )


def _both_directions(bonds: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.stack([bonds, bonds[:, ::-1]], axis=1).reshape(-1, 2).T


def _concatenate(parts: list[Molecules]) -> Molecules:
    if not parts:
        return _featurize_chunk(0, [])
    return Molecules(
        np.concatenate([part.num_nodes for part in parts]),
        np.concatenate([part.num_edges for part in parts]),
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.edge_index for part in parts], axis=1),
        np.concatenate([part.edge_attr for part in parts]),
    )


class _Tables(NamedTuple):
    chirality: dict[Any, int]
    hybridization: dict[Any, int]
    bond_type: dict[Any, int]
    bond_stereo: dict[Any, int]


def _tables() -> _Tables:
    from rdkit.Chem import rdchem

    def index(kind: Any, listed: tuple[str, ...]) -> dict[Any, int]:
        return {getattr(kind, name): position for position, name in enumerate(listed)}

    return _Tables(
        index(rdchem.ChiralType, _CHIRALITY),
        index(rdchem.HybridizationType, _HYBRIDIZATION),
        index(rdchem.BondType, _BOND_TYPE),
        index(rdchem.BondStereo, _BOND_STEREO),
    )


def _features(
    smiles: str, row: int | None, tables: _Tables
) -> tuple[list[tuple[int, ...]], list[tuple[int, int, int]], list[tuple[int, int]]]:
    molecule = _parse(smiles, row)
    chirality, hybridization, bond_type, bond_stereo = tables
    atoms = []
    for atom in molecule.GetAtoms():
        number = atom.GetAtomicNum()
        degree = atom.GetTotalDegree()
        charge = atom.GetFormalCharge()
        hydrogens = atom.GetTotalNumHs()
        radicals = atom.GetNumRadicalElectrons()
        atoms.append(
            (
                number - 1 if 1 <= number <= 118 else 118,
                chirality.get(atom.GetChiralTag(), 4),
                degree if degree <= 10 else 11,
                charge + 5 if -5 <= charge <= 5 else 11,
                hydrogens if hydrogens <= 8 else 9,
                radicals if radicals <= 4 else 5,
                hybridization.get(atom.GetHybridization(), 5),
                int(atom.GetIsAromatic()),
                int(atom.IsInRing()),
            )
        )
    bonds, ends = [], []
    for bond in molecule.GetBonds():
        stereo = bond_stereo.get(bond.GetStereo())
        if stereo is None:
            raise DataError(f"{_where(row)}bond stereo {bond.GetStereo()} of {smiles!r:.200} has no OGB feature")
        bonds.append((bond_type.get(bond.GetBondType(), 4), stereo, int(bond.GetIsConjugated())))
        ends.append((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
    return atoms, bonds, ends


def _parse(smiles: str, row: int | None) -> Any:
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is not None and molecule.GetNumAtoms() > 0:
            return molecule
        raise DataError(f"{_where(row)}{smiles!r:.200} is not a molecule: {_reason(smiles)}")


def _where(row: int | None) -> str:
    return "" if row is None else f"row {row}: "


def _reason(smiles: str) -> str:
    from rdkit import Chem

    if not smiles.strip():
        return "the SMILES is empty"
    molecule = Chem.MolFromSmiles(smiles, sanitize=False)
    if molecule is None:
        return "the SMILES has a syntax error"
    problems = Chem.DetectChemistryProblems(molecule)
    return problems[0].Message() if problems else "RDKit cannot sanitise it"


def smiles_to_data(smiles: str) -> "Data":
    """One molecule as a graph with OGB's features.

    Args:
        smiles: The molecule.

    Returns:
        ``x`` ``[N, 9]``, ``edge_index`` ``[2, E]`` (both directions of each bond), ``edge_attr`` ``[E, 3]``, int64.

    Raises:
        DataError: If the SMILES cannot be parsed.
        BackendError: If RDKit is not installed, or cannot be imported.
    """
    import torch
    from torch_geometric.data import Data

    rdkit_version()
    atoms, bonds, ends = _features(smiles, None, _tables())
    both = _both_directions(np.array(ends, dtype=np.int32).reshape(-1, 2))
    return Data(
        x=torch.tensor(atoms, dtype=torch.int64).reshape(-1, len(ATOM_FEATURE_DIMS)),
        edge_index=torch.from_numpy(both.astype(np.int64)),
        edge_attr=torch.tensor(bonds, dtype=torch.int64).reshape(-1, len(BOND_FEATURE_DIMS)).repeat_interleave(2, 0),
    )
