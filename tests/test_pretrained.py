"""What an untrusted folder may try: run code, be unpickled, name files elsewhere."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoTokenizer

from raysys.config import ModelConfig
from raysys.data.text import load_tokenizer
from raysys.errors import EncoderError
from raysys.model.audio import WaveformEncoder
from raysys.model.encoders import build_audio_encoder, build_text_encoder, check_encoders
from tests.model.encoder_folders import write_encoders

ROOT = Path(__file__).resolve().parents[1]


class Harm:
    """What an unpickler runs."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write_encoders(tmp_path / "given")


def rewrite(path: Path, **values: Any) -> None:
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | values))


def test_pickled_weights_run_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    audio, _ = folders
    state = load_file(audio / "model.safetensors")
    (audio / "model.safetensors").unlink()
    torch.save(state | {"extra": Harm(tmp_path / "harm")}, audio / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=rf"^--model\.audio {audio}: cannot be loaded"):
        build_audio_encoder(ModelConfig(audio=str(audio), weights="pretrained"))
    assert not (tmp_path / "harm").exists()
    # The same file does harm when unpickled.
    torch.load(audio / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "harm").exists()


def test_pickled_tensors_are_read_as_tensors(folders: tuple[Path, Path]) -> None:
    audio, _ = folders
    wanted = build_audio_encoder(ModelConfig(audio=str(audio), weights="pretrained")).state_dict()
    torch.save(load_file(audio / "model.safetensors"), audio / "pytorch_model.bin")
    (audio / "model.safetensors").unlink()
    found = build_audio_encoder(ModelConfig(audio=str(audio), weights="pretrained")).state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def _load_all(audio: Path, text: Path) -> None:
    config = ModelConfig(audio=str(audio), text=str(text), weights="pretrained")
    check_encoders(config)
    load_tokenizer(str(text))
    build_audio_encoder(config)
    build_text_encoder(config, vocab_size=40)


STRANGE: dict[str, tuple[dict[str, str], bool]] = {
    "config.json": ({"model_type": "theirs"}, True),
    "preprocessor_config.json": ({"feature_extractor_type": "Theirs"}, True),
    # The tokenizer itself is a separate file, and is read.
    "tokenizer_config.json": ({"tokenizer_class": "Theirs"}, False),
}
"""File, what it asks for, and whether the folder is then refused."""


@pytest.mark.parametrize("file", STRANGE)
def test_code_in_a_folder_is_neither_run_nor_prompted_for(
    folders: tuple[Path, Path], tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("the terminal was asked")

    monkeypatch.setattr("builtins.input", asked)
    audio, text = folders
    folder = audio if file == "preprocessor_config.json" else text
    (folder / "theirs.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'harm')!r})\nclass Theirs: pass\n")
    classes: dict[str, Any] = {f"Auto{part}": "theirs.Theirs" for part in ("Config", "Model", "FeatureExtractor")}
    values, refused = STRANGE[file]
    rewrite(folder / file, auto_map=classes | {"AutoTokenizer": ["theirs.Theirs", "theirs.Theirs"]}, **values)
    if refused:
        with pytest.raises(EncoderError, match=rf"{folder}"):
            _load_all(audio, text)
    else:
        _load_all(audio, text)
    assert not (tmp_path / "harm").exists()
    # The same folder does harm when trusted.
    auto = {"config.json": AutoConfig, "preprocessor_config.json": AutoFeatureExtractor}.get(file, AutoTokenizer)
    with contextlib.suppress(Exception):
        auto.from_pretrained(folder, trust_remote_code=True)
    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize("weights", ["random", "pretrained"])
def test_code_for_a_model_without_a_class_is_neither_run_nor_prompted_for(
    folders: tuple[Path, Path],
    tmp_path: Path,
    weights: Literal["random", "pretrained"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """transformers knows the configuration, so reading it needs no code; only the model would come from the folder."""
    asked: list[object] = []
    monkeypatch.setattr("builtins.input", lambda *words: asked.append(words) or "y")
    _, text = folders
    harm = tmp_path / "harm"
    (text / "theirs.py").write_text(
        f"import os\nos.mkdir({str(harm)!r})\nfrom transformers import PreTrainedModel\n"
        f"class Theirs(PreTrainedModel): pass\n"
    )
    values = {"model_type": "encoder-decoder", "vocab_size": 40, "auto_map": {"AutoModel": "theirs.Theirs"}}
    (text / "config.json").write_text(json.dumps(values))
    with pytest.raises(EncoderError, match=rf"^--model\.text {text}: "):
        build_text_encoder(ModelConfig(text=str(text), weights=weights), vocab_size=40)
    assert not asked
    assert not harm.exists()
    # The same folder does harm when trusted.
    with contextlib.suppress(Exception):
        AutoModel.from_config(AutoConfig.from_pretrained(text), trust_remote_code=True)
    assert harm.exists()


DAMAGED: dict[str, object] = {
    "null": None,
    "a number": 3,
    "conv_dim": {"conv_dim": 5},
    "hidden_size": {"hidden_size": "x"},
    "hidden_act": {"hidden_act": "unknown"},
    "dtype": {"dtype": "unknown"},
    "model_type": {"model_type": ["wav2vec2"]},
    "groups": {"num_conv_pos_embedding_groups": 0},
    "attention": {"attn_implementation": "theirs/kernel"},
}


@pytest.mark.parametrize("weights", ["random", "pretrained"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_configuration_is_named(
    folders: tuple[Path, Path], damage: str, weights: Literal["random", "pretrained"]
) -> None:
    audio, _ = folders
    change = DAMAGED[damage]
    path = audio / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change if isinstance(change, dict) else change))
    with pytest.raises(EncoderError, match=rf"^--model\.audio {audio}: .*config\.json|cannot be loaded"):
        build_audio_encoder(ModelConfig(audio=str(audio), weights=weights))


def test_a_configuration_nested_without_end_is_named(folders: tuple[Path, Path]) -> None:
    audio, text = folders
    (audio / "config.json").write_text("[" * 100_000)
    (text / "tokenizer_config.json").write_text("[" * 100_000)
    with pytest.raises(EncoderError, match=rf"^--model\.audio {audio}: .*RecursionError"):
        check_encoders(ModelConfig(audio=str(audio), weights="pretrained"))
    with pytest.raises(EncoderError, match=rf"^--model\.text {text}: .*RecursionError"):
        load_tokenizer(str(text))


@pytest.mark.parametrize("weights", ["random", "pretrained"])
def test_a_folder_does_not_choose_the_attention(
    folders: tuple[Path, Path], weights: Literal["random", "pretrained"]
) -> None:
    """For an implementation that is not installed, transformers would look for code on the Hub."""
    audio, _ = folders
    config = ModelConfig(audio=str(audio), weights=weights)
    usual = build_audio_encoder(config)
    rewrite(audio / "config.json", attn_implementation="flash_attention_2")
    found = build_audio_encoder(config)
    assert isinstance(found, WaveformEncoder) and isinstance(usual, WaveformEncoder)
    assert found.model.config._attn_implementation == usual.model.config._attn_implementation


def _shards(folder: Path, elsewhere: str) -> None:
    names = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, f"{elsewhere}/model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


WAYS_OUT: dict[str, tuple[str, Callable[[Path, str], None]]] = {
    "shards": ("model.safetensors.index.json", _shards),
    "weights": (
        "config.json",
        lambda folder, out: rewrite(folder / "config.json", transformers_weights=f"{out}/model.safetensors"),
    ),
    "tokenizer": (
        "tokenizer_config.json",
        lambda folder, out: rewrite(
            folder / "tokenizer_config.json", fast_tokenizer_files=[f"{out}/tokenizer.4.0.json", "tokenizer.json"]
        ),
    ),
}


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_path_out_of_a_folder_is_refused(
    folders: tuple[Path, Path], tmp_path: Path, way: str, absolute: bool
) -> None:
    audio, text = folders
    shutil.copytree(audio, tmp_path / "elsewhere")
    out = str(tmp_path / "elsewhere") if absolute else "../../elsewhere"
    file, write = WAYS_OUT[way]
    folder = text if way == "tokenizer" else audio
    write(folder, out)
    with pytest.raises(EncoderError, match=rf"{folder}.*{file} refers to {out}/.*, which is outside the folder"):
        _load_all(audio, text)


REFERENCES: dict[str, tuple[str, str, object]] = {
    "a vocabulary": ("tokenizer_config.json", "vocab", "/etc/passwd"),
    "a vocabulary beside the user": ("tokenizer_config.json", "vocab", "words"),
    "merges": ("tokenizer_config.json", "merges", "../merges.txt"),
    "a constructor's arguments": ("tokenizer_config.json", "init_inputs", ["/etc/passwd"]),
    "another format": ("tokenizer_config.json", "gguf_file", "model.gguf"),
    "an unknown file": ("tokenizer_config.json", "entity_vocab_file", "words.json"),
    "a dictionary": ("tokenizer_config.json", "mecab_kwargs", {"mecab_option": "-r /dev/zero"}),
    "special tokens": ("special_tokens_map.json", "vocab", "/etc/passwd"),
    "a backbone": ("config.json", "backbone", "resnet50"),
    "a nested backbone": ("config.json", "vision_config", {"backbone": "microsoft/resnet-50"}),
    "an unknown name on the Hub": ("config.json", "teacher", "someone/model"),
    "the home folder": ("config.json", "teacher", "~user"),
    "a preprocessor's": ("preprocessor_config.json", "filters_path", "mel.npz"),
}
"""File, key and value that transformers would open, or look for on the Hub."""


@pytest.mark.parametrize("what", REFERENCES)
def test_a_key_that_is_a_path_or_a_name_on_the_hub_is_refused(folders: tuple[Path, Path], what: str) -> None:
    _, text = folders
    file, key, value = REFERENCES[what]
    rewrite(text / file, **{key: value})
    inner = next(iter(value)) if isinstance(value, dict) else key
    with pytest.raises(EncoderError, match=rf"^--model\.text {text}: .*{file}: '{inner}' is .*remove this key"):
        check_encoders(ModelConfig(audio="light", text=str(text)))


def test_what_transformers_writes_itself_is_read(folders: tuple[Path, Path]) -> None:
    """Old versions wrote where files once were; tokens and labels may contain a slash."""
    audio, text = folders
    rewrite(
        text / "tokenizer_config.json",
        name_or_path="/home/someone/bert",
        special_tokens_map_file="/home/someone/.cache/special_tokens_map.json",
        tokenizer_file="/home/someone/.cache/tokenizer.json",
        eos_token="</s>",
        init_inputs=[],
        padding_side="right",
    )
    rewrite(text / "special_tokens_map.json", eos_token={"content": "</s>", "lstrip": False})
    rewrite(text / "config.json", _name_or_path="someone/bert", id2label={"0": "n/a"}, label2id={"n/a": 0})
    _load_all(audio, text)


def test_a_local_folder_is_never_looked_for_on_the_hub(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even for files that it lacks."""

    def ask(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", ask)
    monkeypatch.setattr("socket.getaddrinfo", ask)
    _load_all(*folders)


@pytest.mark.parametrize("file", ["tokenizer_config.json", "model.safetensors.index.json", "anything"])
def test_a_fifo_in_a_folder_is_not_opened(folders: tuple[Path, Path], file: str) -> None:
    _, text = folders
    (text / file).unlink(missing_ok=True)
    os.mkfifo(text / file)
    with pytest.raises(EncoderError, match=rf"^--model\.text {text}: .*{file} is not a regular file"):
        check_encoders(ModelConfig(audio="light", text=str(text)))


def test_a_link_to_a_device_is_not_opened(folders: tuple[Path, Path]) -> None:
    _, text = folders
    (text / "tokenizer.json").unlink()
    (text / "tokenizer.json").symlink_to("/dev/zero")
    with pytest.raises(EncoderError, match=r"tokenizer\.json is not a regular file"):
        check_encoders(ModelConfig(audio="light", text=str(text)))


def test_shards_within_a_folder_and_links_to_blobs_are_read(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """As the Hub's cache has them."""
    audio, _ = folders
    config = ModelConfig(audio=str(audio), weights="pretrained")
    wanted = build_audio_encoder(config).state_dict()
    AutoModel.from_pretrained(audio).save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 1
    (audio / "model.safetensors").unlink()
    (tmp_path / "blobs").mkdir()
    for i, path in enumerate(sorted((tmp_path / "sharded").glob("model*"))):
        shutil.move(path, tmp_path / "blobs" / str(i))
        (audio / path.name).symlink_to(f"../../blobs/{i}")
    found = build_audio_encoder(config).state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_an_adapter_is_refused_because_its_base_is_elsewhere(folders: tuple[Path, Path]) -> None:
    audio, _ = folders
    rewrite(audio / "adapter_config.json", base_model_name_or_path="/nowhere")
    with pytest.raises(EncoderError, match=r"adapter_config\.json needs a base model from elsewhere"):
        check_encoders(ModelConfig(audio=str(audio), text="light", weights="pretrained"))


UNPICKLING = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}


@pytest.mark.parametrize("path", sorted([*ROOT.glob("raysys/**/*.py"), *ROOT.glob("jobs/*.py")]), ids=lambda p: p.name)
def test_no_line_of_code_unpickles_or_trusts_remote_code(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        place = f"{path.name}:{node.lineno} {called}"
        module, _, function = called.rpartition(".")
        assert not (module in UNPICKLING and function.startswith(("load", "open", "Unpickler"))), place
        assert called not in ("eval", "exec", "pd.read_pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load"), (
            place
        )
        assert called != "torch.load" or given.get("weights_only") == "True", place
        assert called not in ("np.load", "numpy.load") or given.get("allow_pickle", "False") == "False", place
        if function in ("from_pretrained", "from_config"):
            assert given.get("trust_remote_code") == "False", place
            assert path.name == "pretrained.py", f"{place}: use raysys.pretrained, which checks the folder first"


def test_the_search_for_unpickling_finds_it(tmp_path: Path) -> None:
    for line in (
        "pickle.load(f)",
        "torch.load(f)",
        "AutoModel.from_pretrained(f)",
        "AutoModel.from_config(c)",
        "eval(f)",
        "np.load(f, allow_pickle=True)",
    ):
        path = tmp_path / "code.py"
        path.write_text(line)
        with pytest.raises(AssertionError):
            test_no_line_of_code_unpickles_or_trusts_remote_code(path)
