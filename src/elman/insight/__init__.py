"""What goes on inside a network.

``gradient_flow.py`` holds `gradient_flow`: how strongly a loss depends on the states of each step, so that gradients
which vanish or explode on their way back through time are seen; `fresh_flow` does it for a cell before any training.
``plot.py`` draws several of them as one picture.
"""

from elman.insight.gradient_flow import Curve, GradientFlow, fresh_flow, gradient_flow

__all__ = ["Curve", "GradientFlow", "fresh_flow", "gradient_flow"]
