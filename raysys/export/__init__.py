"""A trained model in a form that predicts without PyTorch."""

from raysys.export.write import Exported, export_onnx

__all__ = ["Exported", "export_onnx"]
