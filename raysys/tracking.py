"""Keeping a trial's course: Weights & Biases, or nothing. The one file that imports wandb.

It does so where a run begins: the import takes half a second of every process, and not every one keeps a run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import SplitResult, urlsplit

from raysys.storage import Folder

log = logging.getLogger(__name__)

_REACH_S = 3.0
"""How long the server may take to answer before a run is kept offline."""
_BEGIN_S = 20.0
"""How long a server that answered may take to begin a run, before the run is kept offline."""
_FINISH_S = 30.0
"""How long the end of a trial waits for the rest of an upload."""
_CALL_S = 90.0
"""How long anything that W&B is asked may take, all of the above included: where its own process does not start, it has
been seen to wait for itself for ever."""


class Tracker(Protocol):
    """Takes metrics once an epoch and a summary at the end; never raises, never stops a training."""

    def epoch(self, metrics: Mapping[str, float], epoch: int) -> None: ...

    def finish(self, summary: Mapping[str, Any], classes: Sequence[str]) -> None: ...


class NoTracker:
    """Keeps nothing."""

    def epoch(self, metrics: Mapping[str, float], epoch: int) -> None:
        pass

    def finish(self, summary: Mapping[str, Any], classes: Sequence[str]) -> None:
        pass


class WandbTracker:
    """One Weights & Biases run a trial, grouped by experiment.

    Offline unless WANDB_API_KEY is set, its server answers and begins a run in time, and WANDB_MODE does not say
    otherwise: `wandb sync` of the folder is then all that is left to do. What W&B raises is logged once, and tracking
    ends there.

    Args:
        folder: absolute local folder for the run's files.
        run_id: stable, so that a resumed trial goes on in the same run.
        job_type: 'trial', or 'summary' for the run that holds a sweep's table.
    """

    _open: ClassVar[WandbTracker | None] = None
    _too_slow: ClassVar[bool] = False
    """Its server took too long for a trial of this process before: no other waits for it."""
    _stuck: ClassVar[bool] = False
    """A call of this process never came back, with W&B's own locks in its hands: nothing more is asked."""

    def __init__(
        self,
        *,
        project: str,
        group: str,
        name: str,
        run_id: str,
        folder: str,
        config: Mapping[str, Any],
        job_type: str = "trial",
    ) -> None:
        self._run: Any = None

        def begin() -> None:
            import wandb

            mode = _mode()
            # A trial that was stopped or failed never ended its run, and its process goes on with the next trial.
            if WandbTracker._open is not None:
                WandbTracker._open._close()
            Path(folder).mkdir(parents=True, exist_ok=True)
            # Tables wait here for their upload. By default in the user's home, which a container may not have.
            os.environ.setdefault("WANDB_DATA_DIR", f"{folder}/wandb")
            try:
                self._run = open_run(mode)
            except wandb.Error as error:
                if mode != "online":
                    raise
                log.warning("%s: this run is kept offline, for `wandb sync`.", _without_login(error))
                # W&B's process holds the run that it could not begin, and refuses a second one of its id.
                WandbTracker._too_slow = True
                wandb.teardown()
                self._run = open_run("offline")
            WandbTracker._open = self

        def open_run(mode: Any) -> Any:
            import wandb

            # `init` tells its makers of itself by the settings of the process, before it looks at its own.
            wandb.setup(wandb.Settings(mode=mode))
            return wandb.init(
                project=project,
                group=group,
                job_type=job_type,
                name=name,
                id=run_id,
                resume="allow" if mode == "online" else None,
                dir=folder,
                config=dict(config),
                mode=mode,
                # By default `init` would give back a run that is still open.
                reinit="create_new",
                settings=wandb.Settings(silent=True, init_timeout=_BEGIN_S, x_disable_stats=True, console="off"),
            )

        self._guard(begin)

    def epoch(self, metrics: Mapping[str, float], epoch: int) -> None:
        self._guard(lambda: self._run and self._run.log(dict(metrics) | {"epoch": epoch}, step=epoch))

    def finish(self, summary: Mapping[str, Any], classes: Sequence[str]) -> None:
        """Keep final scores, a confusion matrix where there is one, and end the run."""

        def end() -> None:
            plain = {name: value for name, value in summary.items() if name != "confusion"}
            self._run.summary.update(plain)
            if "confusion" in summary:
                self._run.log({"confusion": _confusion_plot(summary["confusion"], classes)})
            self._close()

        if self._run is not None:
            self._guard(end)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
        """Keep a table of equal rows beside a summary, and end the run."""

        def end() -> None:
            import wandb

            columns = list(rows[0])
            self._run.summary.update(dict(summary))
            self._run.log({name: wandb.Table(columns=columns, data=[[row[c] for c in columns] for row in rows])})
            self._close()

        if self._run is not None and rows:
            self._guard(end)

    def _close(self) -> None:
        """End the run; a server that answers no more holds nobody up."""
        WandbTracker._open = None
        if self._run is None:
            return
        thread = threading.Thread(target=self._try, args=(self._run.finish,), daemon=True)
        thread.start()
        thread.join(_FINISH_S)
        if thread.is_alive():
            log.warning("Weights & Biases takes more than %.0f s to end a run; going on without waiting.", _FINISH_S)

    def _guard(self, action: Callable[[], Any]) -> None:
        """Do it in a thread of its own, which is left where it is if W&B does not come back."""
        if WandbTracker._stuck:
            return
        thread = threading.Thread(target=self._try, args=(action,), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # so many threads, and no more
            self._leave_out(error)
            return
        thread.join(_CALL_S)
        if thread.is_alive():
            WandbTracker._stuck = True
            self._leave_out(TimeoutError(f"no answer for {_CALL_S:g} s"))

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        # W&B ends the program where its own process ended badly: in this thread that would go unnoticed.
        except BaseException as error:
            self._leave_out(error)

    def _leave_out(self, error: BaseException) -> None:
        log.warning("Weights & Biases is left out from here on: %s", _without_login(error))
        self._run = None


def wandb_folder(run: Folder) -> str:
    """Where a run's W&B files are stored: beside the run if that is on a disk, otherwise on this machine."""
    return run.path if run.is_local else str(Path(tempfile.gettempdir()) / "raysys-wandb")


def _mode() -> Any:
    """online, offline, or what WANDB_MODE says.

    Raises:
        ValueError: WANDB_BASE_URL is no address, so that W&B takes not even a run that is kept offline.
    """
    server = _server()
    if WandbTracker._too_slow:
        return "offline"
    if wanted := os.environ.get("WANDB_MODE"):
        return wanted
    if not os.environ.get("WANDB_API_KEY"):
        return "offline"
    # Names that are none are ValueErrors.
    with contextlib.suppress(OSError, ValueError):
        port = server.port or (443 if server.scheme == "https" else 80)
        socket.create_connection((server.hostname or "", port), timeout=_REACH_S).close()
        return "online"
    log.warning("%s does not answer: this run is kept offline, for `wandb sync`.", _without_login(server.geturl()))
    return "offline"


def _server() -> SplitResult:
    import wandb

    address = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    try:
        wandb.Settings(base_url=address)
        return urlsplit(address)
    # W&B's error and its cause would repeat the address, and a password in it.
    except ValueError:
        raise ValueError("WANDB_BASE_URL is no address of a server; expected one such as http://host:8080.") from None


def _without_login(said: object) -> str:
    """A message without the user and password of the addresses in it."""
    return re.sub(r"//[^/\s]*@", "//", str(said))


def _confusion_plot(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Any:
    """W&B's own confusion matrix chart, from counts."""
    import wandb

    rows = [
        [true, predicted, n]
        for true, counts in zip(classes, confusion, strict=True)
        for predicted, n in zip(classes, counts, strict=True)
    ]
    table = wandb.Table(columns=["Actual", "Predicted", "nPredictions"], data=rows)
    fields = {name: name for name in ("Actual", "Predicted", "nPredictions")}
    return wandb.plot_table("wandb/confusion_matrix/v1", table, fields, {"title": "Confusion matrix"})
