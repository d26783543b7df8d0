"""A model that is pushed to the Hub loads from there, from its cache too; what goes wrong is one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from raysys.commands import push as command
from raysys.errors import HubError, ModelFolderError
from raysys.export.push import push_model
from raysys.inference import EmotionModel, Ensemble, load_model
from raysys.inference.frozen import FROZEN
from tests.hub import OWNER, Hub, Repo
from tests.inference.test_frozen import FROZEN_AUDIO, write_folds
from tests.test_inference import LENGTHS, ask, config_of, make, save, waveforms

torch.set_num_threads(1)
REPO = "me/calls"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub, asked by its own client with the owner's token and an empty cache."""
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
    template = f"{hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", OWNER)
    yield hub
    hub.close()


def saved(folder: Path, seed: int = 0) -> str:
    return save(make(seed=seed), folder)


def test_a_pushed_model_predicts_as_before_and_names_its_commit(hub: Hub, tmp_path: Path) -> None:
    location = saved(tmp_path / "model")
    pushed = push_model(location, REPO, private=False)
    assert pushed == f"hf://{REPO}@{hub.repos[REPO].branches['main']}"
    heard = waveforms(LENGTHS)
    for address in (f"hf://{REPO}", f"hf://{REPO}@main", pushed):
        model = load_model(address)
        assert isinstance(model, EmotionModel) and model.origin == f"model {pushed}"
        assert np.array_equal(ask(model, heard), ask(load_model(location), heard))


def test_a_revision_stays_what_it_was(hub: Hub, tmp_path: Path) -> None:
    first = push_model(saved(tmp_path / "first"), REPO, private=False)
    push_model(saved(tmp_path / "second", seed=1), REPO, private=False)
    heard = waveforms(LENGTHS)
    for address, folder in ((first, "first"), (f"hf://{REPO}", "second")):
        assert np.array_equal(ask(load_model(address), heard), ask(load_model(str(tmp_path / folder)), heard))


def test_frozen_weights_of_a_run_are_uploaded_with_the_model(hub: Hub, tmp_path: Path) -> None:
    models = write_folds(str(tmp_path / "run"), **FROZEN_AUDIO)
    push_model(str(tmp_path / "run/folds/1/model"), REPO, private=False)
    assert (tmp_path / "run" / FROZEN).is_dir() and not any(FROZEN in name for name in hub.files(REPO))
    heard = waveforms(LENGTHS)
    assert np.array_equal(ask(load_model(f"hf://{REPO}"), heard), ask(models[0], heard))


def test_files_of_an_earlier_model_are_removed_and_the_users_own_stay(hub: Hub, tmp_path: Path) -> None:
    push_model(save(make(config_of(audio="tiny", text="tiny")), tmp_path / "both"), REPO, private=False)
    assert "audio/config.json" in hub.files(REPO)
    hub.files(REPO)["notes.md"] = b"mine"
    push_model(save(make(modalities="text"), tmp_path / "text"), REPO, private=False)
    assert not any(name.startswith("audio/") for name in hub.files(REPO)) and "notes.md" in hub.files(REPO)


def test_only_a_models_own_files_leave_the_machine(hub: Hub, tmp_path: Path) -> None:
    location = Path(saved(tmp_path / "model"))
    (location / "secret.txt").write_text("secret")
    (location / "README.md").write_text('model = load_model("model")            # this folder\n')
    push_model(str(location), REPO, private=True)
    assert "secret.txt" not in hub.files(REPO) and hub.repos[REPO].private
    assert hub.files(REPO)["README.md"] == f'model = load_model("hf://{REPO}")\n'.encode()


def test_a_model_without_a_card_gets_one_with_metadata(hub: Hub, tmp_path: Path) -> None:
    push_model(saved(tmp_path / "model"), REPO, private=False)
    card = hub.files(REPO)["README.md"].decode()
    assert card.startswith("---\nlibrary_name: raysys\npipeline_tag: audio-classification\n")
    assert f'load_model("hf://{REPO}")' in card and "anger, joy, fear" in card


def test_code_and_pickles_in_a_repository_are_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    push_model(saved(tmp_path / "model"), REPO, private=False)
    hub.files(REPO).update({"model.py": b"raise SystemExit", "pytorch_model.bin": b"pickle"})
    hub.asked.clear()
    load_model(f"hf://{REPO}")
    assert not any("model.py" in request or ".bin" in request for request in hub.asked)


def test_offline_the_cache_is_read_and_nothing_asked(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed = push_model(saved(tmp_path / "model"), REPO, private=False)
    load_model(f"hf://{REPO}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert load_model(f"hf://{REPO}").origin == f"model {pushed}"
    with pytest.raises(HubError, match=r"hf://me/other: is not in the local cache, and HF_HUB_OFFLINE forbids"):
        load_model("hf://me/other")
    assert not hub.asked


def test_the_environment_says_which_hub_and_whose_token(hub: Hub, tmp_path: Path) -> None:
    pushed = push_model(saved(tmp_path / "model"), REPO, private=True)
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_TOKEN": OWNER, "HF_HOME": str(tmp_path / "home")}
    code = f"from raysys.inference import load_model; print(load_model('hf://{REPO}').origin)"
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert answer.stdout == f"model {pushed}\n", answer.stderr


def test_a_damaged_model_is_named_by_its_address(hub: Hub, tmp_path: Path) -> None:
    push_model(saved(tmp_path / "model"), REPO, private=False)
    hub.files(REPO)["config.json"] = b'{"format": 99}'
    with pytest.raises(ModelFolderError, match=rf"^hf://{REPO}/config.json: has format 99"):
        load_model(f"hf://{REPO}")


@pytest.mark.parametrize(
    ("address", "token", "said"),
    [
        ("hf://me/nothing", OWNER, "hf://me/nothing: there is no such model, or the token in HF_TOKEN may not see it"),
        ("hf://me/private", "", "hf://me/private: there is no such model, or the token of this machine, if any, may"),
        ("hf://me/gated", "hf_other", r"hf://me/gated: is gated\. Accept its conditions on http://.*/me/gated"),
        ("hf://me/open@v2", OWNER, "hf://me/open: has no revision v2"),
        ("hf://me/open", "hf_wrong", r"hf://me/open: the token in HF_TOKEN is not accepted \(401\)"),
        ("hf://open", OWNER, "hf://open: expected hf://user/name or hf://user/name@revision"),
        ("hf://me/../../etc", OWNER, "expected hf://user/name"),
        ("hf://me/a--b", OWNER, "is no repository's name"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, address: str, token: str, said: str
) -> None:
    hub.repos |= {"me/private": Repo(private=True), "me/gated": Repo(gated=True), "me/open": Repo()}
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=said) as caught:
        load_model(address)
    assert "\n" not in str(caught.value)


def test_a_hub_that_does_not_answer_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"http://127\.0\.0\.1:9 cannot be reached .*HF_ENDPOINT"):
        load_model("hf://me/open")


def test_pushing_without_a_token_or_with_that_of_another_says_so(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = saved(tmp_path / "model")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(HubError, match=r"the token in HF_TOKEN may not do this \(403\)\. .* write to me"):
        push_model(location, REPO, private=False)
    monkeypatch.setenv("HF_TOKEN", "")
    hub.asked.clear()
    with pytest.raises(HubError, match=r"hf://me/calls: uploading needs a token\. Set HF_TOKEN"):
        push_model(location, REPO, private=False)
    assert not hub.asked


def test_an_ensemble_is_not_pushed(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fold, _ = make()
    folds = Ensemble(models=(fold, fold), origin="ensemble of 2 folds of runs/x")
    monkeypatch.setattr("raysys.export.push.load_model", lambda location: folds)
    with pytest.raises(ModelFolderError, match=r"runs/x: an ensemble is several models.*crossval --final-model"):
        push_model("runs/x", REPO, private=False)
    assert not hub.asked


def test_the_command_prints_the_address(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["raysys push", saved(tmp_path / "model"), REPO, "--private"])
    command.main()
    assert capsys.readouterr().out == f"hf://{REPO}@{hub.repos[REPO].branches['main']}\n"
    assert hub.repos[REPO].private
    monkeypatch.setattr(sys, "argv", ["raysys push", str(tmp_path / "nowhere"), REPO])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert "there is no such folder" in capsys.readouterr().err
