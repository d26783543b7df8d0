"""Ray: sessions, trials, workers."""

import os

# Ray reads this when it is imported: without it, a driver started by `uv run` makes every worker start through
# `uv run` again, each in a copy of the project with an environment of its own.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# Ray's name for "nodes on several machines", read at its import too. Without, a cluster that this process starts uses
# the loopback alone: nobody on the network can knock, and no network is needed. One that it joins is as it is.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
