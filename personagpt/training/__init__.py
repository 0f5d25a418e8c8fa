"""A training run: the optimizer step, checkpoints, going on, logs, the model card."""
