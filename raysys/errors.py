"""Errors: those that a user can fix, of which a job prints the message (exit code 2), and faults that pass."""


class UserError(Exception):
    """Something outside the code is wrong: the message says where, what was found, what was expected, how to fix it."""


class ConfigError(UserError):
    """A flag or configuration value is invalid."""


class CorpusError(UserError):
    """A corpus folder or table does not contain what its reader needs."""


class ManifestError(CorpusError):
    """A manifest breaks a rule: duplicate ids, an unknown class, a speaker in two parts."""


class StorageError(UserError):
    """A folder or address cannot be read or written from where it is needed."""


class DamagedError(StorageError):
    """A file is not what was written there; the message names it."""


class TrainingError(UserError):
    """A training cannot continue and would fail again: its loss is not finite, for example."""


class ClusterError(UserError):
    """A run was stopped by machines or storage; the same command resumes it."""


class MachineError(Exception):
    """A fault of a machine or of the moment, which another attempt need not meet: the trial is tried again."""


class EncoderError(UserError):
    """A pretrained encoder cannot be loaded completely."""


class ModelFolderError(UserError):
    """A model folder is incomplete, or its format is not supported by this version."""


class HubError(UserError):
    """The Hugging Face Hub does not give a model, or does not take it."""


class ExportError(UserError):
    """A model cannot be written in another format, or does not predict the same there."""


class AudioError(Exception):
    """An audio file or an utterance that cannot be used; the message is the reason, and the caller adds which."""


class UnreadableError(AudioError):
    """A file that cannot be read here and now, for a reason outside the file; a retry may succeed."""
