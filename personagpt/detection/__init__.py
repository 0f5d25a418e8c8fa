"""Program or person? The sides of talks, their markers, and detectors that learn from them.

Imports all stations up to scoring, and records.
"""
