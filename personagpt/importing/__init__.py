"""Other layouts -> dialogues: a module for each layout, and the table that recognises them.

Imports the ground and text.
"""
