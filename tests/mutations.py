"""Mutation tests: break the method on purpose, one line at a time, and check that a named test fails.

    uv run python tests/mutations.py [words of a title]

Each mutation is applied to a copy of the source. A process that has imported the libraries, but none of our code, forks
for each, so that a mutation costs only its test. Exit code 1: a mutation survived, or no longer applies.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import hypothesis  # noqa: F401
import numpy as np  # noqa: F401
import pytest
import scipy.special  # noqa: F401
import sklearn.metrics  # noqa: F401
import soundfile  # noqa: F401
import torch
import transformers.models.distilbert
import transformers.models.wav2vec2  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mutation:
    """One mutation: in `file`, the only occurrence of `old` is replaced by `new`; `test` must fail."""

    title: str
    file: str
    old: str
    new: str
    test: str


CE, CON, CPC = "losses/objective.py", "losses/contrastive.py", "losses/cpc.py"
GROUP_NORM, STATES = "model/group_norm.py", "model/states.py"
LSA, AUDIO, GATHER, FUSION = "augment/lsa.py", "model/audio.py", "losses/gather.py", "model/fusion.py"
T_CE, T_CON, T_CPC = "losses/test_objective.py::", "losses/test_contrastive.py::", "losses/test_cpc.py::"
T_LSA, T_AUDIO = "augment/test_lsa.py::", "model/test_audio.py::"
T_GATHER = "losses/test_gather.py::test_gradients_equal_those_of_one_worker[two workers]"
INTERVALS, T_INTERVALS = "intervals.py", "test_intervals.py::"
QUEUE, T_QUEUE = "losses/queue.py", "losses/test_queue.py::"
T_CRITERION = "training/test_criterion.py::"
T_SPECTROGRAM = "model/test_spectrogram.py::"
T_FUSION, T_NETWORK = "model/test_fusion.py::", "model/test_network.py::"
FRAMES = T_AUDIO + "test_frames_do_not_depend_on_the_batch[5000-wav2vec2]"
SHORT_FRAMES = T_AUDIO + "test_frames_do_not_depend_on_the_batch[1999-wav2vec2]"
N_PAIR_LOOPS = T_CON + "test_n_pair_agrees_with_loops"
SUPCON_LOOPS = T_CON + "test_supcon_agrees_with_loops"
LSA_LOOPS = T_LSA + "test_agrees_with_the_equations_in_plain_loops"
TEMPORAL_LOOPS = T_CPC + "test_temporal_agrees_with_loops_and_padding_is_no_distractor"

MUTATIONS = (
    # Intervals over speakers.
    Mutation(
        "intervals: variance of a population",
        INTERVALS,
        "len(own) / (len(own) - 1)",
        "1.0",
        T_INTERVALS + "test_an_interval_by_hand",
    ),
    Mutation(
        "intervals: speakers vary around the whole corpus",
        INTERVALS,
        "own - own.mean()",
        "own",
        T_INTERVALS + "test_speakers_vary_within_their_fold",
    ),
    Mutation(
        "intervals: degrees of freedom as for equal lengths",
        INTERVALS,
        "share_U[stratum_U == stratum] ** 2",
        "share_U[stratum_U == stratum] ** 0",
        T_INTERVALS + "test_a_difference_of_speakers_of_unequal_length_by_hand",
    ),
    # Published partitions.
    Mutation(
        "partition: unknown speakers are one",
        "report/parts.py",
        "np.where(unknown_N, [_ALONE",
        "np.where(~unknown_N, [_ALONE",
        "report/test_partition.py::test_an_utterance_of_an_unknown_speaker_is_a_cluster_of_its_own",
    ),
    Mutation(
        "partition: only what is validated on is heard",
        "data/partition.py",
        "heard |= test & (train | validation)",
        "heard |= test & validation",
        "data/test_partition.py::test_shared_and_unknown_speakers_are_counted_and_told",
    ),
    Mutation(
        "partition: IEMOCAP's speaker wears the markers",
        "corpora/emobox.py",
        "return match[1] + match[2]",
        "return stated",
        "corpora/test_emobox.py::test_who_speaks[iemocap-Ses01F_impro01_M003-Ses01F-Ses01M]",
    ),
    # Cross-entropy.
    Mutation("cross-entropy: a mean", CE, 'reduction="sum"', 'reduction="mean"', T_CE + "test_by_hand"),
    Mutation(
        "cross-entropy: no smoothing",
        CE,
        "label_smoothing=label_smoothing",
        "label_smoothing=0.0",
        T_CE + "test_class_weights_are_those_of_torch",
    ),
    Mutation(
        "cross-entropy: no class weights",
        CE,
        "weight=class_weights_C",
        "weight=None",
        T_CE + "test_class_weights_are_those_of_torch",
    ),
    Mutation(
        "cross-entropy: weights not of mean 1",
        CE,
        "/ (len(counts) * count)",
        "/ count",
        T_CE + "test_balanced_class_weights_by_hand_and_as_scikit_learn_has_them",
    ),
    # N-pair.
    Mutation(
        "n-pair: own other view is a positive",
        CON,
        "positive_NN = same_class_NN & (utterance_N[:, None] != utterance_N[None, :])",
        "positive_NN = same_class_NN.clone().fill_diagonal_(False)",
        T_CON + "test_n_pair_own_other_view_is_no_positive",
    ),
    Mutation(
        "n-pair: own other view is a negative",
        CON,
        "negative_NN = ~same_class_NN",
        "negative_NN = ~positive_NN",
        N_PAIR_LOOPS,
    ),
    Mutation(
        "n-pair: the 1 is lost",
        CON,
        "torch.logaddexp(margin_NN, torch.zeros_like(margin_NN))",
        "margin_NN",
        N_PAIR_LOOPS,
    ),
    Mutation(
        "n-pair: a sum over positives",
        CON,
        "pair_NN.sum(dim=1) / positive_NN.sum(dim=1).clamp(min=1)",
        "pair_NN.sum(dim=1)",
        N_PAIR_LOOPS,
    ),
    Mutation(
        "n-pair: exp overflows",
        CON,
        "torch.logsumexp(summed_NM, dim=1)",
        "summed_NM.exp().sum(dim=1).log()",
        T_CON + "test_n_pair_survives_huge_dot_products",
    ),
    # SupCon.
    Mutation(
        "supcon: an anchor is its own positive",
        CON,
        "positive_NN = (labels_N[:, None] == labels_N[None, :]) & ~itself_NN",
        "positive_NN = labels_N[:, None] == labels_N[None, :]",
        SUPCON_LOOPS,
    ),
    Mutation("supcon: an anchor among all", CON, ".masked_fill(itself_NN, -torch.inf)", "", SUPCON_LOOPS),
    Mutation(
        "supcon: no temperature", CON, "(unit_NE @ unit_NE.T / temperature)", "(unit_NE @ unit_NE.T)", SUPCON_LOOPS
    ),
    Mutation(
        "n-pair: unit vectors over the temperature twice",
        CON,
        "unit_rows(rows_NE.float()) / temperature**0.5",
        "unit_rows(rows_NE.float()) / temperature",
        T_CON + "test_n_pair_of_unit_vectors_agrees_with_loops_whatever_their_norms",
    ),
    Mutation(
        "n-pair: unit vectors only by name",
        "training/criterion.py",
        'config.temperature if config.scl_scale == "unit" else None',
        "None",
        T_CRITERION + "test_n_pair_of_unit_vectors_does_not_grow_with_the_embeddings",
    ),
    # A head per task, and the queue of past embeddings.
    Mutation(
        "heads: both terms by the first",
        "training/criterion.py",
        "*views[-1],",
        "*views[0],",
        T_CRITERION + "test_a_head_for_each_term",
    ),
    Mutation(
        "queue: n-pair: the past of its own class repels",
        CON,
        "negative_NM = torch.cat([negative_NN, labels_N[:, None] != past.labels_Q[None, :]], dim=1)",
        "negative_NM = torch.cat([negative_NN, labels_N[:, None] > -1 * past.labels_Q[None, :] - 1], dim=1)",
        T_QUEUE + "test_n_pair_has_the_past_of_other_classes_as_negatives",
    ),
    Mutation(
        "queue: supcon: the past of its own class repels",
        CON,
        "past_NQ.masked_fill(same_class_NQ, -torch.inf)",
        "past_NQ",
        T_QUEUE + "test_supcon_has_the_past_of_other_classes_as_negatives",
    ),
    Mutation(
        "queue: acl: the past of its own view repels",
        CON,
        "_against(left_NE, past_right, temperature, group_N)",
        "_against(left_NE, past_left, temperature, group_N)",
        T_QUEUE + "test_an_anchor_of_one_view_has_the_past_of_the_other_view_as_negatives",
    ),
    Mutation(
        "queue: acl: the past of its own class repels",
        CON,
        "return logits_NQ.masked_fill(group_N[:, None] == past.labels_Q[None, :], -torch.inf)",
        "return logits_NQ",
        T_QUEUE + "test_an_anchor_of_one_view_has_the_past_of_the_other_view_as_negatives[other classes]",
    ),
    Mutation(
        "queue: an utterance is a negative of itself",
        QUEUE,
        "return (~torch.isin(self.utterance_Q, utterance_N)).nonzero()[:, 0]",
        "return torch.arange(len(self.utterance_Q))",
        T_QUEUE + "test_no_utterance_is_a_negative_of_itself",
    ),
    Mutation(
        "queue: the newest go first",
        QUEUE,
        "self.utterance_Q = torch.cat([self.utterance_Q[kept_K], utterance_N])[-self.size :]",
        "self.utterance_Q = torch.cat([self.utterance_Q[kept_K], utterance_N])[: self.size]",
        T_QUEUE + "test_first_in_first_out_by_hand",
    ),
    Mutation(
        "queue: gradients reach the past",
        QUEUE,
        "rows_NVHE.detach()",
        "rows_NVHE",
        T_QUEUE + "test_no_gradient_reaches_the_past",
    ),
    Mutation(
        "queue: not in the checkpoint",
        "training/state.py",
        "self.queue.restore(tensors)",
        "pass",
        "training/test_queue_resumed.py::test_resumed_equals_uninterrupted[between epochs-shared]",
    ),
    # Gradient norms.
    Mutation(
        "norms: of the last term again",
        "training/trunk.py",
        "float(_norm(term, shared, workers))",
        "float(_norm(parts.total, shared, workers))",
        "training/test_trunk.py::test_a_norm_is_that_of_the_terms_own_backward_pass",
    ),
    Mutation(
        "norms: of one worker's gradient",
        "training/trunk.py",
        "torch.distributed.all_reduce(mean)",
        "pass",
        T_CRITERION + "test_workers_train_and_score_as_one[two workers]",
    ),
    # Augmentation contrast.
    Mutation(
        "acl: one way only",
        CON,
        "(F.cross_entropy(ahead_NM, partner_N) + F.cross_entropy(back_NM, partner_N)) / 2",
        "F.cross_entropy(ahead_NM, partner_N)",
        T_CON + "test_info_nce_agrees_with_loops_and_is_symmetric",
    ),
    Mutation(
        "acl: products instead of cosines",
        CON,
        "unit_rows(left_NE) @ unit_rows(right_NE).T",
        "left_NE @ right_NE.T",
        T_CON + "test_info_nce_agrees_with_loops_and_is_symmetric",
    ),
    Mutation(
        "acl: same class repels",
        CON,
        "same_NN.fill_diagonal_(False)",
        "torch.zeros_like(same_NN)",
        T_CON + "test_utterances_of_a_group_are_not_each_others_negatives",
    ),
    # Cross-modal CPC.
    Mutation(
        "cpc: equal transcripts repel",
        CPC,
        "(group_N[:, None] == group_N[None, :]) | unusable_N1.T",
        "unusable_N1.T.repeat(len(group_N), 1)",
        T_CPC + "test_agrees_with_loops",
    ),
    Mutation(
        "cpc: the target is the anchor",
        CPC,
        "unit_rows(predicted_ND) @ unit_rows(target_ND).T",
        "unit_rows(target_ND) @ unit_rows(predicted_ND).T",
        T_CPC + "test_agrees_with_loops",
    ),
    Mutation(
        "cpc: rows without text take part",
        CPC,
        "(group_N[:, None] == group_N[None, :]) | unusable_N1.T",
        "group_N[:, None] == group_N[None, :]",
        T_CPC + "test_rows_that_are_not_usable_change_nothing_whatever_they_hold",
    ),
    Mutation(
        "cpc: the fused vector is the context",
        "model/network.py",
        "if self.predicts_from_fused:",
        "if True:",
        T_CRITERION + "test_cpc_predicts_each_modality_from_the_other_among_utterances_with_text",
    ),
    Mutation(
        "cpc: each modality predicts itself",
        "model/network.py",
        "self.predict_audio(text_ND), self.predict_text(audio_ND)",
        "self.predict_audio(audio_ND), self.predict_text(text_ND)",
        "training/test_cpc_leak.py::test_with_another_utterances_text_only_a_term_without_a_leak_rises_to_chance",
    ),
    Mutation(
        "cpc: audio without text is predicted",
        "training/criterion.py",
        "torch.ones_like(has_text_N) if fused else has_text_N",
        "torch.ones_like(has_text_N)",
        T_CRITERION + "test_rows_without_text_are_out_of_cpcs_text_term[cross_modal]",
    ),
    Mutation(
        "cpc: audio is told apart by equal transcripts",
        "training/criterion.py",
        "utterance_N if fused else transcript_N",
        "utterance_N",
        T_CRITERION + "test_equal_transcripts_are_no_negatives",
    ),
    # Temporal CPC.
    Mutation(
        "temporal cpc: the frame itself is the target",
        CPC,
        "torch.arange(ahead, n_frames,",
        "torch.arange(0, n_frames - ahead,",
        T_CPC + "test_temporal_by_hand",
    ),
    Mutation(
        "temporal cpc: padding is a distractor",
        CPC,
        "logits_BJI = logits_BJI.masked_fill(~valid_BJ[:, None, :], torch.finfo(torch.float32).min)",
        "pass",
        TEMPORAL_LOOPS,
    ),
    Mutation(
        "temporal cpc: padding is predicted",
        CPC,
        "counted_BJ = valid_BJ[:, ahead:]",
        "counted_BJ = valid_BJ[:, :-ahead]",
        TEMPORAL_LOOPS,
    ),
    # The objective.
    Mutation(
        "objective: not scaled for the mean over workers",
        "training/criterion.py",
        "ce = workers * ce_sum",
        "ce = ce_sum",
        "training/test_criterion.py::test_workers_have_the_gradient_of_one[two workers-light, one utterance]",
    ),
    Mutation(
        "objective: CPC hears the augmented view",
        "model/network.py",
        "n_clean=len(views[0])",
        "n_clean=None",
        "training/test_criterion.py::test_temporal_cpc_is_of_the_clean_view_and_its_mean_over_frames",
    ),
    # LSA.
    Mutation("lsa: faster smoothing", LSA, "_SMOOTHING = np.float32(0.98)", "_SMOOTHING = np.float32(0.5)", LSA_LOOPS),
    Mutation("lsa: Wiener's gain", LSA, 'wiener_F * table.take(entry_F, mode="clip")', "wiener_F", LSA_LOOPS),
    Mutation(
        "lsa: biased noise",
        LSA,
        "return quiet_F / np.float32(_expected_quiet_power(n_quiet, len(power_JF)))",
        "return quiet_F",
        LSA_LOOPS,
    ),
    Mutation(
        "lsa: strength ignored",
        LSA,
        "_gains(gamma_JF) ** np.float32(strength)",
        "_gains(gamma_JF)",
        T_LSA + "test_strength_zero_is_the_identity_and_strengths_interpolate",
    ),
    Mutation("lsa: a floor of -3 dB", LSA, "10 ** (-25 / 10)", "10 ** (-3 / 10)", LSA_LOOPS),
    # The group norm fix.
    Mutation(
        "group norm: padding counts",
        GROUP_NORM,
        "mask_B1T = torch.arange(x_BCT.shape[-1], device=x_BCT.device) < valid_B11",
        "mask_B1T = torch.ones_like(x_BCT[:, :1], dtype=torch.bool)",
        FRAMES,
    ),
    Mutation(
        "group norm: variance over padding",
        GROUP_NORM,
        "centred_BCT.square().sum(-1, keepdim=True) / valid_B11",
        "centred_BCT.square().sum(-1, keepdim=True) / x_BCT.shape[-1]",
        FRAMES,
    ),
    Mutation(
        "group norm: unbiased variance",
        GROUP_NORM,
        "centred_BCT.square().sum(-1, keepdim=True) / valid_B11",
        "centred_BCT.square().sum(-1, keepdim=True) / (valid_B11 - 1)",
        T_AUDIO + "test_masked_group_norm_is_group_norm_where_nothing_is_padded",
    ),
    Mutation(
        "group norm: one frame too many",
        AUDIO,
        "(heard_B - first.conv_kernel[0]) // first.conv_stride[0] + 1",
        "heard_B // first.conv_stride[0]",
        SHORT_FRAMES,
    ),
    # The gather.
    Mutation(
        "gather: gradients are not summed", GATHER, "dist.all_reduce(summed_ND, op=dist.ReduceOp.SUM)", "pass", T_GATHER
    ),
    Mutation(
        "gather: the first worker's gradient",
        GATHER,
        "summed_ND[ctx.first : ctx.first + ctx.n_own]",
        "summed_ND[: ctx.n_own]",
        T_GATHER,
    ),
    Mutation("gather: padding stays", GATHER, "[rows[:size] for rows, size", "[rows for rows, size", T_GATHER),
    Mutation(
        "gather: half precision",
        GATHER,
        "rows_ND.to(torch.promote_types(rows_ND.dtype, torch.float32))",
        "rows_ND",
        "losses/test_gather.py::test_half_precision_is_raised_to_float32",
    ),
    # Masks.
    Mutation(
        "masks: padding is attended to",
        FUSION,
        "context_valid_BK[:, None, None, :],",
        "None,",
        T_FUSION + "test_padding_never_receives_attention",
    ),
    Mutation(
        "masks: padding between the streams",
        FUSION,
        "(~valid_BU * n_joint + torch.arange(n_joint, device=valid_BU.device)).argsort(dim=1)",
        "torch.arange(valid_BU.shape[1]).repeat(len(valid_BU), 1)",
        T_FUSION + "test_close_up_joins_row_by_row_in_order",
    ),
    Mutation(
        "masks: the GRU reads padding",
        "model/gru.py",
        "lengths_B[:, None] - 1 - position_U",
        "longest - 1 - position_U",
        T_FUSION + "test_gru_of_a_padded_batch_is_that_of_each_row_alone",
    ),
    Mutation(
        "masks: the maximum of padding",
        "model/pooling.py",
        "sequence_BTD.masked_fill(~valid_BT[..., None], lowest)",
        "sequence_BTD",
        "model/test_pooling.py::test_padding_never_counts[max]",
    ),
    Mutation(
        "masks: wav2vec 2.0 hears padding",
        AUDIO,
        "attention_mask=heard_BS.long(),",
        "attention_mask=torch.ones_like(heard_BS).long(),",
        FRAMES,
    ),
    Mutation(
        "masks: DistilBERT reads padding",
        "distilbert.py",
        "None if unmasked else valid_BM",
        "None if True else valid_BM",
        T_NETWORK + "test_outputs_do_not_depend_on_the_batch",
    ),
    Mutation(
        "masks: a pretrained text encoder reads padding",
        "model/text.py",
        "attention_mask=valid_BM.long()",
        "attention_mask=None",
        "model/test_encoders.py::test_padding_changes_no_token_of_a_pretrained_text_encoder",
    ),
    Mutation(
        "masks: tokens of a missing text",
        "model/network.py",
        "valid_NM = (missing_N1 & first_M) | (~missing_N1 & view.token_valid_BM)",
        "valid_NM = view.token_valid_BM",
        T_NETWORK + "test_rows_without_text_ignore_their_tokens",
    ),
    Mutation(
        "host lengths: a missing text has its tokens",
        "model/network.py",
        "tokens_B = torch.where(view.host.has_text_B, tokens_B, 1)",
        "pass",
        "model/test_host_lengths.py::test_the_fused_sequence_is_as_long_as_its_longest_row[1-both]",
    ),
    Mutation(
        "host lengths: rows of a packed sequence stay in the order of their lengths",
        "model/gru.py",
        "return output_BUD.index_select(0, back_B)",
        "return output_BUD",
        "model/test_gru.py::test_outputs_and_all_gradients_are_torchs[lengths0]",
    ),
    Mutation(
        "masks: the light encoder hears padding",
        "model/light.py",
        "src_key_padding_mask=~valid_BJ",
        "src_key_padding_mask=None",
        "model/test_light.py::test_frames_do_not_depend_on_the_batch",
    ),
    # CBCA and batches.
    Mutation(
        "cbca: the test part is read",
        "data/texts.py",
        "for name in fold.train if",
        "for name in fold.train + fold.test if",
        "data/test_texts.py::test_no_test_or_validation_transcript_or_label_reaches_the_language_model",
    ),
    Mutation(
        "batches: groups of one",
        "data/batching.py",
        "_groups(utterance_ids, lengths, labels, batch_size, per_class, generator, balanced=balanced)",
        "_groups(utterance_ids, lengths, labels, batch_size, 1, generator, balanced=balanced)",
        "data/test_batching.py::test_nearly_every_anchor_has_a_positive_and_a_negative",
    ),
    Mutation(
        "batches: one class may fill them",
        "data/batching.py",
        "if mixed and len(classes) == 1",
        "if False",
        "data/test_batching.py::test_classes_that_differ_in_length_still_share_batches",
    ),
    # What is chosen, and aimed at.
    Mutation(
        "select: the highest loss",
        "selection.py",
        'return -score if by == "loss" else score, -loss',
        "return score, -loss",
        "test_selection.py::test_each_score_has_its_own_best_point[loss-certain]",
    ),
    Mutation(
        "calibration: a temperature sharpens instead of softening",
        "calibration.py",
        "_SMALLEST, None)) / temperature",
        "_SMALLEST, None)) * temperature",
        "test_calibration.py::test_two_classes_by_hand",
    ),
    Mutation(
        "inference: the model's temperature is ignored",
        "inference/predict.py",
        ".float().div(self.temperature).softmax",
        ".float().softmax",
        "test_inference.py::test_probabilities_are_at_the_temperature_that_the_model_was_saved_with",
    ),
    Mutation(
        "final model: the schedule of the folds",
        "runs/final.py",
        "config=with_epochs(point.config, epochs)",
        "config=point.config",
        "runs/test_grid.py::test_its_rate_has_decayed_at_its_last_update",
    ),
    Mutation(
        "votes: utterances count by their label",
        "data/targets.py",
        "(soft := self.soft.get(name)) is not None",
        "(soft := None) is not None",
        "data/test_targets.py::test_utterances_with_votes_count_in_parts",
    ),
    Mutation(
        "votes: of merged emotions only the last",
        "corpora/votes.py",
        "shares[place[target[name]]] += share",
        "shares[place[target[name]]] = share",
        "corpora/test_votes.py::test_votes_for_merged_emotions_add_up_and_for_dropped_ones_are_left_out",
    ),
    Mutation(
        "divergence: from the prediction",
        "metrics.py",
        "(target * logs).sum(axis=-1)",
        "(predicted * -logs).sum(axis=-1)",
        "test_metrics.py::test_divergences_by_hand",
    ),
    # Frozen encoders.
    Mutation(
        "states: the mean stays",
        STATES,
        "return sum_BJD - (scale_BKD",
        "return sum_BJD - 0 * (scale_BKD",
        T_NETWORK + "test_a_weighted_sum_in_one_pass_is_that_of_standardised_states_without_dropped_channels",
    ),
    Mutation(
        "latents: frames of padding are valid",
        AUDIO,
        "valid_BJ = torch.arange(latents_BJL.shape[1], device=frames_B.device) < frames_B[:, None]",
        "valid_BJ = torch.arange(latents_BJL.shape[1], device=frames_B.device) < frames_B.max()[None, None]",
        "runs/test_features.py::test_a_network_given_latents_of_frozen_convolutions_computes_what_it_computes_from_speech"
        "[part0]",
    ),
    Mutation(
        "latents: a sample too few for the last frame",
        AUDIO,
        "samples_B = (samples_B - 1) * stride + kernel",
        "samples_B = (samples_B - 1) * stride + kernel - 1",
        T_AUDIO + "test_frames_need_so_many_samples_and_not_one_less[2]",
    ),
    # Views by recordings, and words by labels.
    Mutation(
        "room: speech is delayed by the response",
        "augment/room.py",
        "[direct : direct + len(x_S)]",
        "[: len(x_S)]",
        "augment/test_room.py::test_an_echo_by_hand",
    ),
    Mutation(
        "room: the power of the response stays",
        "augment/room.py",
        "(gain * wet_S)",
        "wet_S",
        "augment/test_room.py::test_the_power_is_kept",
    ),
    Mutation(
        "change: the difference over the signal",
        "data/change.py",
        "10 * math.log10(power / difference)",
        "10 * math.log10(difference / power)",
        "data/test_change.py::test_the_ratio_is_that_of_the_powers_in_decibels",
    ),
    Mutation(
        "cbca: a text counts for its own words",
        "augment/label_bias.py",
        "return _log_ratio(self._counts_CV[label] - own_V, self._totals_V - own_V,",
        "return _log_ratio(self._counts_CV[label] + 0 * own_V, self._totals_V,",
        "augment/test_label_bias.py::test_a_text_does_not_count_for_its_own_words",
    ),
    # Spectrogram encoders.
    Mutation(
        "kaldi: what follows a short utterance is read",
        "model/kaldi.py",
        "waveforms_BS.float() * inside_BS",
        "waveforms_BS.float()",
        T_SPECTROGRAM + "test_frames_do_not_depend_on_the_batch[ast-lengths0-last]",
    ),
    Mutation(
        "kaldi: the mean of a frame stays",
        "model/kaldi.py",
        "frames_BTN - frames_BTN.mean(dim=-1, keepdim=True)",
        "frames_BTN",
        T_SPECTROGRAM + "test_w2v_bert_reads_what_transformers_prepares[16000]",
    ),
    Mutation(
        "w2v-BERT: variance of a population",
        "model/w2v_bert.py",
        "(frames_B11 - 1)",
        "frames_B11",
        T_SPECTROGRAM + "test_w2v_bert_reads_what_transformers_prepares[16000]",
    ),
    Mutation(
        "w2v-BERT: padding is attended to",
        "model/w2v_bert.py",
        "attention_mask=valid_BJ.long()",
        "attention_mask=None",
        T_SPECTROGRAM + "test_frames_do_not_depend_on_the_batch[w2v-bert-lengths0-last]",
    ),
    Mutation(
        "AST: patches of a second window at another distance",
        "model/ast.py",
        "step = self.patches_per_band * self.stride",
        "step = self.grid",
        T_SPECTROGRAM + "test_a_long_utterance_continues_where_the_patches_of_a_window_end",
    ),
    Mutation(
        "AST: bands and times swapped",
        "model/ast.py",
        "patches_NPD.unflatten(1, (-1, self.patches_per_band)).mean(dim=1)",
        "patches_NPD.unflatten(1, (self.patches_per_band, -1)).mean(dim=2)",
        T_SPECTROGRAM + "test_the_states_of_one_utterance_are_those_of_transformers[ast-15000-9]",
    ),
)


def run(copy: Path, test: str) -> tuple[int, str]:
    """pytest's exit code and output for one test, in a fork that imports raysys from the copy."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = pytest.main(
                ["-q", "-x", "-n", "0", "--no-header", "--disable-warnings", "-p", "no:cacheprovider", f"tests/{test}"]
            )
        with os.fdopen(writing, "w") as pipe:
            pipe.write(output.getvalue()[-2_000:])
        os._exit(int(code))
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def try_mutation(copy: Path, mutation: Mutation) -> str | None:
    """What is wrong with the mutation, or None: its test failed as it should."""
    path = copy / "raysys" / mutation.file
    source = path.read_text()
    if source.count(mutation.old) != 1:
        return f"{mutation.file} holds {mutation.old!r} {source.count(mutation.old)} times, expected once"
    path.write_text(source.replace(mutation.old, mutation.new))
    try:
        code, output = run(copy, mutation.test)
    finally:
        path.write_text(source)
    # 1: tests were collected and some failed; 0: none; others: pytest could not run them.
    return None if code == 1 else f"exit code {code}\n{output}"


def main(words: list[str]) -> int:
    torch.set_num_threads(1)
    chosen = [m for m in MUTATIONS if all(word in m.title for word in words)]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("raysys", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        tests = sorted({m.test for m in chosen})
        for test in tests:
            code, output = run(copy, test)
            if code != 0:
                print(f"FAILS UNBROKEN  {test}\n{output}")
                bad += 1
        for mutation in chosen:
            started = time.monotonic()
            problem = try_mutation(copy, mutation)
            verdict = "noticed " if problem is None else "SURVIVED"
            seconds = time.monotonic() - started
            print(f"{verdict}  {mutation.title:<48} {mutation.test.split('::')[1]}  {seconds:.1f} s", flush=True)
            if problem is not None:
                print(problem)
                bad += 1
    print(f"{len(chosen)} mutations, {len(chosen) - bad} noticed" if not bad else f"{bad} of {len(chosen)} went wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
