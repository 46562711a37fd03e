"""``elman data``: list, fetch and verify data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from elman.cli.arguments import parse
from elman.data.entry import Entry, find
from elman.errors import DataError, OptionError, did_you_mean

__all__ = ["main"]

_Name = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="NAME")]]

_USAGE = """usage: elman data list | fetch NAME | verify NAME

  list    the data sets that elman knows by name, and where they are on this machine
  fetch   download one, checked
  verify  compare its files with their check sums

elman data COMMAND --help says more."""


def main(argv: Sequence[str]) -> int:
    """Run ``elman data list|fetch|verify``."""
    commands: dict[str, Callable[..., int]] = {"list": list_sets, "fetch": fetch, "verify": verify}
    if not argv or argv[0] in {"-h", "--help"}:
        print(_USAGE)
        return 0 if argv else 2
    if argv[0] not in commands:
        raise OptionError(f"There is no command 'data {argv[0]}'. {did_you_mean(argv[0], commands)}")
    return parse(commands[argv[0]], argv[1:], f"data {argv[0]}")


def list_sets() -> int:
    """List the data sets that elman knows by name, their licences, and where they are on this machine."""
    from rich.console import Console
    from rich.table import Table

    from elman.data.catalogue import catalogue

    table = Table("name", "what", "licence", "size", "here")
    for name, entry in catalogue().items():
        size = "" if entry.bundled else f"{sum(file.size for file in entry.files) / 1e6:.1f} MB"
        table.add_row(name, entry.description, entry.licence, size, _place(entry))
    Console().print(table)
    return 0


def _place(entry: Entry) -> str:
    """Where a data set is on this machine."""
    if entry.bundled:
        return "bundled"
    try:
        return str(find(entry))
    except DataError:
        return f"not yet: elman data fetch {entry.name}"


def fetch(name: _Name, *, directory: Path | None = None) -> int:
    """Download a data set from its mirrors; goes on where it was interrupted, and checks every file.

    Args:
        name: A name that `elman data list` shows.
        directory: Where to put it; none: the cache, where `elman train` looks.
    """
    from rich.console import Console

    from elman.data.catalogue import fetch as fetch_files
    from elman.training import byte_bars

    console = Console(stderr=True)
    with byte_bars(console) as progress:
        folder = fetch_files(name, directory, progress)
    where = "It comes with elman: nothing to fetch." if folder is None else f"Complete and verified: {folder}"
    console.print(where, highlight=False, soft_wrap=True)
    return 0


def verify(name: _Name, *, directory: Path | None = None) -> int:
    """Compare a data set's files with their check sums; the exit status is 2 where one is missing or differs.

    Args:
        name: A name that `elman data list` shows.
        directory: Where it is; none: where `elman train` looks.
    """
    from elman.data.catalogue import verify as verify_files

    statuses = verify_files(name, directory)
    for status in statuses:
        print(f"{status.name}: {status.status}")
    return 0 if all(status.status == "ok" for status in statuses) else 2
