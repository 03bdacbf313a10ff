from dataclasses import dataclass
from typing import Any, Literal

import pytest

from gnnkit.errors import ConfigError
from gnnkit.experiment.reader import read_table, write_table


@dataclass(frozen=True)
class Inner:
    width: int = 4
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float = 0.5
    flag: bool = False
    limit: int | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    inners: tuple[Inner, ...] = ()
    inner: Inner = Inner()
    options: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ConfigError(f"rate must be 0 or more, got {self.rate}")


def test_reads_every_kind_of_field():
    outer = read_table(
        Outer,
        {"name": "n", "rate": 2, "limit": 3, "pair": [1, 2.5], "inners": [{"kind": "b"}], "options": {"k": [1]}},
    )
    assert outer == Outer("n", 2.0, False, 3, (1.0, 2.5), (Inner(kind="b"),), Inner(), {"k": [1]})
    assert type(outer.rate) is float


def test_round_trip_is_exact():
    outer = Outer("n", 0.1, True, None, (0.1, 0.2), (Inner(1), Inner(2, "b")), Inner(9), {"a": 1})
    assert read_table(Outer, write_table(outer)) == outer
    assert "limit" not in write_table(outer)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"name": "n", "rat": 1.0}, ['unknown key "rat"', 'did you mean "rate"?']),
        ({"name": "n", "inner": {"widht": 1}}, ["[inner]", 'did you mean "width"?']),
        ({"name": "n", "inners": [{}, {"zzz": 1}]}, ["[inners[1]]", '"zzz"', "Valid: kind, width"]),
        ({}, ['needs a key "name"', "a string"]),
        ({"name": 3}, ["[name]", "expected a string", "3 (int)"]),
        ({"name": "n", "limit": 1.5}, ["[limit]", "an integer", "1.5 (float)"]),
        ({"name": "n", "limit": True}, ["[limit]", "an integer", "True (bool)"]),
        ({"name": "n", "rate": True}, ["[rate]", "a number"]),
        ({"name": "n", "flag": 1}, ["[flag]", "true or false"]),
        ({"name": "n", "pair": [1.0]}, ["[pair]", "expected 2 values, got 1"]),
        ({"name": "n", "pair": 1.0}, ["[pair]", "a list"]),
        ({"name": "n", "inner": {"kind": "c"}}, ["[inner.kind]", "'a', 'b'", "'c'"]),
        ({"name": "n", "inner": 3}, ["[inner]", "expected a table"]),
        ({"name": "n", "options": 3}, ["[options]", "a table"]),
        ({"name": "n", "rate": -1.0}, ["rate must be 0 or more, got -1.0"]),
    ],
)
def test_bad_tables_say_what_and_where(table, words):
    with pytest.raises(ConfigError) as error:
        read_table(Outer, table)
    for word in words:
        assert word in str(error.value)
