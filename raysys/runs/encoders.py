"""Check the pretrained encoders that a run's points use, on the driver, before a cluster starts."""

from __future__ import annotations

from collections.abc import Sequence

from raysys.config import BUILT_IN, ExperimentConfig, ModelConfig
from raysys.data.manifest import Manifest


def check_configurations(configs: Sequence[ExperimentConfig]) -> None:
    """Read the encoders' configurations: a wrong name fails before the corpus is read.

    Raises:
        EncoderError: an encoder is not there, or is of a kind that cannot be used.
    """
    checks = {(c.model, c.corpus.resolved_modalities, _masked_lm(c)): c for c in configs if _pretrained(c)}
    if not checks:
        return
    # Imports torch, 3 s that a start without pretrained encoders does not wait for.
    from raysys.model.encoders import check_encoders

    for model, modalities, masked_lm in checks:
        check_encoders(model, modalities, masked_lm=masked_lm)


def probe_encoders(configs: Sequence[ExperimentConfig], manifest: Manifest) -> tuple[str, ...]:
    """Try every encoder that is used on two utterances, one of them with the corpus's longest text.

    Returns: notes for the user.

    Raises:
        EncoderError: one cannot be trained on this corpus.
    """
    configs = [c for c in configs if _pretrained(c)]
    if not configs:
        return ()
    from transformers.utils import logging

    from raysys.model import probe

    # Progress bars and tables of missing weights; what matters in them is a note or an error of ours.
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    audio = [c.model for c in configs if c.corpus.resolved_modalities != "text"]
    text = [c.model for c in configs if c.corpus.resolved_modalities != "audio"]
    masked_lms = {_masked_lm(c): c.augment.cbca_model is None for c in configs}
    spoken = sorted({u.transcript for u in manifest.utterances if u.transcript})
    one_each = {(m.audio, m.weights, m.freeze_audio, m.layer, *_learning(m)): m for m in audio}
    notes = [probe.probe_audio(model) for model in one_each.values()]
    one_each = {(m.text, m.weights, m.freeze_text, *_learning(m)): m for m in text}
    notes += [probe.probe_text(model, spoken) for model in one_each.values()]
    for name, implied in masked_lms.items():
        probe.probe_masked_lm(name, spoken, implied=implied)
    return tuple(dict.fromkeys(note for found in notes for note in found))


def trained_line(configs: Sequence[ExperimentConfig], n_classes: int) -> str | None:
    """How many of a network's parameters are trained, of the smallest and the largest of several.

    None without pretrained encoders, where nearly all are.
    """
    configs = [c for c in configs if _pretrained(c)]
    if not configs:
        return None
    # torch was imported when the encoders were tried.
    from raysys.model.encoders import has_own_tokenizer
    from raysys.model.parts import count_trained, empty_network

    found: set[tuple[int, int]] = set()
    alike = {(c.model, c.corpus.resolved_modalities, c.loss.contrasts, c.loss.active_cpc): c for c in configs}
    for c in alike.values():
        network = empty_network(c.model, n_classes, c.corpus.resolved_modalities, c.loss)
        found.add((count_trained(network), sum(p.numel() for p in network.parameters())))
    # A tokenizer that each fold trains has as many tokens as it finds.
    known = all(c.corpus.resolved_modalities == "audio" or has_own_tokenizer(c.model) for c in configs)
    ends = dict.fromkeys((min(found), max(found)))
    return ("" if known else "about ") + " to ".join(f"{n:,} of {total:,}" for n, total in ends) + " parameters"


def _learning(model: ModelConfig) -> tuple[object, ...]:
    return model.adapt, model.lora_rank, model.lora_layers, model.unfreeze_top, model.checkpoint_activations


def _pretrained(config: ExperimentConfig) -> bool:
    """Whether the configuration uses an encoder that is not our own."""
    modalities = config.corpus.resolved_modalities
    audio = config.model.audio if modalities != "text" else BUILT_IN[0]
    text = config.model.text if modalities != "audio" else BUILT_IN[0]
    return not {audio, text, _masked_lm(config)} <= set(BUILT_IN)


def _masked_lm(config: ExperimentConfig) -> str:
    return config.masked_lm if config.rewrites_text else "light"
