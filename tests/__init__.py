"""The tests: a folder for each of the package's, and the scripts' own beside this file."""
