"""The layouts that can be imported, a module each. personagpt/importing/table.py lists them and says what a module has.

Imports importing's shared modules, text and the ground.
"""
