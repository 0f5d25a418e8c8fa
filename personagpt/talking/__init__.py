"""A persona that replies, a session in the terminal, and self-play.

Imports all stations up to scoring, and records.
"""
