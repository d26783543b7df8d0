"""argv to ExperimentConfig: a preset, then a YAML file's values, then the flags, all through one parser."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
import yaml

from raysys.config import ExperimentConfig
from raysys.errors import ConfigError, UserError
from raysys.presets import PRESETS


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    config: Annotated[ExperimentConfig, tyro.conf.arg(name="")]
    preset: str = "demo"
    """demo, light, paper, or a YAML file such as a run's config.yaml; flags change its values."""
    dry_run: bool = False
    """Print the model's parts and what would run, and stop: no network, corpus or cluster is needed."""


def parse(argv: Sequence[str] | None = None, description: str = "") -> CommandLine:
    """Parse flags.

    Raises:
        ConfigError: an unknown preset or file, or a value that the configuration refuses.
        SystemExit: a flag that does not exist or does not parse (code 2), or --help (code 0).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    default, from_file = _preset(_preset_name(arguments))
    parsed: CommandLine = tyro.cli(
        CommandLine,
        args=[*from_file, *arguments],
        default=CommandLine(config=default),
        description=description,
        config=(tyro.conf.AvoidSubcommands,),
    )
    return parsed


def _preset_name(arguments: Sequence[str]) -> str:
    name = "demo"
    for i, argument in enumerate(arguments):
        if argument == "--preset" and i + 1 < len(arguments):
            name = arguments[i + 1]
        elif argument.startswith("--preset="):
            name = argument.split("=", 1)[1]
    return name


def _preset(name: str) -> tuple[ExperimentConfig, list[str]]:
    """The configuration to start from, and a YAML file's values as flags."""
    if name in PRESETS:
        return PRESETS[name](), []
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--preset {name}: expected {', '.join(PRESETS)}, or a YAML file.")
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"--preset {name}: cannot be read ({error}).") from error
    if not isinstance(values, dict):
        raise ConfigError(f"--preset {name}: expected sections such as 'train:' with values below them.")
    base = str(values.pop("preset", "paper"))
    if base not in PRESETS:
        raise ConfigError(f"--preset {name}: preset: {base!r} is none of {', '.join(PRESETS)}.")
    return PRESETS[base](), list(flags_of(values))


def flags_of(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Nested values as command-line flags."""
    for key, value in values.items():
        name = str(key).replace("_", "-")
        if isinstance(value, dict):
            yield from flags_of(value, f"{prefix}{name}.")
        elif isinstance(value, bool):
            yield f"--{prefix}{name}" if value else f"--{prefix}no-{name}"
        elif isinstance(value, list | tuple):
            yield from (f"--{prefix}{name}", *map(str, value))
        else:
            yield from (f"--{prefix}{name}", str(value))


def to_yaml(config: ExperimentConfig) -> str:
    """The whole configuration as YAML; `--preset FILE.yaml` reads it back."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, tuple) else value

    return str(yaml.safe_dump(plain(dataclasses.asdict(config)), sort_keys=False))


def main(description: str | None, run: Callable[[CommandLine], None]) -> None:
    """A job's entry point: what a user must mend is one message and exit code 2, without a traceback."""
    try:
        run(parse(description=description or ""))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoints", file=sys.stderr)
        raise SystemExit(130) from None
