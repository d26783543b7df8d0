"""The command line: one parser, one kind of error, and a written configuration that reads back."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysys import cli
from raysys.cli import CommandLine
from raysys.config import ClusterConfig, CorpusConfig, ExperimentConfig, LossConfig, RunConfig, TrackConfig, TrainConfig
from raysys.errors import ConfigError, CorpusError
from raysys.presets import PRESETS
from raysys.yaml_file import to_yaml

ROOT = Path(__file__).resolve().parents[1]


def parse(*arguments: str) -> ExperimentConfig:
    return cli.parse(list(arguments)).config


def read_back(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    path = folder / "config.yaml"
    path.write_text(to_yaml(config))
    return parse("--preset", str(path))


def test_flags_change_single_values_of_a_preset() -> None:
    config = parse("--preset", "light", "--train.epochs", "3", "--model.no-ccb1", "--run.name", "x")
    light = PRESETS["light"]()
    assert config == replace(
        light,
        train=replace(light.train, epochs=3),
        model=replace(light.model, ccb1=False),
        run=replace(light.run, name="x"),
    )


def test_without_flags_it_is_the_demo() -> None:
    assert cli.parse([]) == CommandLine(config=PRESETS["demo"]())
    assert cli.parse(["--dry-run"]).dry_run


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["--train.epoch", "3"], "--train.epochs"),
        (["--los.alpha", "3"], "--loss.alpha"),
        (["--corpus.nfolds", "3"], "--corpus.n-folds"),
    ],
)
def test_a_typo_is_refused_with_a_suggestion(
    arguments: list[str], suggestion: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(*arguments)
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert arguments[0] in shown.err + shown.out
    assert suggestion in (shown.err + shown.out).split("Perhaps you meant")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--train.epochs", "many"],
        ["--corpus.name", "iemocop"],
        ["--augment.noise-snr-db", "3"],
        ["--train.select", "f1"],
    ],
)
def test_a_value_of_another_type_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(*arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        "--train.epochs 0",
        "--train.batch-size -1",
        "--train.accumulate 0",
        "--train.max-steps 0",
        "--train.crop-s 0",
        "--train.crop-s inf",
        "--train.text-dropout 1.5",
        "--loss.alpha -0.1",
        "--loss.beta nan",
        "--loss.temperature 0",
        "--loss.label-smoothing 1",
        "--optim.lr -1",
        "--optim.encoder-lr -1",
        "--optim.warmup 1",
        "--optim.clip-norm 0",
        "--model.width 100",
        "--model.width 0",
        "--model.heads 0",
        "--model.feed-forward 0",
        "--model.dropout 1",
        "--corpus.n-folds 1",
        "--corpus.max-duration-s 0",
        "--corpus.emotion-map happy",
        "--corpus.folds emobox",
        "--corpus.name iemocap",
        "--augment.noise-snr-db 30 10",
        "--augment.noise-snr 20 5",
        "--augment.gain -1",
        "--augment.gain 61",
        "--cluster.workers-per-trial 0",
        "--cluster.cpus-per-worker 0",
        "--cluster.data-cpus-per-worker 0",
        "--cluster.gpus-per-worker -1",
        "--cluster.max-concurrent-trials 0",
    ],
)
def test_a_value_that_cannot_be_used_is_one_line_naming_the_flag(arguments: str) -> None:
    flag = arguments.split()[0]
    with pytest.raises(ConfigError) as error:
        parse("--preset", "paper", *arguments.split())
    message = str(error.value)
    assert flag in message and "\n" not in message


def test_a_model_in_which_nothing_reaches_the_bigru_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--model\.ccb1 and --model\.ccb2"):
        parse("--model.no-ccb1", "--model.no-ccb2")


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_written_as_yaml_reads_back(preset: str, tmp_path: Path) -> None:
    assert read_back(PRESETS[preset](), tmp_path) == PRESETS[preset]()


def other(value: Any, kind: str) -> Any:
    """Another value of a field's type."""
    match value:
        case bool():
            return not value
        case int():
            return value + 2
        case float():
            # A number whose format YAML might change.
            return value + 1 / 3 * 1e-5
        case str():
            return f"{value} b"
        case ():
            return ("b=c", "a=", "1e5=no")
        case (float(), float()):
            return (-5.0, 12.25)
    return "null b" if "str" in kind else 3


def changed_everywhere() -> ExperimentConfig:
    """Every field of every section, with a value other than its default."""
    choices: dict[str, Any] = {
        "corpus.name": "table",
        # Belongs to EmoBox's metadata.
        "corpus.audio_root": None,
        # Belongs to CREMA-D.
        "corpus.labels": "acted",
        "corpus.folds": "groups",
        "corpus.modalities": "both",
        "corpus.test_modalities": "audio",
        "corpus.on_error": "skip",
        "corpus.same_names": "keep",
        "augment.cbca": "unconditional",
        "model.weights": "random",
        "model.layer": "weighted_sum",
        "model.bigru": "per_stream",
        "loss.scl": "supcon",
        "loss.scl_scale": "unit",
        # Penalises norms, which unit vectors do not have.
        "loss.l2": 0.0,
        "loss.heads": "per_task",
        "loss.labels": "votes",
        # Contradicts votes.
        "loss.focal": 0.0,
        "loss.acl_negatives": "other_classes",
        "loss.cpc": "none",
        "loss.class_weights": "balanced",
        "train.sampling": "balanced",
        "train.select": "macro_f1",
        "model.freeze_audio": "none",
        "model.adapt": "lora",
        # Contradicts adapters.
        "model.unfreeze_top": 0,
        "optim.layer_decay": 0.5,
        "model.freeze_text": "all",
        "model.pooling": "attention",
        "model.pool_frames": 2,
        "model.ccb1": True,
        "model.width": 384,
        "model.heads": 8,
    }
    sections = {}
    for section in dataclasses.fields(ExperimentConfig):
        default = section.default_factory()  # type: ignore[misc]
        values = {
            field.name: choices.get(
                f"{section.name}.{field.name}", other(getattr(default, field.name), str(field.type))
            )
            for field in dataclasses.fields(default)
        }
        sections[section.name] = type(default)(**values)
    return ExperimentConfig(**sections)


def test_every_field_of_every_type_reads_back_from_yaml(tmp_path: Path) -> None:
    config = changed_everywhere()
    default = ExperimentConfig()
    for section in dataclasses.fields(ExperimentConfig):
        assert getattr(config, section.name) != getattr(default, section.name)
    assert read_back(config, tmp_path) == config


@pytest.mark.parametrize("name", ["-x", "--corpus.n-folds", "-5", "- a"])
def test_a_value_that_begins_like_a_flag_reads_back(name: str, tmp_path: Path) -> None:
    config = ExperimentConfig(run=RunConfig(name=name))
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert cli.parse(["--preset", str(tmp_path / "config.yaml")]).config.run.name == name


@pytest.mark.parametrize("root", ["my.csv", "MY.CSV", "/data/my.parquet"])
def test_a_root_that_ends_like_a_table_is_one(root: str) -> None:
    """Without this the demo would be trained on in its place."""
    assert cli.parse(["--corpus.root", root]).config.corpus == CorpusConfig(name="table", root=root)
    assert cli.parse(["--corpus.root", "/data/IEMOCAP"]).config.corpus.name == "demo"
    grouped = cli.parse(["--corpus.root", root, "--corpus.n-folds", "7"])
    assert grouped.config.corpus.n_folds == 7, "a table of many speakers is grouped by default"


@pytest.mark.parametrize("flag", ["--loss.alpha", "--loss.temperature", "--optim.lr", "--optim.weight-decay"])
def test_an_infinite_rate_weight_or_temperature_is_refused(flag: str) -> None:
    with pytest.raises(ConfigError, match=rf"{flag} is inf"):
        cli.parse([flag, "inf"])


def test_a_reader_that_leaves_and_a_terminal_without_the_letters_end_in_no_traceback() -> None:
    code = "from raysys.cli import exit_codes\nwith exit_codes():\n    "
    flood = subprocess.Popen(
        [sys.executable, "-c", f"{code}[print('x' * 100) for _ in range(10_000)]"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert flood.stdout is not None and flood.stderr is not None
    flood.stdout.readline()
    flood.stdout.close()
    assert flood.stderr.read() == b"" and flood.wait() == 1
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}print('Zoë 喜')"], env=ascii_only, capture_output=True, check=True, cwd=ROOT
    )
    assert shown.stdout == b"Zo\\xeb \\u559c\n"


def test_null_and_empty_lists_in_a_file_do_not_swallow_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("corpus: {classes: [], emotion_map: []}\ntrain: {max_steps: null}\n")
    config = parse("--preset", str(path), "--train.epochs", "2")
    assert config.corpus.classes == () and config.corpus.emotion_map == ()
    assert config.train.max_steps is None


def test_the_yaml_is_what_a_person_would_write() -> None:
    values = yaml.safe_load(to_yaml(changed_everywhere()))
    assert values["corpus"]["emotion_map"] == ["b=c", "a=", "1e5=no"]
    assert values["augment"]["noise_snr_db"] == [-5.0, 12.25]
    assert values["corpus"]["include_songs"] is True


def test_flags_win_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("preset: light\ntrain:\n  epochs: 7\n  batch_size: 5\nmodel:\n  ccb1: false\n")
    light = PRESETS["light"]()
    expected = replace(
        light, train=replace(light.train, epochs=2, batch_size=5), model=replace(light.model, ccb1=False)
    )
    assert parse("--preset", str(path), "--train.epochs", "2") == expected
    assert parse("--train.epochs", "2", f"--preset={path}") == expected
    assert parse("--preset", str(path), "--model.ccb1").model.ccb1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("train: {epoch: 3}", r"unknown flag --train\.epoch; did you mean --train\.epochs\?"),
        ("trian: {epochs: 3}", r"unknown flag --trian\.epochs; did you mean --train\.epochs\?"),
        ("train: 3", "unknown flag --train"),
        ("loss: {alpha: 0.5}\ntrain: {seed: 1, epochs: many}", "cannot parse --train.epochs many;"),
        ("train: {epochs: [1, 2]}", "cannot parse --train.epochs 1 2;"),
        ("train: {epochs: 0}", "--train.epochs is 0"),
        ("loss: {cpc: temporal}\ncorpus: {modalities: text}", "--loss.cpc temporal predicts audio"),
    ],
)
def test_an_error_in_a_file_names_the_file_and_the_key(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"^--preset {path}: {found}"):
        parse("--preset", str(path), "--train.batch-size", "8")


@pytest.mark.parametrize("default", ["demo", "light"])
def test_a_file_of_your_own_starts_from_the_jobs_default_preset(tmp_path: Path, default: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train: {epochs: 7}\n")
    start = PRESETS[default]()
    found = cli.parse(["--preset", str(path)], preset=default).config
    assert found == replace(start, train=replace(start.train, epochs=7))


def test_a_runs_configuration_with_other_flags_does_not_take_its_name_over(tmp_path: Path) -> None:
    run = tmp_path / "mine"
    run.mkdir()
    (run / "config.yaml").write_text(to_yaml(replace(ExperimentConfig(), run=RunConfig(name="mine"))))
    for flags, name in {
        (): "mine",
        ("--cluster.max-concurrent-trials", "1", "--track.no-wandb"): "mine",
        ("--train.epochs", "5"): None,
        ("--train.epochs=5",): None,
        ("--train.epochs", "5", "--run.name", "other"): "other",
    }.items():
        assert parse("--preset", str(run / "config.yaml"), *flags).run.name == name
    # In a file of your own, a name is meant.
    (tmp_path / "own.yaml").write_text("run: {name: mine}\n")
    assert parse("--preset", str(tmp_path / "own.yaml"), "--train.epochs", "5").run.name == "mine"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- a\n- b\n", "expected sections"),
        ("", "expected sections"),
        ("train: {epochs", "cannot be read"),
        ("preset: papers\n", "unknown preset 'papers'; expected one of demo, demo-short, light, frozen, paper"),
    ],
)
def test_a_file_that_is_not_a_configuration_is_named(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=found) as error:
        parse("--preset", str(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("corpus:\n  root: /café\n".encode("latin-1"), r"cannot be read \('utf-8' codec .*; expected YAML in UTF-8"),
        (b"train: &a\n  x: *a\n", "an alias .* refers to a value that contains it"),
        (b"[" * 100_000, "cannot be read"),
        (b"a: \x00\n", "cannot be read"),
    ],
    ids=["latin-1", "alias in itself", "nested", "nul"],
)
def test_a_file_that_cannot_be_read_completely_is_named(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^--preset {path}: {found}"):
        parse("--preset", str(path))


@pytest.mark.parametrize("name", ["papers", "nothing.yaml", ""])
def test_an_unknown_preset_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"--preset {name}: "):
        parse("--preset", name)


@pytest.mark.parametrize("config", [*(PRESETS[n]() for n in sorted(PRESETS)), changed_everywhere()])
def test_a_configuration_is_small_enough_to_send_to_every_task(config: ExperimentConfig) -> None:
    pickled = pickle.dumps(config)
    assert len(pickled) < 2_000
    assert pickle.loads(pickled) == config


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"run": RunConfig(root="/elsewhere", name="x", cache="/y")},
        {"track": TrackConfig(wandb=False, project="x")},
        {"cluster": ClusterConfig(max_concurrent_trials=2, data_cpus_per_worker=5, address="auto")},
        {"cluster": ClusterConfig(gpus_per_worker=0.5)},
        {"corpus": CorpusConfig(root="/elsewhere")},
    ],
)
def test_the_hash_does_not_depend_on_a_runs_location_or_the_number_of_trials(elsewhere: dict[str, Any]) -> None:
    config = ExperimentConfig()
    assert replace(config, **elsewhere).learning_hash() == config.learning_hash()


@pytest.mark.parametrize(
    "learning",
    [
        {"train": TrainConfig(seed=1)},
        {"train": TrainConfig(max_steps=1)},
        {"loss": LossConfig(alpha=0.01)},
        {"corpus": CorpusConfig(folds="speaker")},
        {"corpus": CorpusConfig(emotion_map=("a=b",))},
        {"cluster": ClusterConfig(workers_per_trial=2)},
        {"cluster": ClusterConfig(cpus_per_worker=2)},
    ],
)
def test_the_hash_depends_on_everything_the_results_depend_on(learning: dict[str, Any]) -> None:
    config = ExperimentConfig()
    assert replace(config, **learning).learning_hash() != config.learning_hash()


def test_the_hash_is_the_same_for_an_integer_with_and_without_decimal_point() -> None:
    whole = replace(ExperimentConfig(), corpus=CorpusConfig(trim_db=40), loss=LossConfig(alpha=1))
    point = replace(ExperimentConfig(), corpus=CorpusConfig(trim_db=40.0), loss=LossConfig(alpha=1.0))
    assert whole.learning_hash() == point.learning_hash()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (CorpusError("/data: not there."), 2, "error: /data: not there.\n"),
        (KeyboardInterrupt(), 130, "the same command resumes"),
    ],
)
def test_a_job_that_cannot_continue_ends_with_one_message_and_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    def run(command: CommandLine) -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["job"])
    with pytest.raises(SystemExit) as stopped:
        cli.main(None, run)
    assert stopped.value.code == code
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1


def test_sigterm_has_its_own_message_and_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: CommandLine) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("sys.argv", ["job"])
    try:
        with pytest.raises(SystemExit) as stopped:
            cli.main(None, run)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped.value.code == 75
    assert "the same command resumes" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [60, 79])
def test_help_is_wrapped_once_at_the_terminals_width(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        parse("--help")
    lines = [line.rstrip("│ ") for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= columns
    first = next(i for i, line in enumerate(lines) if "How test folds are formed" in line)
    last = next(i for i, line in enumerate(lines) if "--corpus.n-folds INT" in line) - 1
    for line, after in zip(lines[first:last], lines[first + 1 : last + 1], strict=True):
        assert len(line) + 1 + len(after.strip("│ ").split()[0]) > columns - 2, "the next word had room"
