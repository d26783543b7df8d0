"""One module a command: its flags, and the function that it calls. `jobs/X.py` and `raysys X` are the same."""
