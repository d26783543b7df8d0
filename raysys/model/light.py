"""The light audio encoder: log-mel, strided convolutions, a small Transformer; trained from scratch.

For CPUs and small corpora (METHOD.md section 1). Letters: B utterances, S samples, T log-mel
frames (10 ms), J frames out, F mel bands, C channels, D width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from raysys.model.audio import Heard
from raysys.model.dropout import Dropout
from raysys.model.fast import speed_up_dropout
from raysys.model.mel import MelPower

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 400  # 25 ms
HOP_SAMPLES = 160  # 10 ms
FFT_SAMPLES = 512
N_MELS = 80
FLOOR_POWER = 1e-6


def mel_filters() -> Tensor:
    """Triangular filters from 20 Hz to 8 kHz, equally spaced in mel = 1127 ln(1 + Hz/700) as in Kaldi: (257, F)."""
    bins_hz = torch.arange(FFT_SAMPLES // 2 + 1, dtype=torch.float64, device="cpu") * SAMPLE_RATE_HZ / FFT_SAMPLES
    bins_mel = 1127.0 * torch.log1p(bins_hz / 700.0)[:, None]
    low_mel, high_mel = (1127.0 * math.log1p(hz / 700.0) for hz in (20.0, SAMPLE_RATE_HZ / 2))
    edges_mel = torch.linspace(low_mel, high_mel, N_MELS + 2, dtype=torch.float64, device="cpu")
    left, centre, right = edges_mel[:-2], edges_mel[1:-1], edges_mel[2:]
    rising, falling = (bins_mel - left) / (centre - left), (right - bins_mel) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0.0).float()


def valid_mask(lengths_B: Tensor, n: int) -> Tensor:
    """True where one of n positions is inside its utterance: (B, n)."""
    return torch.arange(n, device=lengths_B.device) < lengths_B[:, None]


def n_windows(lengths_B: Tensor) -> Tensor:
    """Whole windows within utterances of so many samples; at least one."""
    return (lengths_B.clamp(min=WINDOW_SAMPLES) - WINDOW_SAMPLES) // HOP_SAMPLES + 1


class MaskedInstanceNorm(nn.Module):
    """Normalise each channel to mean 0 and variance 1 over an utterance's own frames, then apply an affine map."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, maps_BCTF: Tensor, lengths_B: Tensor) -> Tensor:
        """maps_BCTF: zero beyond each utterance's length (frames). The output is not masked in padding."""
        counts_B111 = (lengths_B * maps_BCTF.shape[3]).view(-1, 1, 1, 1)
        mean_BC11 = maps_BCTF.sum((2, 3), keepdim=True) / counts_B111
        norm_BC11 = torch.linalg.vector_norm(maps_BCTF, dim=(2, 3), keepdim=True)
        variance_BC11 = (norm_BC11.square() / counts_B111 - mean_BC11.square()).clamp(min=0.0)
        scale_BC11 = self.weight[:, None, None] * torch.rsqrt(variance_BC11 + 1e-4)
        shift_BC11 = self.bias[:, None, None] - mean_BC11 * scale_BC11
        return torch.addcmul(shift_BC11, maps_BCTF, scale_BC11)


class _EncoderLayer(nn.TransformerEncoderLayer):
    """PyTorch's layer with the self-attention written out: PyTorch's mask check imports its compiler's shape module,
    which costs every training process 1.4 CPU seconds. Values and gradients are bit-identical.
    """

    def _sa_block(
        self, x: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool = False
    ) -> Tensor:
        assert attn_mask is None and not is_causal
        attention = self.self_attn
        n_rows, n_frames, width = x.shape
        # Time first, as in PyTorch: summing over rows in another order changes the last bit.
        projected_JBW = functional.linear(x.transpose(0, 1), attention.in_proj_weight, attention.in_proj_bias)
        split_3JBD = projected_JBW.unflatten(-1, (3, width)).unsqueeze(0).transpose(0, -2).squeeze(-2).contiguous()
        queries, keys, values = (
            part_JBD.view(n_frames, n_rows, attention.num_heads, -1).permute(1, 2, 0, 3) for part_JBD in split_3JBD
        )
        # Padding is already -inf here.
        mask = None if key_padding_mask is None else key_padding_mask[:, None, None, :]
        p = attention.dropout if self.training else 0.0
        mixed_BHJd = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=p)
        mixed_JBD = attention.out_proj(mixed_BHJd.permute(2, 0, 1, 3).flatten(2))
        dropped: Tensor = self.dropout1(mixed_JBD.transpose(0, 1))
        return dropped


class LightAudioEncoder(nn.Module):
    """16 kHz waveforms to frames of `width`, 80 ms apart; batching changes no frame by more than 1e-4."""

    def __init__(
        self,
        *,
        width: int = 96,
        channels: tuple[int, ...] = (16, 32, 64, 96),
        strides: tuple[tuple[int, int], ...] = ((2, 2), (2, 2), (1, 2), (2, 2)),
        n_layers: int = 1,
        n_heads: int = 4,
        dropout: float = 0.2,
        channel_dropout: float = 0.1,
    ) -> None:
        """strides: (frames, bands) of each convolution; channel_dropout: drops whole feature maps."""
        super().__init__()
        if width % 2 or width % n_heads:
            raise ValueError(f"width {width} must be even and divisible by n_heads {n_heads}")
        if not channels or len(strides) != len(channels):
            raise ValueError(f"strides {strides} must be one pair for each of channels {channels}")
        self.width = width
        self.latent_width = width
        self.states = 1
        self.strides = strides
        hann = functional.pad(torch.hann_window(WINDOW_SAMPLES), (0, FFT_SAMPLES - WINDOW_SAMPLES))
        self.mel_power = MelPower(hann, mel_filters(), hop=HOP_SAMPLES)
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        n_in, n_bands = 1, N_MELS
        for n_out, stride in zip(channels, strides, strict=True):
            self.convolutions.append(nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1))
            self.norms.append(MaskedInstanceNorm(n_out))
            n_in, n_bands = n_out, (n_bands - 1) // stride[1] + 1
        self.channel_dropout = nn.Dropout2d(channel_dropout)
        self.project = nn.Linear(n_in * n_bands, width)
        # The norms before this remove an utterance's loudness; this restores it.
        self.level = nn.Linear(2, width)
        self.project_norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            _EncoderLayer(width, n_heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True)
            for _ in range(n_layers)
        )
        for layer in self.layers:
            speed_up_dropout(layer)
        self.final_norm = nn.LayerNorm(width)

    @torch.no_grad()
    def log_mel(self, waveforms_BS: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-mel (B, T, F) with mean 0 and variance 1 over an utterance's own frames; number of frames (B,); and the
        removed mean level and spread (B, 2), scaled to order 1.

        Padding is 0. Only whole windows inside the utterance count; a single short window is zero-padded.
        """
        inside_BS = valid_mask(lengths_B, waveforms_BS.shape[1])
        # The window ends in zeros, so the last one may extend past the utterance by the FFT's padding.
        missing = max(0, WINDOW_SAMPLES - waveforms_BS.shape[1]) + FFT_SAMPLES - WINDOW_SAMPLES
        padded_BS = functional.pad(waveforms_BS.float() * inside_BS, (0, missing))
        mel_BTF = self.mel_power(padded_BS).clamp(min=FLOOR_POWER).log()
        n_frames_B = n_windows(lengths_B)
        valid_BT1 = valid_mask(n_frames_B, mel_BTF.shape[1])[:, :, None]
        counts_B11 = (n_frames_B * N_MELS).view(-1, 1, 1)
        mean_B11 = (mel_BTF * valid_BT1).sum((1, 2), keepdim=True) / counts_B11
        mel_BTF = (mel_BTF - mean_B11) * valid_BT1
        variance_B11 = mel_BTF.square().sum((1, 2), keepdim=True) / counts_B11
        level_B2 = torch.cat([(mean_B11 + 6.0) / 2.0, (variance_B11 + 1e-5).log() - 1.5], dim=1).squeeze(2)
        return mel_BTF * torch.rsqrt(variance_B11 + 1e-5), n_frames_B, level_B2

    def positions(self, frames_BJD: Tensor) -> Tensor:
        """Sinusoidal position encodings of the frame number, scaled by 0.3: (J, D)."""
        steps = torch.arange(0, self.width, 2, device=frames_BJD.device)
        rates = torch.exp(steps * (-math.log(1e4) / self.width))
        angles = torch.arange(frames_BJD.shape[1], device=frames_BJD.device)[:, None] * rates
        return 0.3 * torch.cat([angles.sin(), angles.cos()], dim=1)

    def forward(self, waveforms_BS: Tensor, lengths_B: Tensor, host_B: Tensor | None = None) -> Heard:
        """waveforms_BS: 16 kHz float32, zero-padded; lengths_B: int64 samples; host_B: the same on the CPU, if known.

        Frames are 0 in padding.
        """
        mel_BTF, lengths_B, level_B2 = self.log_mel(waveforms_BS, lengths_B)
        host_B = None if host_B is None else n_windows(host_B)
        maps_BCTF = mel_BTF[:, None]
        blocks = zip(self.convolutions, self.norms, self.strides, strict=True)
        for convolution, norm, stride in blocks:
            maps_BCTF = convolution(maps_BCTF)
            lengths_B = (lengths_B - 1) // stride[0] + 1
            host_B = None if host_B is None else (host_B - 1) // stride[0] + 1
            mask_B1T1 = valid_mask(lengths_B, maps_BCTF.shape[2])[:, None, :, None]
            # The maps are the encoder's largest tensors: apply mask and dropout in one pass.
            kept_BC11 = self.channel_dropout(maps_BCTF.new_ones(maps_BCTF.shape[:2])[:, :, None, None])
            normed_BCTF = norm(maps_BCTF * mask_B1T1, lengths_B)
            maps_BCTF = functional.relu(normed_BCTF, inplace=True) * (kept_BC11 * mask_B1T1)
        projected_BJD = self.project(maps_BCTF.transpose(1, 2).flatten(2)) + self.level(level_B2)[:, None]
        latents_BJD = self.project_norm(projected_BJD)
        valid_BJ = valid_mask(lengths_B, latents_BJD.shape[1])
        frames_BJD = self.dropout(latents_BJD + self.positions(latents_BJD))
        for layer in self.layers:
            frames_BJD = layer(frames_BJD, src_key_padding_mask=~valid_BJ)
        frames_BJD = self.final_norm(frames_BJD) * valid_BJ[:, :, None]
        return Heard(frames_BJD=frames_BJD, valid_BJ=valid_BJ, latents_BJL=latents_BJD, frames_host_B=host_B)
