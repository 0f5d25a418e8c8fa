"""Blind studies: settings, pairing, a participant's way, results and their report.

Imports page.
"""
