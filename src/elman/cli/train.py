"""``elman train``: from a preset or a task to a run directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, field, fields, make_dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from signal import SIGINT
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import tyro

from elman.cli.arguments import parse
from elman.errors import OptionError
from elman.tasks.configuration import LENGTHS, checked, from_mapping, read_yaml
from elman.tasks.registry import TASKS, find_preset

if TYPE_CHECKING:
    from elman.tasks.base import Task
    from elman.training import RunDirectory

__all__ = ["main", "run_training"]


def main(argv: Sequence[str]) -> int:
    """Run ``elman train PRESET|TASK [--config FILE] [--out RUN] [flags]``."""
    if not argv or argv[0] in {"-h", "--help"}:
        print(_usage())
        return 0 if argv else 2
    name, rest = argv[0], list(argv[1:])
    entry, base = find_preset(name)
    given = _value_of("--config", rest)
    if given is not None:
        mapping = {"task": entry.name, **read_yaml(Path(given))}
        if mapping["task"] != entry.name:
            raise OptionError(f"{given} is for the task {mapping['task']!r}, and {name} is {entry.name}.")
        entry, base = from_mapping(mapping, source=given, base=base)
    base = _unset(entry.config) if base is None else base
    arguments: Any = parse(_arguments(_without_length(base, rest)), rest, f"train {name}", pairs=True)
    config = checked(entry, arguments.flags)
    config = _with_absolute_paths(config)
    out = arguments.out or Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"

    from elman.tasks.runs import start_run

    return run_training(*start_run(entry, config, out))


def run_training(run: RunDirectory, task: Task[Any]) -> int:
    """Train, say how it ended, and return the exit status."""
    from rich.console import Console

    from elman.tasks.runs import train_run
    from elman.training import reporter_for

    console = Console(stderr=True)
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    for line in task.notes():
        say(line)
    summary = train_run(run, task, reporter_for(console))
    if summary.signal is not None:
        say(f"Stopped at step {summary.step:,}, saved. Go on with: elman resume {run.path}")
        return 130 if summary.signal == SIGINT else 143
    why = "Finished" if summary.outcome == "finished" else "Stopped early, no new best"
    best = ""
    if summary.best_value is not None:
        best = f"; best validation {task.monitor[0]} {summary.best_value:.4f} at step {summary.best_step:,}"
    say(f"{why} at step {summary.step:,} after {summary.seconds:.0f} s{best}.")
    say(f"Measure it on test examples: elman evaluate {run.path}")
    say(f"Look at it in TensorBoard:   elman board {run.path}")
    return 0


def _unset(config: type[Any]) -> Any:
    """A configuration of defaults, in which what has none is for the user to give."""
    needed = [field for field in fields(config) if field.default is MISSING and field.default_factory is MISSING]
    return config(**{field.name: tyro.MISSING for field in needed})


def _arguments(default: Any) -> type[Any]:
    """The flags of a task's configuration, and those of the command itself."""
    out = Annotated[
        Path | None,
        tyro.conf.arg(help="The run directory to make; none: runs/NAME-TIME."),
    ]
    file = Annotated[
        Path | None,
        tyro.conf.arg(
            help="YAML with values in place of the preset's; a run's config.yaml is one. Flags go before it."
        ),
    ]
    flags: Any = Annotated[type(default), tyro.conf.arg(name="")]
    made = make_dataclass(
        "Arguments",
        [("out", out, field(default=None)), ("config", file, field(default=None)), ("flags", flags, default)],
        kw_only=True,
        frozen=True,
    )
    made.__doc__ = type(default).__doc__
    return made


def _without_length(config: Any, argv: Sequence[str]) -> Any:
    """A length that the user types replaces the preset's, whichever unit that has."""
    typed = {length for length in LENGTHS for argument in argv if argument.partition("=")[0] == f"--{length}"}
    if not typed:
        return config
    if len(typed) > 1:
        flags = " and ".join(f"--{length}" for length in LENGTHS if length in typed)
        raise OptionError(f"{flags} both say how long to train: give one of them.")
    # The value is a placeholder that keeps the configuration valid until the flag is read.
    return replace(config, training=config.training.with_length(**{typed.pop(): 1}))


def _value_of(flag: str, argv: Sequence[str]) -> str | None:
    """The value of a flag that must be known before the others are read."""
    for k, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name == flag:
            return value if equals else next(iter(argv[k + 1 :]), None)
    return None


def _with_absolute_paths(config: Any) -> Any:
    """Paths are kept absolute, so that the run can be used from any folder; a name of data that elman knows stays."""
    from elman.data.catalogue import catalogue

    values = {field.name: getattr(config, field.name) for field in fields(config)}
    paths: dict[str, Any] = {n: v.expanduser().resolve() for n, v in values.items() if isinstance(v, Path)}
    data = Path(config.data).expanduser()
    may_be_path = get_type_hints(type(config))["data"] is str  # and not a choice of names
    if may_be_path and data.exists() and config.data not in catalogue():
        paths["data"] = str(data.resolve())
    return replace(config, **paths)


def _usage() -> str:
    lines = ["usage: elman train PRESET|TASK [flags]", "", "Train a network. PRESET or TASK:", ""]
    for task in TASKS:
        lines.append(f"  {task.command:<22}{task.summary} (needs --data)")
        lines += [f"  {name:<22}{preset.summary}" for name, preset in task.presets.items()]
    lines += ["", "elman train PRESET --help lists every flag with the preset's value."]
    return "\n".join(lines)
