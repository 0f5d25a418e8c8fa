"""Review of recorded talks: several people label replies afterwards, and how far they agree.

Imports the recorded talks, the page and the studies.
"""
