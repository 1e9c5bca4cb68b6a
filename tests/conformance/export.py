"""Writes the ONNX project's own backend test cases down for a test that knows no Python.

    python export.py FOLDER

FOLDER gets models/NAME.onnx for each case, data.bin (inputs and expected outputs as lists of tensors, in the
encoding of tests/guests/tensors) and cases.json: what each case is called, where its data is, its tolerances,
what ONNX Runtime itself, called from Python, makes of it ("library"), and where a value is of a type that
wasi:nn does not have ("uncarried").
"""

import json
import os
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
from ml_dtypes import bfloat16
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.loader import load_model_tests

# In the order of wasi:nn's enum.
TYPES = [np.dtype(t) for t in ("float16", "float32", "float64", bfloat16, "uint8", "int32", "int64")]
PACKAGED = ("simple", "pytorch-operator", "pytorch-converted")
SAID_MAX = 600


def little(number, size):
    return number.to_bytes(size, "little")


def encode(named):
    """The list of tensors, or None and the type that wasi:nn does not have."""
    out = [little(len(named), 4)]
    for name, value in named:
        if not isinstance(value, (np.ndarray, np.generic)):
            return None, type(value).__name__
        value = np.asarray(value)
        if value.dtype not in TYPES:
            return None, str(value.dtype)
        data = np.ascontiguousarray(value).tobytes()
        out += [little(len(name.encode()), 2), name.encode(), bytes([TYPES.index(value.dtype), value.ndim])]
        out += [little(dim, 4) for dim in value.shape] + [little(len(data), 4), data]
    return b"".join(out), None


def plain(value):
    """A value of a generated case as arrays: some hold messages, some bare numbers."""
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, list):
        return [plain(one) for one in value]
    return np.asarray(value) if isinstance(value, (np.generic, float, int)) else value


def read(path, kind):
    """A value of a packaged case: kind is the type of its input or output."""
    with open(path, "rb") as file:
        bytes_ = file.read()
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(bytes_))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(bytes_))
    return numpy_helper.to_array(onnx.TensorProto.FromString(bytes_))


def packaged(case):
    """The model's bytes and the data sets of a case that lies in a folder."""
    with open(os.path.join(case.model_dir, "model.onnx"), "rb") as file:
        bytes_ = file.read()
    model = onnx.load_from_string(bytes_)
    sets = []
    for folder in sorted(os.listdir(case.model_dir)):
        where = os.path.join(case.model_dir, folder)
        if folder.startswith("test_data_set_"):
            ports = {"input": inputs(model), "output": list(model.graph.output)}
            values = {what: [] for what in ports}
            for what, names in ports.items():
                for index in range(sum(f.startswith(what + "_") for f in os.listdir(where))):
                    kind = names[index].type.WhichOneof("value")
                    values[what].append(read(os.path.join(where, f"{what}_{index}.pb"), kind))
            sets.append((values["input"], values["output"]))
    return bytes_, model, sets


def inputs(model):
    """What a run must be given: old models list their weights among the inputs."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [port for port in model.graph.input if port.name not in weights]


def library(bytes_, model, sets, case):
    """What ONNX Runtime makes of the case: "pass", or what went wrong."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    names = [port.name for port in inputs(model)]
    try:
        session = onnxruntime.InferenceSession(bytes_, options, providers=["CPUExecutionProvider"])
        answers = [session.run(None, dict(zip(names, given))) for given, _ in sets]
    except Exception as error:  # whatever it is, it is the answer
        return " ".join(str(error).split())[:SAID_MAX]
    for answer, (_, expected) in zip(answers, sets):
        for found, wanted in zip(answer, expected):
            if not close(found, wanted, case):
                return "another result"
    return "pass"


def close(found, wanted, case):
    """The suite's own comparison."""
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(close(f, w, case) for f, w in zip(found, wanted))
    if found is None or wanted is None:
        return found is wanted
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.dtype != wanted.dtype or found.shape != wanted.shape:
        return False
    if found.dtype == object or found.dtype.kind in "USOb":
        return bool(np.array_equal(found, wanted))
    # Types of ml_dtypes do not know enough arithmetic.
    if found.dtype not in TYPES or found.dtype == TYPES[3]:
        try:
            found, wanted = found.astype(np.float64), wanted.astype(np.float64)
        except (TypeError, ValueError):
            return found.tobytes() == wanted.tobytes()
    return bool(np.allclose(found, wanted, rtol=case.rtol, atol=case.atol, equal_nan=True))


def port_type(port):
    kind = port.type.WhichOneof("value")
    if kind != "tensor_type":
        return kind.removesuffix("_type")
    return onnx.TensorProto.DataType.Name(port.type.tensor_type.elem_type).lower()


def operator(case, model):
    """A case of one operator carries its name; the others are named after the first node."""
    return model.graph.node[0].op_type if model.graph.node else "none"


def describe(case, kind, bytes_, model, sets, data):
    entry = {
        "name": case.name,
        "kind": kind,
        "operator": operator(case, model),
        "types": sorted({port_type(port) for port in inputs(model) + list(model.graph.output)}),
        "rtol": case.rtol,
        "atol": case.atol,
        "library": library(bytes_, model, sets, case),
        "uncarried": None,
        "sets": [],
    }
    for given, expected in sets:
        spans = {}
        for what, ports, values in (("inputs", inputs(model), given), ("outputs", model.graph.output, expected)):
            encoded, odd = encode([(port.name, value) for port, value in zip(ports, values)])
            entry["uncarried"] = entry["uncarried"] or odd
            spans[what] = [data.tell(), len(encoded or b"")]
            data.write(encoded or b"")
        entry["sets"].append(spans)
    return entry


def cases():
    for kind in PACKAGED:
        for case in load_model_tests(kind=kind):
            yield case, kind, *packaged(case)
    for case in collect_testcases(None):
        sets = [([plain(v) for v in given], [plain(v) for v in expected]) for given, expected in case.data_sets]
        yield case, "node", case.model.SerializeToString(), case.model, sets


def main(folder):
    warnings.simplefilter("ignore")
    os.makedirs(os.path.join(folder, "models"), exist_ok=True)
    described = []
    with open(os.path.join(folder, "data.bin"), "wb") as data:
        for case, kind, bytes_, model, sets in cases():
            with open(os.path.join(folder, "models", case.name + ".onnx"), "wb") as file:
                file.write(bytes_)
            described.append(describe(case, kind, bytes_, model, sets, data))
    described.sort(key=lambda entry: entry["name"])
    with open(os.path.join(folder, "cases.json"), "w") as file:
        json.dump({"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__, "cases": described}, file)


if __name__ == "__main__":
    main(sys.argv[1])
