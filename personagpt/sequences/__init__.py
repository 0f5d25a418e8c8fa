"""Dialogues -> token sequences -> tensor files -> batches."""
