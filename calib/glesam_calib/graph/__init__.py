"""The precision and the files of ONNX graphs."""
