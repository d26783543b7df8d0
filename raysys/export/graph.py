"""A network in a form that ONNX can express, with equal values, and its graph.

Recorded from one pass (torch.jit.trace): whatever depends on the sizes of its inputs stays dynamic, and parts whose
operators ONNX lacks are replaced by equal ones. Letters as in `raysys.model.network`.
"""

from __future__ import annotations

import contextlib
import copy
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from raysys.data.view import View
from raysys.inference.predict import EmotionModel
from raysys.model.fusion import BiGRU
from raysys.model.mel import MelPower
from raysys.model.network import Network

OPSET = 17
"""The first with layer norm as one operator."""
WAVEFORMS, LENGTHS, TOKENS, TOKEN_MASK, HAS_TEXT = "waveforms", "lengths", "tokens", "token_mask", "has_text"
PROBABILITIES = "probabilities"
AXES: dict[str, tuple[str, ...]] = {
    WAVEFORMS: ("batch", "samples"),
    LENGTHS: ("batch",),
    TOKENS: ("batch", "tokens"),
    TOKEN_MASK: ("batch", "tokens"),
    HAS_TEXT: ("batch",),
}
"""Dimensions of the inputs, all of any size."""
_SHORTEST = 400
"""Samples of an encoder's first frame; what is shorter is padded within the graph."""


class ConvolvedMelPower(nn.Module):
    """`MelPower` as two convolutions: with cosines and sines under the window, and across frequencies.

    Not as matrix products, which quantisation would round: a weak band's logarithm would be noise.
    """

    basis_P1N: Tensor
    filters_FK1: Tensor

    def __init__(self, mel: MelPower) -> None:
        super().__init__()
        basis_NK = torch.fft.rfft(torch.diag(mel.window_N.double()))
        basis_PN = torch.cat([basis_NK.real, basis_NK.imag], dim=1).T
        self.register_buffer("basis_P1N", basis_PN[:, None].float().contiguous())
        self.register_buffer("filters_FK1", mel.filters_KF.T[..., None].contiguous())
        self.hop = mel.hop

    def forward(self, waveforms_BS: Tensor) -> Tensor:
        parts_BPT = functional.conv1d(waveforms_BS[:, None], self.basis_P1N, stride=self.hop)
        real_BKT, imaginary_BKT = parts_BPT.square().chunk(2, dim=1)
        return functional.conv1d(real_BKT + imaginary_BKT, self.filters_FK1).transpose(1, 2)


class MirroredGRU(nn.Module):
    """`BiGRU` as two GRUs, the second over each row's valid positions in reverse: ONNX has no packed sequences."""

    def __init__(self, bigru: BiGRU) -> None:
        super().__init__()
        gru = bigru.gru
        self.ahead, self.back = (nn.GRU(gru.input_size, gru.hidden_size, batch_first=True) for _ in range(2))
        for part, weights in zip((self.ahead, self.back), gru.all_weights, strict=True):
            for name, weight in zip(part._all_weights[0], weights, strict=True):
                getattr(part, name).data = weight.data

    def forward(self, sequence_BUD: Tensor, valid_BU: Tensor, lengths_host_B: None = None) -> Tensor:
        positions_U = torch.arange(valid_BU.shape[1])
        last_B1 = valid_BU.sum(dim=1, keepdim=True) - 1
        mirror_BU = torch.where(valid_BU, last_B1 - positions_U, positions_U)
        start_1BH = sequence_BUD.new_zeros(1, sequence_BUD.shape[0], self.ahead.hidden_size)
        ahead_BUH, _ = self.ahead(sequence_BUD, start_1BH)
        back_BUH, _ = self.back(_gathered(sequence_BUD, mirror_BU), start_1BH)
        both_BUD = torch.cat([ahead_BUH, _gathered(back_BUH, mirror_BU)], dim=-1)
        return both_BUD * valid_BU[..., None]


def _gathered(sequence_BUD: Tensor, index_BU: Tensor) -> Tensor:
    return sequence_BUD.gather(1, index_BU[..., None].expand(-1, -1, sequence_BUD.shape[-1]))


class Probabilities(nn.Module):
    """The exported function: inputs of `names`, in their order, to class probabilities (B x C)."""

    def __init__(self, network: Network, names: tuple[str, ...], temperature: float) -> None:
        super().__init__()
        self.network = network
        self.names = names
        self.temperature = temperature

    def forward(self, *inputs: Tensor) -> Tensor:
        given = dict(zip(self.names, inputs, strict=True))
        waveforms_BS, valid_BM, has_text_B = given.get(WAVEFORMS), None, given.get(HAS_TEXT)
        if waveforms_BS is not None:
            n_samples = torch._shape_as_tensor(waveforms_BS)[1].clamp_min(_SHORTEST)
            waveforms_BS = functional.pad(waveforms_BS, (0, _SHORTEST))[:, :n_samples]
        if TOKEN_MASK in given:
            valid_BM = given[TOKEN_MASK].bool()
            # Of a model that reads text alone, every row has text.
            has_text_B = valid_BM.any(dim=1) if has_text_B is None else has_text_B
        view = View(
            waveforms_BS=waveforms_BS,
            lengths_B=given.get(LENGTHS),
            tokens_BM=given.get(TOKENS),
            token_valid_BM=valid_BM,
            has_text_B=has_text_B,
        )
        logits_BC: Tensor = self.network((view,)).logits_NC
        return (logits_BC / self.temperature).softmax(dim=-1)


def exportable(network: Network, names: tuple[str, ...], temperature: float) -> Probabilities:
    """A copy of the network, in evaluation, on the CPU, whose parts ONNX can express.

    Args:
        temperature: what its logits are divided by.
    """
    copied = copy.deepcopy(network).cpu().eval()
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, MelPower):
                setattr(parent, name, ConvolvedMelPower(child))
            elif isinstance(child, BiGRU):
                setattr(parent, name, MirroredGRU(child))
    return Probabilities(copied, names, temperature)


def onnx_graph(model: EmotionModel, example: Mapping[str, Tensor]) -> bytes:
    """The model as ONNX, of any batch and any lengths.

    Args:
        example: inputs by name, with padding in both modalities, so that no mask is recorded as absent.
    """
    names = tuple(example)
    axes = {name: dict(enumerate(AXES[name])) for name in names}
    with (
        torch.no_grad(),
        _plain_layers(),
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory() as local,
    ):
        # Of constants that are recorded, which are checked afterwards by predictions of other sizes.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            exportable(model.network, names, model.temperature),
            tuple(example.values()),
            Path(local) / "model.onnx",
            input_names=list(names),
            output_names=[PROBABILITIES],
            dynamic_axes=axes | {PROBABILITIES: {0: "batch"}},
            opset_version=OPSET,
            # Records one pass, as `exportable` expects; the other exporter needs one more package.
            dynamo=False,
        )
        return (Path(local) / "model.onnx").read_bytes()


@contextlib.contextmanager
def _plain_layers() -> Iterator[None]:
    """PyTorch's fused Transformer layer, of which ONNX knows nothing, is off."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
