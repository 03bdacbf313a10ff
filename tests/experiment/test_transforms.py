import importlib
import sys
from types import ModuleType

import pytest

from gnnkit.errors import ConfigError
from gnnkit.experiment import transforms
from gnnkit.experiment.config import TransformConfig


class Walk:
    def __init__(self, *, steps: int, scale: float = 1.0) -> None:
        if steps < 1:
            raise ConfigError(f"steps must be 1 or more, got {steps}")
        self.steps, self.scale = steps, scale


@pytest.fixture
def walk(monkeypatch):
    module = ModuleType("walk_module")
    module.__dict__["Walk"] = Walk
    monkeypatch.setitem(sys.modules, "walk_module", module)
    monkeypatch.setitem(transforms.TRANSFORMS, "walk", "walk_module:Walk")


def test_options_reach_the_class(walk):
    built = transforms.build_transform(TransformConfig("walk", {"steps": 3}))
    assert (built.steps, built.scale) == (3, 1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 3, "scael": 1.0}, 'did you mean "scale"?'),
        ({}, 'needs a key "steps"'),
        ({"steps": 0}, "steps must be 1 or more"),
        ({"steps": "three"}, "data.transforms walk"),
    ],
)
def test_bad_options_are_refused(walk, options, words):
    with pytest.raises(ConfigError) as error:
        transforms.build_transform(TransformConfig("walk", options))
    assert words in str(error.value)


@pytest.mark.parametrize("kind", sorted(transforms.TRANSFORMS))
def test_every_name_is_that_of_its_class(kind):
    module, name = transforms.TRANSFORMS[kind].split(":")
    assert "".join(word.capitalize() for word in kind.split("_")) == name
    assert module in ("gnnkit.encodings", "gnnkit.rewire", "torch_geometric.transforms")


@pytest.mark.parametrize("kind", sorted(transforms.TRANSFORMS))
def test_a_config_names_every_transform_and_its_mistakes_are_said(kind):
    module, name = transforms.TRANSFORMS[kind].split(":")
    config = TransformConfig.from_table({"kind": kind, "no_such_option": 1}, "data.transforms[0]")
    if hasattr(importlib.import_module(module), name):
        words = f'[data.transforms {kind}]: unknown key "no_such_option"'
    else:
        words = f"[data.transforms {kind}]: this version of gnnkit has no {module}.{name}"
    with pytest.raises(ConfigError) as error:
        transforms.build_transform(config)
    assert words in str(error.value)


def test_the_word_none_is_none_where_that_is_a_value():
    options = {"k": 3, "normalization": "none", "attr_name": "none"}
    built = transforms.build_transform(TransformConfig("laplacian_eigenvectors", options))
    assert (built.normalization, built.attr_name) == (None, "none")


def test_names_are_told_where_one_is_wrong():
    with pytest.raises(ConfigError, match='unknown transform "random_wlak"; did you mean "random_walk"'):
        TransformConfig("random_wlak")
