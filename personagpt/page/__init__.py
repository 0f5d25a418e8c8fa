"""The page in a browser: replies for many visitors, access, routes, static files.

Imports records and talking.
"""
