"""Loading a model, its forward pass and loss, and the replies that it makes.

Imports the ground, text and sequences.
"""
