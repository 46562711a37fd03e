"""Tagging: which tag does each word of a sentence have, or each character of a text?

``config.py`` holds its flags, ``specification.py`` what a model knows and sentences in its numbers, ``model.py`` the
network, ``task.py`` data, loss and metrics. ``labelling.py`` is a trained tagger at work, ``prediction.py`` its answer.
"""
