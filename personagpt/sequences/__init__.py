"""Dialogues -> token sequences -> tensor files -> batches.

Imports the ground and text.
"""
