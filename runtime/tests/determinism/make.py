"""Writes the small graphs of the determinism test: `python make.py`, with the onnx package that
tests/conformance/requirements.txt pins. Weights are drawn once, from a fixed seed."""

import os

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(20261122)


def weight(name, *shape, scale=0.5):
    return numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(np.float32), name)


def save(name, shape, answer, nodes, weights):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, answer)
    graph = helper.make_graph(nodes, name, [x], [y], weights)
    model = helper.make_model(graph, producer_name="assay", ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    checker.check_model(model)
    with open(os.path.join(HERE, name + ".onnx"), "wb") as file:
        file.write(model.SerializeToString())


node = helper.make_node
save("mlp", [1, 32], [1, 10], [
    node("Gemm", ["x", "a", "b"], ["h1"]), node("Relu", ["h1"], ["h2"]),
    node("Gemm", ["h2", "c"], ["h3"]), node("Tanh", ["h3"], ["h4"]),
    node("Gemm", ["h4", "d"], ["h5"]), node("Softmax", ["h5"], ["y"], axis=-1),
], [weight("a", 32, 48), weight("b", 48), weight("c", 48, 48), weight("d", 48, 10)])
save("conv", [1, 1, 12, 12], [1, 8], [
    node("Conv", ["x", "a", "b"], ["h1"], pads=[1, 1, 1, 1]), node("Relu", ["h1"], ["h2"]),
    node("MaxPool", ["h2"], ["h3"], kernel_shape=[2, 2], strides=[2, 2]),
    node("Conv", ["h3", "c"], ["h4"]), node("Sigmoid", ["h4"], ["h5"]),
    node("GlobalAveragePool", ["h5"], ["h6"]), node("Flatten", ["h6"], ["y"]),
], [weight("a", 4, 1, 3, 3), weight("b", 4), weight("c", 8, 4, 3, 3)])
save("attention", [1, 8, 16], [1, 8, 16], [
    node("MatMul", ["x", "q"], ["hq"]), node("MatMul", ["x", "k"], ["hk"]), node("MatMul", ["x", "v"], ["hv"]),
    node("Transpose", ["hk"], ["hkt"], perm=[0, 2, 1]), node("MatMul", ["hq", "hkt"], ["s"]),
    node("Softmax", ["s"], ["p"], axis=-1), node("MatMul", ["p", "hv"], ["o"]),
    node("Add", ["o", "x"], ["r"]), node("LayerNormalization", ["r", "g"], ["n"], axis=-1), node("Erf", ["n"], ["y"]),
], [weight("q", 16, 16), weight("k", 16, 16), weight("v", 16, 16), weight("g", 16)])
save("reduce", [1, 1000], [1, 6], [
    node("ReduceSum", ["x"], ["s"]), node("ReduceMean", ["x"], ["m"]), node("ReduceL2", ["x"], ["l"]),
    node("ReduceLogSumExp", ["x"], ["e"]), node("ReduceMax", ["x"], ["a"]),
    node("CumSum", ["x", "axis"], ["c"]), node("ReduceMin", ["c"], ["i"]),
    node("Concat", ["s", "m", "l", "e", "a", "i"], ["y"], axis=-1),
], [numpy_helper.from_array(np.array(1, dtype=np.int64), "axis")])
save("quantised", [1, 64], [1, 24], [
    node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
    node("MatMulInteger", ["q", "w", "zero"], ["i"]), node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
    node("Mul", ["f", "scale"], ["r"]), node("Softsign", ["r"], ["y"]),
], [numpy_helper.from_array(rng.integers(-128, 127, (64, 24), dtype=np.int8), "w")])
