"""What there is to learn: one folder a task.

=======================  ==================================================================
``registry.py``          the tasks and their presets, by name; imports no torch
``base.py``              what all tasks share
``recurrent_config.py``  what people choose about recurrent layers
``drawing.py``           recurrent layers as TensorBoard draws them
``runs.py``              a run directory and its task: make, resume, use
``sequence/``            what tasks share that answer to a sequence, once or at every step
``classification/``      which class does a sequence belong to
``language_model/``      which word comes next
``tagging/``             which tag does each word have
``memory/``              the adding and the copy problem
=======================  ==================================================================

A task is a folder with ``config.py`` (a dataclass: its fields are the flags) and ``task.py`` (data, model, loss,
metrics), and a line in the registry. Loop, checkpoints, resume, TensorBoard and commands come with it.

The names below, for programs that use what a run has learned, are imported when they are first used: importing this
package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elman.lazy import exports

if TYPE_CHECKING:
    from elman.tasks.language_model.generation import Generated, Sampling, generate
    from elman.tasks.language_model.reading import Reading, read
    from elman.tasks.language_model.scoring import ScoredWord, Scores, Totals, most_surprising, score, score_stream
    from elman.tasks.language_model.task import load_language_model
    from elman.tasks.tagging.labelling import label_sentences, label_text
    from elman.tasks.tagging.prediction import TagPrediction
    from elman.tasks.tagging.task import load_tagger

_HOME = {
    "elman.tasks.language_model.generation": ("Generated", "Sampling", "generate"),
    "elman.tasks.language_model.reading": ("Reading", "read"),
    "elman.tasks.language_model.scoring": (
        "ScoredWord",
        "Scores",
        "Totals",
        "most_surprising",
        "score",
        "score_stream",
    ),
    "elman.tasks.language_model.task": ("load_language_model",),
    "elman.tasks.tagging.labelling": ("label_sentences", "label_text"),
    "elman.tasks.tagging.prediction": ("TagPrediction",),
    "elman.tasks.tagging.task": ("load_tagger",),
}
__getattr__, __dir__ = exports(__name__, _HOME)

__all__ = [
    "Generated",
    "Reading",
    "Sampling",
    "ScoredWord",
    "Scores",
    "TagPrediction",
    "Totals",
    "generate",
    "label_sentences",
    "label_text",
    "load_language_model",
    "load_tagger",
    "most_surprising",
    "read",
    "score",
    "score_stream",
]
