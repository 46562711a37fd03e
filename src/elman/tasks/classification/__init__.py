"""Classification: which class does a sequence belong to?

``config.py`` holds its flags, ``model.py`` the network, ``task.py`` data, loss and metrics, ``prediction.py`` the
answers.
"""
