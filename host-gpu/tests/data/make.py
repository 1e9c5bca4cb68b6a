"""Writes the small graphs beside this file. Run: `pip install onnx==1.23.2 && python3 make.py`."""
import numpy as np
import onnx
from onnx import TensorProto as T, helper as h, numpy_helper

OPSET = [h.make_opsetid("", 18)]


def save(name, nodes, inputs, outputs, initializers=()):
    graph = h.make_graph(nodes, name, inputs, outputs, initializer=list(initializers))
    model = h.make_model(graph, opset_imports=OPSET, ir_version=9, producer_name="assay")
    onnx.checker.check_model(model)
    onnx.save(model, f"{name}.onnx")


def value(name, ty, shape):
    return h.make_tensor_value_info(name, ty, shape)


# One identity per element type that wasi:nn knows.
for name, ty in dict(f16=T.FLOAT16, f32=T.FLOAT, f64=T.DOUBLE, bf16=T.BFLOAT16, u8=T.UINT8, i32=T.INT32, i64=T.INT64).items():
    save(f"identity_{name}", [h.make_node("Identity", ["x"], ["y"])], [value("x", ty, ["n", 3])], [value("y", ty, ["n", 3])])

# Two inputs, one fixed dimension: where wrong shapes and missing names show.
save("add", [h.make_node("Add", ["x", "y"], ["sum"])], [value("x", T.FLOAT, ["n", 2]), value("y", T.FLOAT, ["n", 2])], [value("sum", T.FLOAT, ["n", 2])])

# Rank 0 in, rank 0 out.
save("scalar", [h.make_node("Identity", ["x"], ["y"])], [value("x", T.INT64, [])], [value("y", T.INT64, [])])

# An output type that wasi:nn cannot carry.
save("bool_output", [h.make_node("Greater", ["x", "x"], ["y"])], [value("x", T.FLOAT, ["n"])], [value("y", T.BOOL, ["n"])])

# Runs for (nearly) ever: 2^62 turns of a loop that adds one.
one = h.make_tensor("one", T.FLOAT, [1], [1.0])
body = h.make_graph(
    [h.make_node("Add", ["acc_in", "one"], ["acc_out"]), h.make_node("Identity", ["go_in"], ["go_out"])],
    "body",
    [value("i", T.INT64, []), value("go_in", T.BOOL, []), value("acc_in", T.FLOAT, [1])],
    [value("go_out", T.BOOL, []), value("acc_out", T.FLOAT, [1])],
    initializer=[one],
)
save(
    "endless",
    [h.make_node("Loop", ["turns", "go", "x"], ["y"], body=body)],
    [value("x", T.FLOAT, [1])],
    [value("y", T.FLOAT, [1])],
    [h.make_tensor("turns", T.INT64, [], [1 << 62]), h.make_tensor("go", T.BOOL, [], [True])],
)

# An output that is the input itself.
x = value("x", T.FLOAT, ["n"])
save("passed_on", [h.make_node("Identity", ["x"], ["y"])], [x], [x, value("y", T.FLOAT, ["n"])])

# What the guest of the component tests runs.
save("double", [h.make_node("Add", ["x", "x"], ["y"])], [value("x", T.FLOAT, ["n", 2])], [value("y", T.FLOAT, ["n", 2])])

# Weights in another file: a model must not name files of the host. The checker would look for the file.
weights = T(name="w", data_type=T.FLOAT, dims=[1], data_location=T.EXTERNAL)
weights.external_data.add(key="location", value="Cargo.toml")
weights.external_data.add(key="offset", value="0")
weights.external_data.add(key="length", value="4")
graph = h.make_graph([h.make_node("Add", ["x", "w"], ["y"])], "external", [value("x", T.FLOAT, [1])], [value("y", T.FLOAT, [1])], initializer=[weights])
with open("external.onnx", "wb") as file:
    file.write(h.make_model(graph, opset_imports=OPSET, ir_version=9, producer_name="assay").SerializeToString())

# Operators that a referee computes itself, and some that it does not: a convolution in groups with strides, a product
# with factors, a normalisation, truth values that cross positions, a branch that reads from outside, quantisation.
rng = np.random.default_rng(7)


def weights(name, *shape):
    return numpy_helper.from_array((rng.standard_normal(shape) / 3).astype(np.float32), name)


def branch(name, op):
    return h.make_graph([h.make_node(op, ["scaled", "root"], [f"{name}_out"])], name, [], [value(f"{name}_out", T.FLOAT, ["n", 5])])


nodes = [
    h.make_node("Conv", ["x", "filters", "bias"], ["convolved"], group=2, pads=[1, 0, 1, 2], strides=[2, 1], dilations=[1, 2]),
    h.make_node("Relu", ["convolved"], ["positive"]),
    h.make_node("Flatten", ["positive"], ["flat"]),
    h.make_node("Gemm", ["flat", "matrix", "offset"], ["product"], alpha=0.5, beta=2.0, transB=1),
    h.make_node("LayerNormalization", ["product", "scale", "shift"], ["normal"], epsilon=1e-5),
    h.make_node("Sub", ["normal", "shift"], ["moved"]),
    h.make_node("Softmax", ["moved"], ["soft"]),
    h.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.float32(2.0))),
    h.make_node("Mul", ["soft", "two"], ["scaled"]),
    h.make_node("ReduceMean", ["positive", "axes"], ["mean"], keepdims=0),
    h.make_node("Sqrt", ["mean"], ["root_of_each"]),
    h.make_node("ReduceMean", ["root_of_each"], ["root"], keepdims=0),
    h.make_node("Greater", ["root", "two"], ["is_large"]),
    h.make_node("If", ["is_large"], ["chosen"], then_branch=branch("then", "Add"), else_branch=branch("else", "Sub")),
    h.make_node("Erf", ["chosen"], ["y"]),
    h.make_node("DynamicQuantizeLinear", ["normal"], ["coarse", "step", "zero"]),
    h.make_node("MatMulInteger", ["coarse", "small", "zero"], ["sums"]),
]
save(
    "leaves",
    nodes,
    [value("x", T.FLOAT, ["n", 4, 7, 6])],
    [value("y", T.FLOAT, ["n", 5]), value("sums", T.INT32, ["n", 3]), value("is_large", T.BOOL, [])],
    [
        weights("filters", 6, 2, 3, 2), weights("bias", 6), weights("matrix", 5, 144), weights("offset", 5), weights("scale", 5),
        weights("shift", 5), numpy_helper.from_array(np.array([2, -1]), "axes"),
        numpy_helper.from_array(rng.integers(0, 255, (5, 3)).astype(np.uint8), "small"),
    ],
)
