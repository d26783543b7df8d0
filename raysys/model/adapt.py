"""Which part of a pretrained encoder learns: all of it, its top layers, or adapters in them; and in how much memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from raysys.config import ModelConfig
from raysys.errors import EncoderError

ADAPTER = ".lora_"
"""Part of the names of an adapter's parameters, and of no others."""
_READS_WEIGHTS = ("wavlm",)
"""Their attention reads its projections' weights without calling them, so an adapter there would never be used."""


class Encoder(Protocol):
    """A pretrained encoder.

    Attributes:
        frozen: the model is not trained, except for `learning`.
        learning: its layers that are trained, wholly or by adapters, although the rest is frozen.
    """

    model: Any
    frozen: bool
    learning: tuple[nn.Module, ...]
    training: bool


def set_modes(encoder: Encoder) -> None:
    """Let frozen parts run as in evaluation, without dropout or masked frames, and layers that learn as in training."""
    if encoder.frozen:
        encoder.model.eval()
        for layer in encoder.learning:
            layer.train(encoder.training)


def let_learn(encoder: Encoder, config: ModelConfig, flag: str, name: str) -> None:
    """Freeze all but an encoder's top layers or adapters in them, and have activations recomputed, as configured.

    An encoder that is frozen stays as it is.

    Args:
        flag, name: of the encoder, used in error messages.

    Raises:
        EncoderError: there are fewer layers, or what is asked for does not work with this model.
    """
    if encoder.frozen or not (config.learns_in_part or config.checkpoint_activations):
        return
    layers = layers_of(encoder.model)
    if not layers:
        raise EncoderError(
            f"{flag} {name}: has no list of separate layers, which --model.adapt, --model.unfreeze-top and "
            f"--model.checkpoint-activations need. Leave these out, or give an encoder such as wav2vec 2.0, WavLM, "
            f"Whisper, BERT or RoBERTa."
        )
    refuse_missing_layers(encoder.model.config, config, flag, name)
    if config.learns_in_part:
        encoder.frozen = True
        encoder.learning = tuple(layers[-(config.unfreeze_top or config.lora_layers) :])
        encoder.model.requires_grad_(False)
    if config.unfreeze_top:
        for layer in encoder.learning:
            layer.requires_grad_(True)
    elif config.adapt == "lora":
        _add_adapters(encoder.model, encoder.learning, config.lora_rank, f"{flag} {name}")
    if config.checkpoint_activations:
        _recompute(layers, f"{flag} {name}")


def _recompute(layers: Sequence[nn.Module], what: str) -> None:
    """What transformers' gradient_checkpointing_enable does, but not to convolutions as well.

    Recomputed after other forward passes, their group norm would use the lengths of another batch.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    for layer in layers:
        if not isinstance(layer, GradientCheckpointingLayer):
            raise EncoderError(
                f"{what}: transformers cannot compute a {type(layer).__name__} again in the backward pass; leave out "
                f"--model.checkpoint-activations."
            )
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)


def refuse_missing_layers(read: Any, config: ModelConfig, flag: str, name: str) -> None:
    """Refuse to train more of an encoder's layers than there are.

    Args:
        read: its configuration.

    Raises:
        EncoderError: naming the flag, the encoder and both numbers.
    """
    # One of another kind, which has none, is refused elsewhere.
    n = int(getattr(read, "num_hidden_layers", max(config.unfreeze_top, config.lora_layers)))
    for asked, wanted in (("--model.unfreeze-top", config.unfreeze_top), ("--model.lora-layers", config.lora_layers)):
        if wanted > n:
            raise EncoderError(
                f"{asked} is {wanted}, but {flag} {name} has {n} layer{'' if n == 1 else 's'}; give at most {n}, or "
                f"0 to leave it out."
            )


def refuse_missing_peft(config: ModelConfig) -> None:
    """Raises: EncoderError: adapters are asked for, and the package that makes them is not installed."""
    if config.adapt == "lora" and importlib.util.find_spec("peft") is None:
        raise EncoderError(
            "--model.adapt lora needs the package peft, which is not installed: pip install 'raysys[lora]', on all "
            "nodes; or use --model.unfreeze-top, which needs no package."
        )


def layers_of(model: Any) -> list[nn.Module]:
    """The Transformer layers of a transformers model, from the lowest; none if it has no such list, as ALBERT."""
    lists = [
        list(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        # wav2vec 2.0 has a list of convolutions too.
        and not name.startswith("feature_extractor")
        and len(module) == model.config.num_hidden_layers
    ]
    return lists[0] if lists else []


def depths(encoder: nn.Module) -> dict[nn.Parameter, int]:
    """How far below the top the layer of each parameter is: 0 in the top layer.

    What is outside the layers, such as embeddings and convolutions, counts as one below the lowest.
    """
    layers = layers_of(encoder.model)
    found = dict.fromkeys(encoder.parameters(), len(layers))
    for depth, layer in enumerate(reversed(layers)):
        found |= dict.fromkeys(layer.parameters(), depth)
    return found


def merged_state(network: nn.Module) -> dict[str, Tensor]:
    """A network's state with its adapters added to the weights: that of the network without adapters."""
    state: dict[str, Tensor] = dict(network.state_dict())
    adapted = [name.partition(f"{ADAPTER}A.")[0] for name in state if f"{ADAPTER}A." in name]
    for name in adapted:
        layer: Any = network.get_submodule(name)
        (adapter,) = layer.active_adapters
        state[f"{name}.base_layer.weight"] = layer.base_layer.weight + layer.get_delta_weight(adapter)
    return {name.replace(".base_layer.", "."): value for name, value in state.items() if ADAPTER not in name}


def as_loaded(network: nn.Module) -> set[str]:
    """Names, in `merged_state`, of an encoder's weights that training does not change."""
    return {
        name
        for name, parameter in network.named_parameters()
        if not parameter.requires_grad and "_encoder." in name and ADAPTER not in name and ".base_layer." not in name
    }


def _add_adapters(model: Any, layers: Sequence[nn.Module], rank: int, what: str) -> None:
    """Add LoRA (Hu et al. 2021) to the attention's projections in these layers; nothing is read from any folder."""
    refuse_missing_peft(ModelConfig(adapt="lora"))
    from peft import LoraConfig, inject_adapter_in_model

    names = _projections(model, layers)
    if not names:
        raise EncoderError(
            f"{what}: --model.adapt lora finds no linear projections in the attention of its layers; use "
            f"--model.unfreeze-top instead."
        )
    # Scale 2 whatever the rank, so that a rate found at one rank suits another.
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=names), model)


def _projections(model: Any, layers: Sequence[nn.Module]) -> list[str]:
    """Names of linear maps from and to the model's width: of the attention or, where it must be, of what follows it."""
    in_attention = model.config.model_type not in _READS_WEIGHTS
    width: int = model.config.hidden_size
    chosen = {
        module
        for layer in layers
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear)
        # Gates of relative positions, of other sizes, are no projections.
        and not (module.in_features % width or module.out_features % width)
        and ("att" in name) == in_attention
    }
    return [name for name, module in model.named_modules() if module in chosen]
