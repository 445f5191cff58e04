"""Networks as ONNX graphs beside a model's weights: written, checked, run; numpy, never torch."""
