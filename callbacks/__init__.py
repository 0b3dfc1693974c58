"""Keras callbacks that explain and measure while a model trains."""
