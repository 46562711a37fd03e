"""Language model: which word, or which character, comes next?

``config.py`` holds its flags, ``model.py`` the network, ``task.py`` data, loss and metrics.
"""
