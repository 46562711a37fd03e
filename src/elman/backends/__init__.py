"""What runs a cell over time.

``reference.py`` evaluates the traced graph with torch operations: any device, any floating-point type, every
derivative that torch can take. It is the truth that faster backends are compared with. ``bptt.py`` evaluates the
derived adjoint in the same way, and so proves the derivation against torch's own. ``philox.py`` makes random choices
that are the same on every backend.
"""
