"""What there is to learn: one folder a task.

====================  ==================================================================
``registry.py``        the tasks and their presets, by name; imports no torch
``base.py``            what all tasks share
``drawing.py``         recurrent layers as TensorBoard draws them
``runs.py``            a run directory and its task: make, resume, use
``classification/``    which class does a sequence belong to
====================  ==================================================================

A task is a folder with ``config.py`` (a dataclass: its fields are the flags) and ``task.py`` (data, model, loss,
metrics), and a line in the registry. Loop, checkpoints, resume, TensorBoard and commands come with it.
"""
