"""Tokenizing transcripts: the same texts give the same tokens, in every process."""

from __future__ import annotations

import random

from raysys.data.text import normalise_transcript, tokenize, train_wordpiece

TEXTS = ["Kids are talking by the door!", "dogs are sitting by the door", "it's 11 o'clock"]


def test_same_texts_make_the_same_tokenizer() -> None:
    """Data-parallel workers and resumed runs each train their own.

    Most pieces here are equally frequent, and the vocabulary is too small for all of them.
    """
    draw = random.Random(0)
    words = ["".join(draw.choices("abcde", k=draw.randint(1, 6))) for _ in range(600)]
    texts = [" ".join(words[i : i + 4]) for i in range(0, len(words), 4)]
    first = train_wordpiece(texts, vocab_size=120)
    assert len(first) == 120
    for _ in range(3):
        draw.shuffle(texts)
        again = train_wordpiece(texts + texts[:5], vocab_size=120)
        assert again.backend_tokenizer.to_str() == first.backend_tokenizer.to_str()


def test_words_seen_twice_are_one_token_and_others_are_split() -> None:
    tokenizer = train_wordpiece(TEXTS)
    assert tokenizer.tokenize("THE door") == ["the", "door"]
    assert tokenizer.tokenize("bad") == ["b", "##a", "##d"]
    assert tokenizer.tokenize("the [MASK] door") == ["the", "[MASK]", "door"]
    assert set(tokenizer.all_special_tokens) == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    assert tokenizer.tokenize("жук") == ["[UNK]"]
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


def test_missing_text_is_tokenized_as_empty_and_marked() -> None:
    tokens_BM, valid_BM, has_text_B = tokenize(train_wordpiece(TEXTS), ["the door", None, ""])
    assert has_text_B.tolist() == [True, False, True]
    assert tokens_BM[:, 0].unique().tolist() == [2]
    assert valid_BM.tolist() == [[True] * 4, [True, True, False, False], [True, True, False, False]]
    assert tokens_BM[1].tolist() == [2, 3, 0, 0]


def test_long_text_is_truncated_at_the_encoders_limit() -> None:
    tokens_BM, _, _ = tokenize(train_wordpiece(TEXTS), ["door " * 2_000])
    assert tokens_BM.shape == (1, 512)
    assert int(tokens_BM[0, -1]) == 3  # [SEP] stays.


def test_a_tokenizer_can_be_trained_without_text() -> None:
    assert len(train_wordpiece([])) == 5
    assert len(train_wordpiece(["", ""])) == 5


def test_transcripts_are_compared_by_their_words() -> None:
    assert normalise_transcript("  It's 11   O’CLOCK…") == normalise_transcript("it's 11 o'clock")
    assert normalise_transcript("...") == ""


def test_words_that_differ_only_in_their_marks_are_different() -> None:
    """Without them, Hindi loses its vowels, and two transcripts would count as one."""
    assert normalise_transcript("\u0915\u0940") != normalise_transcript("\u0915\u0947"), "ki and ke"
    assert normalise_transcript("\u0e01\u0e48\u0e32") != normalise_transcript("\u0e01\u0e49\u0e32"), "two tones"
    assert normalise_transcript("\u0928\u092e\u0938\u094d\u0924\u0947!") == "\u0928\u092e\u0938\u094d\u0924\u0947"
    assert normalise_transcript("na\u00efve") == normalise_transcript("NAI\u0308VE")
    assert normalise_transcript("\u0130stanbul") == "i\u0307stanbul", "one word"


def test_symbols_count_if_there_are_no_words() -> None:
    """Otherwise all transcripts of emoji would be equal."""
    assert normalise_transcript("\U0001f600") != normalise_transcript("\U0001f622")
    assert normalise_transcript("\u2764\ufe0f!") == normalise_transcript(" \u2764") != ""
    assert normalise_transcript("Yes \u2764\ufe0f") == normalise_transcript("yes")
    assert normalise_transcript("?!") == ""
