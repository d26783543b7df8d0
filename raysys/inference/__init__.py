"""A trained model as a folder that loads with one call, and its predictions for new speech.

model = load_model("runs/x/model")
model.probabilities([read_waveform("a.wav")], ["so glad to see you"])
"""

from raysys.inference.folder import load_model, save_model
from raysys.inference.predict import EmotionModel, read_waveform

__all__ = ["EmotionModel", "load_model", "read_waveform", "save_model"]
