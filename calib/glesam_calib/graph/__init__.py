"""ONNX graphs: their arithmetic and their files."""
