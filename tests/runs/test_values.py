"""Values against annotations: what fits, what is said of what does not, and annotations that only type checkers can read."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional, Union

import pytest
import torch
from conftest import settings_with

from wavecoder.runs.limits import SettingError
from wavecoder.runs.values import annotations, describe, fits, leaves, numbers

if TYPE_CHECKING:
    from decimal import Decimal

FITS: list[tuple[Any, Any, bool]] = [
    (3, int, True),
    (True, int, False),
    (1, bool, False),
    (3, float, True),
    (None, Optional[int], True),  # noqa: UP045
    ("3", int | None, False),
    ([1, 2], Iterable[int], True),
    ([1, "x"], Iterable[int], False),
    ([1, 2.5], Sequence[int], False),
    (3, list[int], False),
    ([0.9], tuple[float, float], False),
    ([1, 2, 3], tuple[int, ...], True),
    ([[1], ["x"]], list[list[int]], False),
    ("min", Literal["min", "max"], True),
    ("mid", Literal["min", "max"], False),
    ({"a": 1}, Mapping[str, int], True),
    ({"a": 1}, int, False),
    ({"_target_": "x.Y"}, int, False),
    ({"_target_": "x.Y"}, torch.Tensor, True),
    ("text", torch.Tensor, True),  # which may be made from it
    ("text", Union[str, Path], True),  # noqa: UP007
    ({"a": 1}, Union[str, Path], False),  # noqa: UP007
]


@pytest.mark.parametrize(("value", "annotation", "expected"), FITS)
def test_values_fit_what_an_annotation_says(value: Any, annotation: Any, expected: bool) -> None:
    assert fits(value, annotation) is expected


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (int, "a whole number"),
        (Optional[float], "a finite number, or null"),  # noqa: UP045
        (Iterable[int], "a list (each a whole number)"),
        (tuple[float, float], "a list of 2 (each a finite number)"),
        (Literal["a", "b"], "one of a, b"),
        (dict[str, int], "a mapping"),
        (torch.Tensor, "Tensor"),
    ],
)
def test_what_an_annotation_allows_is_said_in_words(annotation: Any, said: str) -> None:
    assert describe(annotation) == said


class Library:
    """Its annotations are text, and one is of what only type checkers import."""

    def __init__(self, money: "Decimal", steps: "Iterable[int]", rate: "float | None" = None) -> None:
        pass


def test_annotations_are_read_as_far_as_they_can_be() -> None:
    found = annotations(Library)
    assert "money" not in found
    assert found["steps"] == Iterable[int]
    assert found["rate"] == float | None
    assert fits([1], annotations(torch.optim.lr_scheduler.MultiStepLR)["milestones"])
    assert not fits([1, "x"], annotations(torch.optim.lr_scheduler.MultiStepLR)["milestones"])
    assert annotations(len) == {}


def test_leaves_of_nested_values_have_their_full_keys() -> None:
    nested = {"a": {"b": [1, {"c": 2.5}]}, "d": True, "e": "text"}
    assert dict(leaves({"a": {"b": 1}, "d": None})) == {"a.b": 1, "d": None}
    assert list(numbers(nested)) == [1, 2.5]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("num_seeds=${latent}", r"num_seeds=\$\{latent\}: must be a whole number"),
        ("noise.eval_std=${latent}", r"noise\.eval_std=\$\{latent\}: must be a list \(each a finite number\)"),
        ("data.families=${model}", r"data\.families=\$\{model\}: must be a list \(each text\), or null"),
        ("data.dt=${noise.eval_std}", r"data\.dt=\$\{noise\.eval_std\}: must be a finite number, or null"),
    ],
)
def test_a_reference_to_something_of_another_type_is_named_as_it_is_written(override: str, said: str) -> None:
    with pytest.raises(SettingError, match=rf"^{said}$"):
        settings_with(override)


def test_a_reference_to_a_value_is_that_value() -> None:
    settings = settings_with("num_seeds=${latent.dim}", "data.batch_size=${model.widths[0]}")
    assert (settings.num_seeds, settings.data.batch_size) == (5, 50)
