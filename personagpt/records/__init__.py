"""Recorded talks: the database, the export as text and JSON, and publishing.

Imports the ground and text, and needs no model.
"""
