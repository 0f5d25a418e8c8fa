"""The optimizer step, checkpoints, resuming, logs, and the model card.

Imports all stations up to scoring.
"""
