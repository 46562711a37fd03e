"""Seeded faults: the guard of the tests. A part of the package, a file of rows; see ``seeding.py`` and ``forks.py``."""
