"""Language model: which word, or which character, comes next?

``config.py`` holds its flags, ``model.py`` the network, ``task.py`` data, loss and metrics. ``reading.py`` is what a
model knows of a text so far, ``generation.py`` writes on from there, and ``scoring.py`` says how likely a text is.
"""
