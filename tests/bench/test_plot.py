from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ET

import pytest

from elman.bench.plot import check_target, draw
from elman.bench.report import Row
from elman.errors import MissingExtraError, OptionError


def row(work: str, share: float, peer: str | None = None, ratio: float | None = None) -> Row:
    return Row(
        work=work,
        peer=peer,
        elman_ms=1.0,
        peer_ms=ratio,
        ratio=ratio,
        share_of_peak=share,
        elman_mb=None,
        peer_mb=None,
    )


STANDING = [row("lstm", 0.7, "torch.nn", 1.3), row("lstm", 0.75, "loop", 4.5), row("gru", 0.6, "torch.nn", 3.1)]
GROWING = [row("growth-time-1", 0.1), row("growth-time-2", 0.2), row("growth-hidden-16", 0.3)]


def texts(path) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def test_ratios_and_shares_are_bars(tmp_path) -> None:
    draw(STANDING, "Some Processor", tmp_path / "rows.svg")
    said = texts(tmp_path / "rows.svg")
    assert {"1.30x torch.nn", "4.50x loop", "3.10x torch.nn"} <= {*said}
    assert {"75%", "60%"} <= {*said}
    assert "70%" not in said  # of one work the best
    assert said.count("lstm") == 2  # once in each panel
    assert "Some Processor" in said


def test_growth_is_curves(tmp_path) -> None:
    draw(GROWING, "", tmp_path / "rows.svg")
    said = texts(tmp_path / "rows.svg")
    assert {"growth-time", "growth-hidden"} <= {*said}
    assert not [text for text in said if "x torch.nn" in text]


def test_the_same_rows_are_the_same_file(tmp_path) -> None:
    for name in ("a.svg", "b.svg"):
        draw([*STANDING, *GROWING], "both", tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_other_forms(tmp_path) -> None:
    draw(STANDING, "", tmp_path / "rows.png")
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_said_before(tmp_path, monkeypatch) -> None:
    check_target(tmp_path / "rows.svg")
    with pytest.raises(OptionError, match=r"--plot must be a file that ends in \.svg or \.png or \.pdf, got rows\.gif"):
        check_target(tmp_path / "rows.gif")
    with pytest.raises(OptionError, match=r"--plot must be a file in a folder that is there, got .*nowhere"):
        check_target(tmp_path / "nowhere" / "rows.svg")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs the package matplotlib: pip install 'elman\[bench\]'"):
        check_target(tmp_path / "rows.svg")
