"""Write a trained network as ONNX or as a program of torch.export: `python src/export.py outputs/runs/… model.onnx`."""

from wavecoder.runs import commands

if __name__ == "__main__":
    commands.export()
