from __future__ import annotations

import pytest
import torch

from elman.errors import ShapeError
from elman.tasks.sequence.config import SequenceModelConfig
from elman.tasks.sequence.model import SequenceModel


def make(readout: str, **config: object) -> SequenceModel:
    fields = {"hidden_size": 5, "num_layers": 2, "bidirectional": True} | config
    return SequenceModel(SequenceModelConfig(**fields), 3, 4, readout=readout, scale=0.5).double().eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("lengths", [None, torch.tensor([6, 2])])
def test_every_step_is_read_out(lengths: torch.Tensor | None) -> None:
    model, x = make("steps"), torch.randn(2, 6, 3, dtype=torch.float64)
    outputs, _ = model.recurrent(0.5 * x, lengths=lengths)
    expected = outputs @ model.readout.weight.T + model.readout.bias
    torch.testing.assert_close(model(x, lengths), expected, rtol=0, atol=1e-13)


def test_the_end_is_that_of_the_last_step() -> None:
    """Of one direction the three readouts agree where a sequence ends."""
    models = {name: make(name, bidirectional=False) for name in ("steps", "final", "last")}
    for model in models.values():
        model.load_state_dict(models["steps"].state_dict())
    x, lengths = torch.randn(3, 6, 3, dtype=torch.float64), torch.tensor([6, 1, 4])
    ends = models["steps"](x, lengths)[torch.arange(3), lengths - 1]
    for name in ("final", "last"):
        torch.testing.assert_close(models[name](x, lengths), ends, rtol=0, atol=1e-13)


def test_wrong_shape() -> None:
    with pytest.raises(ShapeError, match=r"SequenceModel: x must be \(batch, time, features=3\), got \(2, 6, 4\)"):
        make("steps")(torch.zeros(2, 6, 4))
