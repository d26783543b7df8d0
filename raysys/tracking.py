"""Experiment tracking: Weights & Biases, or none. The only file that imports wandb.

It is imported when a run starts: the import takes half a second, and not every process tracks a run.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import SplitResult, urlsplit

from raysys.errors import ConfigError
from raysys.proxy import why_unreachable
from raysys.storage import Folder

log = logging.getLogger(__name__)

_REACH_S = 3.0
"""How long to wait for the server before a run is tracked offline."""
_BEGIN_S = 20.0
"""How long a server that answers may take to start a run, before it is tracked offline."""
_FINISH_S = 30.0
"""How long the end of a trial waits for uploads to finish."""
_CALL_S = 90.0
"""Limit for any W&B call, including all of the above: if its own process does not start, W&B has been seen to wait for
it forever."""


DEFAULT_PROJECT = "raysys"
_LONGEST_NAME = 128
_NOT_IN_A_NAME = "/\\#?%:"


def check_names(project: str) -> None:
    """Refuse what W&B would refuse when a trial starts, which would lose its tracking.

    Raises:
        ConfigError: the project, or the entity in the environment, is not a name.
    """
    names = {"--track.project (or WANDB_PROJECT)": project, "WANDB_ENTITY": os.environ.get("WANDB_ENTITY", "")}
    for what, name in names.items():
        if set(name) & set(_NOT_IN_A_NAME) or len(name) > _LONGEST_NAME:
            raise ConfigError(
                f"{what} is {name!r}; expected a name of at most {_LONGEST_NAME} characters, without any of "
                f"{' '.join(_NOT_IN_A_NAME)}."
            )


class Tracker(Protocol):
    """Receives metrics once per epoch and a summary at the end; never raises, never stops a training.

    Attributes:
        notes: for the user, on what is not tracked as expected.
    """

    notes: list[str]

    def epoch(self, metrics: Mapping[str, float], epoch: int) -> None: ...

    def finish(self, summary: Mapping[str, Any], classes: Sequence[str]) -> None: ...


class NoTracker:
    """Tracks nothing."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def epoch(self, metrics: Mapping[str, float], epoch: int) -> None:
        pass

    def finish(self, summary: Mapping[str, Any], classes: Sequence[str]) -> None:
        pass


class WandbTracker:
    """One Weights & Biases run per trial, grouped by experiment.

    Offline unless WANDB_API_KEY is set and the server answers and starts a run in time; WANDB_MODE overrides this.
    Upload an offline run with `wandb sync` on its folder. The first error from W&B is noted, and tracking stops.

    Args:
        folder: absolute local folder for the run's files.
        run_id: stable, so that a resumed trial continues the same run.
        job_type: 'trial', or 'summary' for the run with a sweep's table.
    """

    _open: ClassVar[WandbTracker | None] = None
    _offline: ClassVar[str] = ""
    """Why an earlier trial of this process was kept offline, after waiting for the server: do not wait for it again."""
    _stuck: ClassVar[bool] = False
    """A call in this process never returned and still holds W&B's locks: make no more calls."""

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
        self.notes: list[str] = []

        def begin() -> None:
            import wandb

            mode = self._mode()
            # A trial that was stopped or failed never closed its run, and its process is reused for the next trial.
            if WandbTracker._open is not None:
                WandbTracker._open._close()
            Path(folder).mkdir(parents=True, exist_ok=True)
            # Tables wait here for upload. The default is the user's home, which a container may not have.
            os.environ.setdefault("WANDB_DATA_DIR", f"{folder}/wandb")
            try:
                self._run = open_run(mode)
            except wandb.Error as error:
                if mode != "online":
                    raise
                WandbTracker._offline = _without_login(error)
                self._keep_offline(WandbTracker._offline)
                # W&B's process still holds the run it could not start, and refuses a second one with its id.
                wandb.teardown()
                self._run = open_run("offline")
            WandbTracker._open = self

        def open_run(mode: Any) -> Any:
            import wandb

            # `init` sends telemetry according to the process's settings, before it reads its own.
            wandb.setup(wandb.Settings(mode=mode))
            return wandb.init(
                project=project,
                group=group[:_LONGEST_NAME],
                job_type=job_type,
                name=name[:_LONGEST_NAME],
                id=run_id,
                resume="allow" if mode == "online" else None,
                dir=folder,
                config=dict(config),
                mode=mode,
                # The default of `init` would return a run that is still open.
                reinit="create_new",
                settings=wandb.Settings(silent=True, init_timeout=_BEGIN_S, x_disable_stats=True, console="off"),
            )

        self._guard(begin)

    def epoch(self, metrics: Mapping[str, float], epoch: int) -> None:
        self._guard(lambda: self._run and self._run.log(dict(metrics) | {"epoch": epoch}, step=epoch))

    def finish(self, summary: Mapping[str, Any], classes: Sequence[str]) -> None:
        """Log final scores and, if given, a confusion matrix, and end the run."""

        def end() -> None:
            plain = {name: value for name, value in summary.items() if name != "confusion"}
            self._run.summary.update(plain)
            if "confusion" in summary:
                self._run.log({"confusion": _confusion_plot(summary["confusion"], classes)})
            self._close()

        if self._run is not None:
            self._guard(end)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
        """Log a table of uniform rows and a summary, and end the run."""

        def end() -> None:
            import wandb

            columns = list(rows[0])
            self._run.summary.update(dict(summary))
            self._run.log({name: wandb.Table(columns=columns, data=[[row[c] for c in columns] for row in rows])})
            self._close()

        if self._run is not None and rows:
            self._guard(end)

    def _close(self) -> None:
        """End the run without waiting for a server that no longer answers."""
        WandbTracker._open = None
        if self._run is None:
            return
        thread = threading.Thread(target=self._try, args=(self._run.finish,), daemon=True)
        thread.start()
        thread.join(_FINISH_S)
        if thread.is_alive():
            self._note(f"Weights & Biases took more than {_FINISH_S:.0f} s to end a run; continuing without waiting")

    def _guard(self, action: Callable[[], Any]) -> None:
        """Run the action in a separate thread, which is abandoned if W&B does not return."""
        if WandbTracker._stuck:
            return
        thread = threading.Thread(target=self._try, args=(action,), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the limit of threads is reached
            self._leave_out(error)
            return
        thread.join(_CALL_S)
        if thread.is_alive():
            WandbTracker._stuck = True
            self._leave_out(TimeoutError(f"no answer for {_CALL_S:g} s"))

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        # W&B exits the program if its own process failed: in this thread, that would go unnoticed.
        except BaseException as error:
            self._leave_out(error)

    def _leave_out(self, error: BaseException) -> None:
        self._note(f"tracking with Weights & Biases stopped: {_without_login(error)}")
        self._run = None

    def _mode(self) -> Any:
        """online, offline, or the value of WANDB_MODE.

        Raises:
            ValueError: WANDB_BASE_URL is not a valid address, with which W&B refuses even an offline run.
        """
        server = _server()
        if WandbTracker._offline:
            self.notes.append(_offline_note(WandbTracker._offline))
            return "offline"
        if wanted := os.environ.get("WANDB_MODE"):
            return wanted
        if not os.environ.get("WANDB_API_KEY"):
            return "offline"
        if (why := why_unreachable(server, _REACH_S)) is None:
            return "online"
        self._keep_offline(_without_login(why))
        return "offline"

    def _keep_offline(self, why: str) -> None:
        self._note(_offline_note(why))

    def _note(self, text: str) -> None:
        log.warning("%s", text)
        self.notes.append(text)


def wandb_folder(run: Folder) -> str:
    """Where a run's W&B files are stored: with the run if that is on a disk, otherwise on this machine."""
    return run.path if run.is_local else str(Path(tempfile.gettempdir()) / "raysys-wandb")


def _offline_note(why: str) -> str:
    return f"Weights & Biases: kept offline, because {why.rstrip('.')}; upload it later with `wandb sync`"


def _server() -> SplitResult:
    import wandb

    address = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    try:
        wandb.Settings(base_url=address)
        return urlsplit(address)
    # W&B's error and its cause would repeat the address, including any password.
    except ValueError:
        raise ValueError("WANDB_BASE_URL is not a server's address; expected one such as http://host:8080.") from None


def _without_login(said: object) -> str:
    """A message with user names and passwords removed from its addresses."""
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
