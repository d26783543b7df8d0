"""One module per command: its flags and the function it calls. `jobs/X.py` and `raysys X` are equivalent."""
