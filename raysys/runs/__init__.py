"""Ray: sessions, trials, workers."""

import os

# Ray reads this when it is imported: without it, a driver started by `uv run` makes every worker start through
# `uv run` again, each in a copy of the project with an environment of its own.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
