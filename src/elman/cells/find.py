"""From what a user types to a cell class."""

from __future__ import annotations

import importlib
import sys

from elman.cells.cell import Cell
from elman.errors import OptionError, did_you_mean

__all__ = ["find"]


def find(name: str) -> type[Cell]:
    """Return the cell class of a name on the command line, or of ``module:Class``.

    The module of ``module:Class`` is looked for as Python's own ``-m`` does: also in the current folder.

    Raises:
        OptionError: there is no such cell; the message names the nearest one.

    Example:
        >>> find("gru")
        <class 'elman.cells.gru.GRUCell'>
    """
    if ":" not in name:
        if name not in Cell.registry:
            known = did_you_mean(name, Cell.registry)
            raise OptionError(f"There is no cell {name!r}. {known} A cell of your own: my_module:MyCell.")
        return Cell.registry[name]
    module_name, _, class_name = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0]:
            raise  # the user's module is there; what it imports is not
        raise OptionError(
            f"There is no module {module_name!r} for the cell {name!r} here or among the packages."
        ) from None
    cell = getattr(module, class_name, None)
    if not (isinstance(cell, type) and issubclass(cell, Cell)):
        cells = [k for k, v in vars(module).items() if isinstance(v, type) and issubclass(v, Cell) and v is not Cell]
        raise OptionError(f"{module_name} has no cell {class_name!r}. {did_you_mean(class_name, cells)}")
    return cell
