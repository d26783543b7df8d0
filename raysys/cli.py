"""Command line to ExperimentConfig: a preset, then a YAML file's values, then the flags, all through one parser."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import docstring_parser
import tyro

from raysys.config import ExperimentConfig
from raysys.errors import ConfigError, UserError
from raysys.presets import PRESETS
from raysys.termination import came, handle, raise_terminated
from raysys.yaml_file import flags_of, read_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    config: Annotated[ExperimentConfig, tyro.conf.arg(name="")]
    preset: str = "demo"
    """demo, demo-short, light, frozen, paper, or a YAML file such as a run's config.yaml; flags override its values."""
    dry_run: bool = False
    """Print the model's parts and what would run, then exit; needs no network or cluster, and no corpus but a table."""


CORPUS_ROOT = "RAYSYS_CORPUS_ROOT"
"""Environment variable for the default of --corpus.root."""
TERMINATED = 75
"""Exit code after SIGTERM: retry (EX_TEMPFAIL in sysexits.h)."""

Command = TypeVar("Command", bound=CommandLine)


def parse(
    argv: Sequence[str] | None = None,
    description: str = "",
    kind: type[Command] = CommandLine,  # type: ignore[assignment]
    preset: str = "demo",
    shown: Callable[[ExperimentConfig, str], Any] | None = None,
) -> Command:
    """Parse flags.

    Args:
        argv: by default, the process's.
        kind: a job's own command line.
        preset: the default of --preset.
        shown: given the preset's configuration and name, what --help lists, if a job accepts more flags than it uses.

    Raises:
        ConfigError: an unknown preset or file, or an invalid value.
        SystemExit: an unknown or malformed flag (code 2), or --help (code 0).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = _preset_name(arguments, preset)
    default = _read_preset(name, kind, preset)
    if shown is not None and {"-h", "--help"} & {*arguments}:
        listed = shown(default.config, name)
        _unwrap_help(type(listed))
        tyro.cli(
            type(listed),
            args=["--help"],
            default=listed,
            description=description,
            config=(tyro.conf.AvoidSubcommands,),
        )
    _unwrap_help(kind)
    parsed: Command = tyro.cli(
        kind,
        args=arguments,
        default=_without_its_name(default, name, arguments),
        description=description,
        config=(tyro.conf.AvoidSubcommands,),
    )
    return parsed


def _without_its_name(default: Command, preset: str, arguments: Sequence[str]) -> Command:
    """A run's own config.yaml with other flags is another run: it must not go into the folder of the first.

    The same run is still resumed by it, alone or with flags that say where and how it runs.
    """
    config = default.config
    if config.run.name is None or Path(preset).resolve().parent.name != config.run.name:
        return default
    sections = ("--run.", "--cluster.", "--track.", "--preset", "--dry-run")
    if all(flag.startswith(sections) for flag in arguments if flag.startswith("--")):
        return default
    return dataclasses.replace(
        default, config=dataclasses.replace(config, run=dataclasses.replace(config.run, name=None))
    )


def _unwrap_help(kind: type[Any]) -> None:
    """Give tyro each field's text as one line, which it wraps to the terminal; otherwise it keeps our line breaks."""
    texts = {doc.arg_name: doc.description or "" for doc in docstring_parser.parse_from_object(kind).params}
    for field in dataclasses.fields(kind):
        if field.name in texts:
            field.metadata = {"help": " ".join(texts[field.name].split())}  # type: ignore[assignment]
    for inner in get_type_hints(kind).values():
        if dataclasses.is_dataclass(inner) and isinstance(inner, type):
            _unwrap_help(inner)


def given(flag: str) -> bool:
    """Whether the process's command line has a flag, whatever its value."""
    return any(word.split("=", 1)[0] == flag for word in sys.argv[1:])


def with_flags(config: ExperimentConfig, flags: Sequence[str], where: str) -> ExperimentConfig:
    """A configuration with some values changed by the command line's parser.

    Args:
        flags: such as ["--loss.alpha", "0.1"].
        where: where the flags come from, for error messages.

    Raises:
        ConfigError: an unknown flag, or an invalid value.
    """
    return _with_flags(CommandLine(config=config), flags, where).config


def _with_flags(command: Command, flags: Sequence[str], where: str) -> Command:
    """As `with_flags`, for a job's own command line."""
    own = {f.name.replace("_", "-") for f in dataclasses.fields(command)} - {"config"}
    known = {name for name, _ in _leaves(command.config)} | own
    for flag in flags:
        name = flag.removeprefix("--").split("=", 1)[0]
        if flag.startswith("--") and name.replace("no-", "", 1) not in known and name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1)
            raise ConfigError(f"{where}: unknown flag --{name}{f'; did you mean --{close[0]}?' if close else '.'}")
    try:
        return _quietly(command, flags)
    except SystemExit:
        odd = next(filter(lambda part: not _parses(command, part), _by_flag(flags)), flags)
        raise ConfigError(f"{where}: cannot parse {' '.join(odd)}; see --help for the values of each flag.") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _quietly(command: Command, flags: Sequence[str]) -> Command:
    """Parse flags without the parser's own message, a box for the whole command line."""
    with contextlib.redirect_stderr(io.StringIO()):
        parsed: Command = tyro.cli(
            type(command), args=list(flags), default=command, config=(tyro.conf.AvoidSubcommands,)
        )
    return parsed


def _parses(command: Command, flags: Sequence[str]) -> bool:
    try:
        _quietly(command, flags)
    except SystemExit:
        return False
    except ConfigError:
        # A value of the right type, which others contradict.
        return True
    return True


def _by_flag(flags: Sequence[str]) -> list[list[str]]:
    """Each flag with its values."""
    parts: list[list[str]] = []
    for word in flags:
        if word.startswith("--") or not parts:
            parts.append([])
        parts[-1].append(word)
    return parts


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a configuration with the name of its flag."""
    for field in dataclasses.fields(value):
        name, inner = prefix + field.name.replace("_", "-"), getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            yield from _leaves(inner, f"{name}.")
        else:
            yield name, inner


def _with_corpus_root(config: ExperimentConfig) -> ExperimentConfig:
    root = config.corpus.root or os.environ.get(CORPUS_ROOT) or None
    return dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, root=root))


def _preset_name(arguments: Sequence[str], name: str) -> str:
    for i, argument in enumerate(arguments):
        if argument == "--preset" and i + 1 < len(arguments):
            name = arguments[i + 1]
        elif argument.startswith("--preset="):
            name = argument.split("=", 1)[1]
    return name


def _read_preset(name: str, kind: type[Command], preset: str) -> Command:
    """What a preset's name or a file says, before any flag.

    Raises:
        ConfigError: neither exists, or the file has a key or value that no flag has; names the file and the key.
    """
    if name in PRESETS:
        return kind(config=_with_corpus_root(PRESETS[name]()), preset=name)
    if Path(name).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--preset {name}: expected {', '.join(PRESETS)}, or a YAML file.")
    values = read_yaml(name)
    base = str(values.pop("preset", preset))
    if base not in PRESETS:
        raise ConfigError(f"--preset {name}: unknown preset {base!r}; expected one of {', '.join(PRESETS)}.")
    start = kind(config=_with_corpus_root(PRESETS[base]()), preset=name)
    try:
        flags = list(flags_of(values))
    except RecursionError:
        raise ConfigError(
            f"--preset {name}: an alias (*) refers to a value that contains it. Write the values out."
        ) from None
    return _with_flags(start, flags, f"--preset {name}")


def main(
    description: str | None,
    run: Callable[[Command], None],
    kind: type[Command] = CommandLine,  # type: ignore[assignment]
    preset: str = "demo",
    shown: Callable[[ExperimentConfig, str], Any] | None = None,
) -> None:
    """A job's entry point: parse its command line (see `parse`) and run it, with the exit codes of `exit_codes`."""
    with exit_codes():
        command = parse(description=description or "", kind=kind, preset=preset, shown=shown)
        # Imported once the flags are known to be right, and before torch and Ray, which take seconds.
        from raysys.corpora.read import look
        from raysys.data.recordings import look_for_recordings

        look(command.config.corpus)
        look_for_recordings(command.config.augment)
        run(command)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Report a user error as one message with exit code 2; Ctrl-C exits with 130, SIGTERM with 75. No tracebacks."""
    handle(raise_terminated)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that is not UTF-8 shows an escape for what it lacks, such as a speaker's name.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output (`| head`) has left. Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        if came():
            print("stopped by SIGTERM; the same command resumes where it stopped", file=sys.stderr)
            raise SystemExit(TERMINATED) from None
        print("stopped; the same command resumes where it stopped", file=sys.stderr)
        raise SystemExit(130) from None
