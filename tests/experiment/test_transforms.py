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
