"""Write a trained model as ONNX, with which it predicts without PyTorch."""

from raysys.commands.export import main

if __name__ == "__main__":
    main()
