"""Training and evaluation scripts, the table of training recipes, and what they share."""

from kerasxai.training.recipes import RECIPES, Recipe

__all__ = ["RECIPES", "Recipe"]
