"""Errors that a user can fix; a job prints their message and ends with code 2, without a traceback."""


class UserError(Exception):
    """Something outside the code is wrong: the message says where, what, what was expected, how to fix it."""


class ConfigError(UserError):
    """A flag or a configuration value that cannot be used."""


class CorpusError(UserError):
    """A corpus folder or table that does not hold what its reader needs."""


class ManifestError(CorpusError):
    """A manifest that breaks a rule: duplicate ids, an unknown class, a speaker in two parts."""


class StorageError(UserError):
    """A folder or address that cannot be read or written where it is needed."""


class TrainingError(UserError):
    """A training that cannot go on and would fail again: its loss, weights or predictions are not finite."""


class ClusterError(UserError):
    """A run was stopped by machines or storage; the same command resumes it."""


class EncoderError(UserError):
    """A pretrained encoder that cannot be loaded whole."""


class ModelFolderError(UserError):
    """A folder that holds no whole model, or one that this version does not read."""
