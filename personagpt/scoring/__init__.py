"""Metrics of a model, and the tables that show them.

Imports the ground, text, sequences and model.
"""
