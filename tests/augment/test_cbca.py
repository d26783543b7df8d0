"""CBCA: one word of a text is replaced by the most likely others given the label; nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tokenizers import AddedToken, ByteLevelBPETokenizer, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

from raysys.augment.cbca import alternatives, fit
from raysys.augment.masked_lm import LabelledMaskedLM, light_masked_lm, load_masked_lm
from raysys.data.text import train_wordpiece, wrap_tokenizer
from raysys.errors import EncoderError

torch.set_num_threads(1)

CPU = torch.device("cpu")
GLAD = ["happy", "merry", "cheerful", "pleased", "lucky", "proud"]
SAD = ["lonely", "gloomy", "hopeless", "tearful", "broken", "sorry"]
TEMPLATES = ["i feel {} today", "they look {} now"]
PAIRS = [(t.format(word), label) for label, words in enumerate((GLAD, SAD)) for word in words for t in TEMPLATES]
TEXTS, LABELS = [text for text, _ in PAIRS], [label for _, label in PAIRS]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_wordpiece(TEXTS)


@pytest.fixture(scope="module")
def untrained(tokenizer: PreTrainedTokenizerBase) -> LabelledMaskedLM:
    return fitted(tokenizer, conditional=False, epochs=0)


def fitted(
    tokenizer: PreTrainedTokenizerBase,
    *,
    conditional: bool = True,
    epochs: int = 1,
    seed: int = 0,
    texts: list[str] = TEXTS,
    labels: list[int] = LABELS,
    model: PreTrainedModel | None = None,
) -> LabelledMaskedLM:
    model = light_masked_lm(tokenizer, width=32, seed=1) if model is None else model
    options = {"n_classes": 2, "batch_size": 8, "lr": 5e-3, "device": CPU}
    return fit(model, tokenizer, texts, labels, conditional=conditional, epochs=epochs, seed=seed, **options)  # type: ignore[arg-type]


def in_place_of(
    word: str, text: str, label: int, lm: LabelledMaskedLM, tokenizer: PreTrainedTokenizerBase, k: int = 4
) -> list[str]:
    """The words that replace `word`, with the first seed that chooses it."""
    before, after = text.split(word)
    for seed in range(100):
        (found,) = alternatives(lm, tokenizer, [text], [label], k=k, seed=seed)
        if all(a.startswith(before) and a.endswith(after) for a in found):
            return [a.removeprefix(before).removesuffix(after) for a in found]
    raise AssertionError(f"no seed replaces {word!r}")


def test_one_word_changes_and_the_rest_is_unchanged(
    tokenizer: PreTrainedTokenizerBase, untrained: LabelledMaskedLM
) -> None:
    pieces = ["  “", "Well", ",”  \u00a0", "naïve", "\t– 42 mp3 x_y ", "DON’T", "...\n", "cafe\u0301s"]
    pieces += [" ([#", "]) ", "I", "!!  ", "Straße", "-", "o'clock", "  "]
    words = {1: "Well", 3: "naïve", 5: "DON’T", 7: "cafe\u0301s", 10: "I", 12: "Straße", 14: "o'clock"}
    text = "".join(pieces)
    seen = set()
    for seed in range(60):
        (found,) = alternatives(untrained, tokenizer, [text], [0], k=5, seed=seed)
        assert len(set(found)) == 5
        changed = set()
        for alternative in found:
            places = [
                i
                for i in words
                if alternative.startswith(before := "".join(pieces[:i]))
                and alternative.endswith(after := "".join(pieces[i + 1 :]))
                and alternative.removeprefix(before).removesuffix(after).isalpha()
            ]
            assert len(places) == 1, alternative
            new = alternative.removeprefix("".join(pieces[: places[0]])).removesuffix("".join(pieces[places[0] + 1 :]))
            old = words[places[0]]
            assert new.casefold() != old.casefold()
            assert new == (new.upper() if old == "DON’T" else new.capitalize() if old[0].isupper() else new.lower())
            changed.update(places)
        assert len(changed) == 1
        seen |= changed
    assert seen == set(words)


def test_the_word_itself_is_not_an_alternative_in_any_spelling() -> None:
    # A model that has memorised these texts ranks the word itself first.
    texts = ["they sing", "they sing a song"] * 4
    sung = train_wordpiece(texts)
    lm = fitted(sung, conditional=False, epochs=20, texts=texts, labels=[0] * 8)
    for text in ("they sing", "They SING", "théy sîng"):
        for seed in range(6):
            (found,) = alternatives(lm, sung, [text], [0], k=3, seed=seed)
            assert len(found) == 3
            assert not {"they sing", "théy sing", "they sîng"} & {a.lower() for a in found}


def test_words_follow_the_label_and_only_when_conditional(tokenizer: PreTrainedTokenizerBase) -> None:
    lm = fitted(tokenizer, epochs=30)
    plain = fitted(tokenizer, epochs=30, conditional=False)
    for word, text in [("strange", "i feel strange today"), ("happy", "they look happy now")]:
        glad = in_place_of(word, text, 0, lm, tokenizer)
        sad = in_place_of(word, text, 1, lm, tokenizer)
        assert set(glad) <= set(GLAD) and set(sad) <= set(SAD)
        assert in_place_of(word, text, 0, plain, tokenizer) == in_place_of(word, text, 1, plain, tokenizer)


def test_equal_seed_equal_result_and_global_randomness_untouched(tokenizer: PreTrainedTokenizerBase) -> None:
    def results(seed: int) -> tuple[dict[str, torch.Tensor], list[tuple[str, ...]]]:
        lm = fitted(tokenizer, epochs=2, seed=seed)
        return lm.state_dict(), alternatives(lm, tokenizer, TEXTS, LABELS, k=3, seed=seed)

    torch.manual_seed(11)
    state = torch.get_rng_state()
    weights, texts = results(3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(12)
    weights_again, texts_again = results(3)
    assert texts == texts_again
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)
    other_weights, other_texts = results(4)
    assert texts != other_texts
    assert any(not torch.equal(weights[name], other_weights[name]) for name in weights)


def test_the_given_model_is_not_changed(tokenizer: PreTrainedTokenizerBase) -> None:
    model = light_masked_lm(tokenizer, width=32)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    fitted(tokenizer, model=model)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_result_of_an_utterance_does_not_depend_on_the_others(tokenizer: PreTrainedTokenizerBase) -> None:
    lm = fitted(tokenizer, epochs=5)
    texts = [*TEXTS, "", "i", "they look proud now and " * 9, "so lonely?", TEXTS[0]]
    labels = [*LABELS, 0, 1, 1, 0, LABELS[0]]
    together = alternatives(lm, tokenizer, texts, labels, k=5, seed=0)
    assert together == alternatives(lm, tokenizer, texts[::-1], labels[::-1], k=5, seed=0)[::-1]
    for text, label, found in zip(texts, labels, together, strict=True):
        assert alternatives(lm, tokenizer, [text], [label], k=5, seed=0) == [found]


def test_text_without_a_word_has_no_alternative(
    tokenizer: PreTrainedTokenizerBase, untrained: LabelledMaskedLM
) -> None:
    assert alternatives(untrained, tokenizer, [], [], k=5, seed=0) == []
    texts = ["", " \t", "?!", "42 – 7.5", "mp3 x_1"]
    found = alternatives(untrained, tokenizer, [*texts, "well"], [0] * 6, k=5, seed=0)
    assert found[:-1] == [()] * len(texts) and len(found[-1]) == 5


@pytest.mark.parametrize("texts", [[], ["", "?!", "42", "unknownword"]])
def test_fit_without_a_word_to_learn_gives_the_untrained_model(
    tokenizer: PreTrainedTokenizerBase, texts: list[str]
) -> None:
    lm = fitted(tokenizer, epochs=3, texts=texts, labels=[0] * len(texts))
    start = light_masked_lm(tokenizer, width=32, seed=1).state_dict()
    assert all(torch.equal(weight, start[name]) for name, weight in lm.model.state_dict().items())
    assert not lm.training


def test_spellings_of_one_word_count_once_and_a_small_vocabulary_gives_what_it_has() -> None:
    # Cased: 'home', 'Home' and 'HOME' are separate tokens; 'x1' and '##s' are not words.
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "home",
        "Home",
        "HOME",
        "Dog",
        "cat",
        "x1",
        "##s",
        "##t",
    ]
    cased = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    cased.normalizer, cased.pre_tokenizer = normalizers.NFC(), pre_tokenizers.BertPreTokenizer()
    tokenizer = wrap_tokenizer(cased.to_str())
    lm = fitted(tokenizer, conditional=False, epochs=0)
    (found,) = alternatives(lm, tokenizer, ["bird!"], [0], k=9, seed=0)
    assert sorted(found) == ["cat!", "dog!", "home!"]
    (found,) = alternatives(lm, tokenizer, ["Cat!"], [0], k=9, seed=0)
    assert sorted(found) == ["Dog!", "Home!"]


# Models from folders.


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """Like RoBERTa's: 'Ġ' starts a word, and the mask absorbs the space before it."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        [f" {text} café" for text in TEXTS], 600, 2, show_progress=False, special_tokens=special
    )
    backend = Tokenizer.from_str(trained.to_str())
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    names = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
        **{f"{key}_token": token for key, token in names.items()},
    )


def save_masked_lm(kind: str, folder: Path) -> Path:
    """A tiny model with well-separated logits; it has positions for 38 tokens."""
    tokenizer = byte_level_tokenizer() if kind == "roberta" else train_wordpiece(TEXTS)
    vocab, wide = len(tokenizer), {"initializer_range": 0.5}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32} | wide
    torch.manual_seed(5)
    if kind == "distilbert":
        config = DistilBertConfig(
            vocab_size=vocab, max_position_embeddings=38, dim=16, n_layers=2, n_heads=2, hidden_dim=32, **wide
        )
        model: PreTrainedModel = DistilBertForMaskedLM(config)
    elif kind == "bert":
        model = BertForMaskedLM(BertConfig(vocab_size=vocab, max_position_embeddings=38, **sizes))
    else:
        model = RobertaForMaskedLM(RobertaConfig(vocab_size=vocab, max_position_embeddings=40, **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["bert", "distilbert", "roberta"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_masked_lm(request.param, tmp_path_factory.mktemp(request.param))


def plain_top_words(folder: Path, before: str, word: str, after: str, k: int) -> list[str]:
    """One text at a time through the model's own embeddings."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder).eval()
    encoded = tokenizer(before + tokenizer.mask_token + after, return_tensors="pt")
    place = encoded["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    with torch.no_grad():
        logits = model(**encoded).logits[0, place].tolist()
    byte_level = tokenizer.mask_token == "<mask>"
    words = []
    for i in sorted(range(len(logits)), key=lambda i: (-logits[i], i)):
        token, text = tokenizer.convert_ids_to_tokens(i), tokenizer.decode([i]).strip()
        if text.isalpha() and token.startswith("Ġ") == byte_level and text != word:
            words.append(text)
    return words[:k]


def test_an_untuned_model_agrees_with_plain_use_of_it(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lm = fitted(tokenizer, conditional=False, epochs=0, model=load_masked_lm(str(folder)))
    # In one batch with a longer text, to show that padding does not matter.
    cases = [
        ("they look ", "proud", " now"),
        ("i feel ", "lonely", " and sorry, today; they look happy now"),
        ("so ", "i", "!"),
    ]
    for before, word, after in cases:
        text = before + word + after
        for seed in range(200):
            found = alternatives(lm, tokenizer, [text, "i feel " * 15], [0, 1], k=5, seed=seed)[0]
            new = [a.removeprefix(before).removesuffix(after) for a in found]
            if all(a.startswith(before) and a.endswith(after) for a in found) and all(n.isalpha() for n in new):
                break
        else:
            raise AssertionError(f"no seed replaces {word!r}")
        assert new == plain_top_words(folder, before, word, after, 5)


def test_fine_tuning_starts_from_the_folder_and_moves(folder: Path) -> None:
    tokenizer, saved = AutoTokenizer.from_pretrained(folder), safetensors.torch.load_file(folder / "model.safetensors")
    untouched = fitted(tokenizer, epochs=0, model=load_masked_lm(str(folder)))
    trained = fitted(tokenizer, epochs=1, model=load_masked_lm(str(folder)))
    for name, weight in saved.items():
        assert torch.equal(untouched.model.state_dict()[name], weight), name
    assert any(not torch.equal(trained.model.state_dict()[name], weight) for name, weight in saved.items())
    assert trained.label_embedding is not None and untouched.label_embedding is not None
    assert not torch.equal(trained.label_embedding.weight, untouched.label_embedding.weight)


def test_text_beyond_the_models_limit_is_not_shortened(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = ["i feel happy today", "they look sad now"] * 20
    text = ", ".join(words)
    lm = fitted(tokenizer, texts=[text, *TEXTS], labels=[0, *LABELS], model=load_masked_lm(str(folder)))
    for seed in range(5):
        (found,) = alternatives(lm, tokenizer, [text], [0], k=5, seed=seed)
        assert len(set(found)) == 5
        for alternative in found:
            pairs = list(zip(text.split(" "), alternative.split(" "), strict=True))
            assert sum(old != new for old, new in pairs) == 1


def test_text_containing_the_mask_token_works(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = f"they look {tokenizer.mask_token} now"
    lm = fitted(tokenizer, texts=[text, *TEXTS], labels=[0, *LABELS], model=load_masked_lm(str(folder)))
    for seed in range(5):
        assert len(set(alternatives(lm, tokenizer, [text], [0], k=5, seed=seed)[0]) - {text}) == 5


@pytest.mark.parametrize("weight", ["word_embeddings.weight", "LayerNorm.bias"])
def test_missing_weight_is_named(folder: Path, tmp_path: Path, weight: str) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    # The embeddings are tied to the head: without both they are missing.
    tensors = {
        name: t for name, t in tensors.items() if not name.endswith((weight, "decoder.weight", "projector.weight"))
    }
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=rf"--augment\.cbca-model .*{weight}"):
        load_masked_lm(str(tmp_path))


def test_encoder_without_a_head_is_refused(tmp_path: Path) -> None:
    DistilBertModel(DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32)).save_pretrained(
        tmp_path
    )
    with pytest.raises(EncoderError, match=r"--augment\.cbca-model .*vocab_transform\.weight"):
        load_masked_lm(str(tmp_path))


def test_weight_of_another_shape_is_refused(tmp_path: Path) -> None:
    save_masked_lm("bert", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    with pytest.raises(EncoderError, match=r"--augment\.cbca-model .*intermediate\.dense"):
        load_masked_lm(str(tmp_path))


def test_wrong_folder_names_its_flag(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"--augment\.cbca-model .*cannot be loaded"):
        load_masked_lm(str(tmp_path / "nowhere"))


def test_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    model = light_masked_lm(train_wordpiece(TEXTS[:2]), width=32)
    with pytest.raises(EncoderError, match=r"--augment\.cbca-model .*tokens"):
        fitted(train_wordpiece(TEXTS), model=model)
