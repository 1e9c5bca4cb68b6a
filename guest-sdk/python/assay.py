"""What the author of an Assay job in Python imports.

A job is a function over items:

    import assay

    @assay.each
    def run(item):
        return item.text().upper()

There is no world around it: clocks count the work done, random numbers follow from the job's seed, and `print` writes
to the job's log. Whatever is imported is imported once, when the component is built.
"""

import json
import traceback
from array import array
from math import prod

from componentize_py_types import Err
from wit_world.imports import context, graph, tensor, types
from wit_world.imports import log as _log


class BadInput(Exception):
    """An item is not what the job expects. Every replica fails alike, so say which value is at fault."""


class ModelError(Exception):
    """A model could not be reached, or refused the tensors that it was given."""


class log:
    """Lines for the job's owner. They count against the job's log limit and are no part of an output."""

    @staticmethod
    def debug(message):
        _log.log(_log.Level.DEBUG, str(message))

    @staticmethod
    def info(message):
        _log.log(_log.Level.INFO, str(message))

    @staticmethod
    def warn(message):
        _log.log(_log.Level.WARN, str(message))

    @staticmethod
    def error(message):
        _log.log(_log.Level.ERROR, str(message))


def seed():
    """128 bits drawn from the job and the shard, as one number; equal on every replica."""
    low, high = context.seed()
    return low | high << 64


def models():
    """The names of the models in the job's manifest."""
    return context.models()


def shard_index():
    """The index of this shard in the job, from 0."""
    return context.shard_index()


def item_offset():
    """The job-wide index of the first item of this shard, from 0."""
    return context.item_offset()


class Item:
    """One item: bytes, or what they spell."""

    def __init__(self, data, index):
        self.data = data
        #: The item's index in the whole job, from 0.
        self.index = index

    def text(self):
        """The item as UTF-8."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            raise BadInput(f"it is not UTF-8 at byte {error.start}") from None

    def json(self):
        """The item as JSON."""
        try:
            return json.loads(self.text())
        except json.JSONDecodeError as error:
            raise BadInput(f"it is not JSON: {error}") from None


def each(answer):
    """Makes a job of a function that answers one item with a str, bytes, or anything that JSON can spell."""

    def run(items):
        first = item_offset()
        outputs = []
        for index, data in enumerate(items, first):
            try:
                outputs.append(_output(answer(Item(data, index))))
            except Exception as error:
                raise _failure(error, f"item {index}: ") from None
        return outputs

    return run


def whole(answer):
    """Makes a job of a function that answers all items of a shard at once, with one answer for each, in order."""

    def run(items):
        try:
            given = [Item(data, index) for index, data in enumerate(items, item_offset())]
            return [_output(value) for value in answer(given)]
        except Exception as error:
            raise _failure(error, "") from None

    return run


def _output(value):
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _failure(error, where):
    """What `run` raises: a case of the contract's `job-error`."""
    if isinstance(error, BadInput):
        return Err(types.JobError_BadInput(f"{where}{error}"))
    if isinstance(error, ModelError):
        return Err(types.JobError_Model(f"{where}{error}"))
    for line in "".join(traceback.format_exception(error)).splitlines():
        log.error(line)
    return Err(types.JobError_Failed(f"{where}{type(error).__name__}: {error}"))


#: Types of tensors, with the code that Python's `array` has for their numbers.
_TYPES = {
    "f32": (tensor.TensorType.FP32, "f"),
    "f64": (tensor.TensorType.FP64, "d"),
    "u8": (tensor.TensorType.U8, "B"),
    "i32": (tensor.TensorType.I32, "i"),
    "i64": (tensor.TensorType.I64, "q"),
}


class Tensor:
    """Numbers with a shape: `Tensor("f32", [1, 3], [0.5, 1, 2])`. Types are f32, f64, u8, i32 and i64."""

    def __init__(self, kind, dims, values):
        if kind not in _TYPES:
            raise TypeError(f"{kind} is no type of a tensor; there are {', '.join(_TYPES)}")
        self.kind = kind
        self.dims = list(dims)
        self.values = array(_TYPES[kind][1], values)
        if prod(self.dims) != len(self.values):
            shape = " x ".join(map(str, self.dims))
            raise ValueError(f"a tensor of {shape} has {prod(self.dims)} values, not {len(self.values)}")

    def _to_host(self):
        return tensor.Tensor(self.dims, _TYPES[self.kind][0], self.values.tobytes())


def _from_host(given):
    found = [kind for kind, (host, _) in _TYPES.items() if host == given.ty()]
    if not found:
        raise ModelError(f"the model gave {given.ty().name}, which Python has no numbers for")
    values = array(_TYPES[found[0]][1])
    values.frombytes(given.data())
    return Tensor(found[0], given.dimensions(), values)


_loaded = {}


def model(name):
    """The model of that name in the job's manifest: `model("classify").run({"x": Tensor(...)})["scores"].values`."""
    if name not in _loaded:
        _loaded[name] = _Model(name)
    return _loaded[name]


class _Model:
    def __init__(self, name):
        self.name = name
        self._context = self._ask(lambda: graph.load_by_name(name).init_execution_context())

    def run(self, inputs):
        """Runs the model on tensors by name; gives tensors by name."""
        given = [(name, value._to_host()) for name, value in inputs.items()]
        answer = self._ask(lambda: self._context.compute(given))
        return {name: _from_host(value) for name, value in answer}

    def _ask(self, question):
        try:
            return question()
        except Err as error:
            raise ModelError(f"{self.name}: {error.value.data()}") from None
