from __future__ import annotations

import math

import pytest
import torch

from elman.bench.parity import errors, wrong


def results(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    values = {
        "outputs": torch.tensor([[1.0, -2.0], [0.5, 0.25]], dtype=torch.float64),
        "gradient of weight": torch.tensor([10.0, -40.0], dtype=torch.float64),
    }
    return {**values, **{name.replace("_", " "): value for name, value in changes.items()}}


def off(name: str, by: float) -> dict[str, torch.Tensor]:
    """Results of which one is off by a part of its largest number."""
    changed = results()
    changed[name] = changed[name] + by * changed[name].abs().max() * torch.eye(2)[0].double()
    return changed


def test_errors_are_relative_to_the_largest_number() -> None:
    found = errors(off("gradient of weight", 0.25), results())
    assert found == {"outputs": 0.0, "gradient of weight": pytest.approx(0.25)}
    assert errors({"a": torch.tensor([0.5])}, {"a": torch.zeros(1)}) == {"a": 0.5}


@pytest.mark.parametrize(("name", "near", "far"), [("outputs", 1.9e-6, 2.1e-6), ("gradient of weight", 0.9e-5, 1.1e-5)])
def test_limits(name, near, far) -> None:
    assert wrong(off(name, near), results()) is None
    reason = wrong(off(name, far), results())
    assert reason is not None
    assert reason.startswith(f"{name} differs from the reference by {far:.2g} of its size")


def test_all_that_is_wrong_is_counted() -> None:
    got = {**off("outputs", 0.5), "gradient of weight": torch.zeros(2)}
    assert wrong(got, results()) == (
        "outputs differs from the reference by 0.5 of its size, allowed is 2e-06, and 1 more"
    )


@pytest.mark.parametrize(
    "got",
    [
        {"outputs": results()["outputs"]},
        results(outputs=torch.full((2, 2), math.nan)),
        results(outputs=torch.tensor([1.0, -2.0])),
    ],
    ids=["missing", "NaN", "shape"],
)
def test_what_is_no_number_is_wrong(got) -> None:
    assert "by inf of its size" in (wrong(got, results()) or "")


def test_a_yardstick_may_allow_more() -> None:
    assert wrong(off("outputs", 3e-6), results(), yardstick=lambda: off("outputs", 4e-6)) is None
    reason = wrong(off("outputs", 5e-6), results(), yardstick=lambda: off("outputs", 4e-6))
    assert reason == "outputs differs from the reference by 5e-06 of its size, allowed is 4e-06"


def test_the_yardstick_is_not_asked_for_nothing() -> None:
    assert wrong(results(), results(), yardstick=pytest.fail) is None
