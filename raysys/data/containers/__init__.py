"""How long an audio file says it is, against what is there, without decoding it: one module per family of formats.

libsndfile reads what a truncated file still contains, and only what a false header promises, both without an error.
"""
