"""Other layouts -> dialogues: a module for each layout, the table that recognises them, the steps of all talks.

Imports the ground and text.
"""
