"""A recogniser outside of Python: its networks as ONNX files, and a page that runs them in a browser."""
