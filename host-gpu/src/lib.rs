//! How a guest reaches a model: wasi:nn over ONNX Runtime.
