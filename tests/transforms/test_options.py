"""Arguments of a constructor as options: every type that transforms have."""

import argparse
from collections.abc import Sequence
from typing import Any, Literal, Optional

import pytest

from gnnkit.errors import ConfigError
from gnnkit.transforms.options import add_options, given_options


class Everything:
    """A transform.

    Args:
        steps: How many
            :class:`~a.steps` to go, at least 1. More words.
        times: Times; several.
    """

    def __init__(
        self,
        steps: int,
        *,
        times: Sequence[float] = (0.1, 1.0),
        sizes: "tuple[int, ...] | None" = None,
        words: list[str] | None = None,
        rate: float | Sequence[float] = 0.5,
        both: int | float | None = None,
        mode: Literal["a", "b"] = "a",
        maybe: Literal["a", "b"] | None = None,
        old: Optional[int] = None,  # noqa: UP045
        flag: bool = True,
        force: int = 0,
        table: dict[str, Any] | None = None,
        kernel: str | Sequence[float] = "diffusion",
        width: int | str = "all",
        other: set[int] | None = None,
    ) -> None:
        self.given = locals()


def options(*words: str, leading: str | None = "--k", **more: Any) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--force", action="store_true")
    add_options(parser, Everything, "all", leading=leading, **more)
    return given_options(parser.parse_args(words))


def test_the_leading_argument_has_two_names():
    assert options("--steps", "3") == options("--k", "3") == {"steps": 3}
    with pytest.raises(SystemExit):
        options("--k", "3", leading=None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--times", "0.5,1, 2e3"), {"times": (0.5, 1, 2000.0)}),
        (("--sizes", "4"), {"sizes": (4,)}),
        (("--sizes", "none"), {"sizes": None}),
        (("--words", "a,b"), {"words": ("a", "b")}),
        (("--rate", "1"), {"rate": (1,)}),
        (("--both", "2"), {"both": 2}),
        (("--both", "2.0"), {"both": 2.0}),
        (("--both", "None"), {"both": None}),
        (("--mode", "b"), {"mode": "b"}),
        (("--maybe", "b"), {"maybe": "b"}),
        (("--maybe", "none"), {"maybe": None}),
        (("--old", "7"), {"old": 7}),
        (("--no-flag",), {"flag": False}),
        (("--all-force", "2"), {"force": 2}),
        (
            ("--table", "a=1, b=0.5,c=true,d=none,e=word"),
            {"table": {"a": 1, "b": 0.5, "c": True, "d": None, "e": "word"}},
        ),
        (("--table", "none"), {"table": None}),
        (("--kernel", "matern"), {"kernel": "matern"}),
        (("--kernel", "1,0.5"), {"kernel": (1, 0.5)}),
        (("--width", "3"), {"width": 3}),
        (("--width", "none"), {"width": "none"}),
    ],
)
def test_values_have_the_type_of_the_argument(words: tuple[str, ...], expected: dict[str, Any]):
    assert options("--k", "1", *words) == {"steps": 1, **expected}


@pytest.mark.parametrize(
    "words", [("--times", "1,x"), ("--sizes", "1.5"), ("--mode", "c"), ("--maybe", "c"), ("--table", "a")]
)
def test_other_values_are_refused(words: tuple[str, ...]):
    with pytest.raises(argparse.ArgumentError, match=words[0]):
        options("--k", "1", *words)


def test_what_a_name_decides_is_no_option():
    assert options("--k", "1", "--mode", "b", fixed={"times": 1}) == {"steps": 1, "mode": "b"}
    with pytest.raises(SystemExit):
        options("--k", "1", "--times", "1", fixed={"times": 1})


def test_help_has_the_words_of_the_docstring_and_the_default(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        options("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "--steps INTEGER, --k INTEGER How many a.steps to go, at least 1 (required)" in text
    assert "--times A,B,... Times (default: 0.1,1.0)" in text
    assert "--other" not in text


def test_a_required_argument_without_a_form_is_an_error():
    class Odd:
        def __init__(self, graph: set[int]) -> None: ...

    with pytest.raises(ConfigError, match="Odd needs graph, which cannot be given on the command line"):
        add_options(argparse.ArgumentParser(), Odd, "odd")


def test_a_k_of_its_own_is_not_taken_for_the_leading_argument():
    class WithK:
        def __init__(self, steps: int, *, k: int = 1) -> None: ...

    class Times:
        def __init__(self, times: Sequence[float] = (1.0,)) -> None: ...

    parser = argparse.ArgumentParser()
    add_options(parser, WithK, "with", leading="--k")
    assert given_options(parser.parse_args(["--steps", "5", "--k", "2"])) == {"steps": 5, "k": 2}
    parser = argparse.ArgumentParser()
    add_options(parser, Times, "times", leading="--k")
    assert "--k" not in parser.format_help()
