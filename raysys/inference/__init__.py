"""A trained model, or the models of a run, loaded with one call, and their predictions for new speech.

model = load_model("runs/x")
model.probabilities([read_waveform("a.wav")], ["so glad to see you"])
"""

from raysys.inference.ensemble import Ensemble
from raysys.inference.folder import save_model
from raysys.inference.load import load_model
from raysys.inference.predict import EmotionModel, read_waveform

__all__ = ["EmotionModel", "Ensemble", "load_model", "read_waveform", "save_model"]
