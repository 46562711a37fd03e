from __future__ import annotations

from elman.cells import Cell


def test_cells_and_their_weights(elman) -> None:
    status, out, _ = elman("cells")
    assert status == 0
    rows = {line.split()[0]: line for line in out.splitlines()[1:] if line.strip()}
    assert {name for name, cell in Cell.registry.items() if cell.__module__.startswith("elman.")} <= rows.keys()
    assert f"{4 * 128 * (28 + 128 + 1):,}" in rows["lstm"]  # W, U and b of four gates
    assert f"{4 * 128 * (28 + 128 + 1) + 3 * 128:,}" in rows["peephole"]
    assert "i f g o p_i p_f p_o" in rows["peephole"]
    assert "Elman's simple recurrent network with a rectifier." in rows["rnn-relu"]
