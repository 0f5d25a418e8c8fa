"""ConvAI2 text <-> dialogues: parsing, mirrored dialogues, style, splitting, download.

Imports the ground only.
"""
