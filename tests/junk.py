"""What a learner may type where a gradient is wanted: a factory for each kind of junk."""

import collections
import decimal
import fractions
import functools
import types

import numpy as np
import torch


class LyingTensor(torch.Tensor):
    """Says of everything that it is asked what the asker wants to hear."""

    def __repr__(self):  # pytest and Hypothesis show it, and its inherited one lies as well
        return "LyingTensor()"

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.shape.__get__:
            return torch.Size([3])
        return torch.tensor(True)

    @property
    def requires_grad(self):
        raise RuntimeError("do not look at me")

    def __eq__(self, other):
        return True

    __hash__ = torch.Tensor.__hash__


class DispatchTensor(torch.Tensor):
    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError("no operation is allowed")


class Liar:
    """Its `__class__` is a tensor's, and every question is answered with an error."""

    __class__ = torch.Tensor

    def __getattr__(self, name):
        raise RuntimeError("nothing to see")

    def __eq__(self, other):
        return True

    def __bool__(self):
        raise RuntimeError("no truth here")

    def __float__(self):
        return 12.0

    __hash__ = None


class FloatThatRaises(float):
    def __float__(self):
        raise RuntimeError("not today")


class FloatThatExits(float):
    def __float__(self):
        raise SystemExit(3)


class ListThatLies(list):
    def __iter__(self):
        raise RuntimeError("no entries")

    def __len__(self):
        return 3


class Metaclass(type):
    def __getattribute__(cls, name):
        raise RuntimeError("not even my name")

    def __subclasscheck__(cls, other):
        raise RuntimeError("no")


class Unnameable(metaclass=Metaclass):
    def __repr__(self):
        raise RuntimeError("no")

    __str__ = __repr__


class Evil(Exception):
    def __str__(self):
        raise RuntimeError("no")


def contains_itself():
    endless = []
    endless += [endless, endless]
    return endless


def object_array_in_itself():
    array = np.empty(3, dtype=object)
    array[:] = [array, 1.0, 2.0]
    return array


def quantized():
    return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8)


def named(name, kind):
    """A value whose type has a name that must not break a message."""
    return type(name, (kind,), {})()


# No answer at all to an exercise whose gradient has shape (3,) or (), none of whose entries is 0.
JUNK = {
    "text": lambda: "12.0",
    "empty text": lambda: "",
    "bytes": lambda: b"12",
    "True": lambda: True,
    "False": lambda: False,
    "list of flags": lambda: [True, True, True],
    "ragged": lambda: [[1.0, 2.0], [3.0]],
    "ragged later": lambda: [1.0, [2.0, 3.0], 4.0],
    "deep": lambda: functools.reduce(lambda inner, _: [inner], range(500), 1.0),
    "text inside": lambda: [1.0, "2.0", 3.0],
    "contains itself": contains_itself,
    "object array in itself": object_array_in_itself,
    "set": lambda: {1.0, 2.0, 3.0},
    "dict": lambda: {"w": 12.0},
    "empty list": list,
    "empty tuple": tuple,
    "empty dict": dict,
    "generator": lambda: (x for x in (1.0, 2.0, 3.0)),
    "range": lambda: range(3),
    "map": lambda: map(float, "123"),
    "iterator": lambda: iter([1.0, 2.0, 3.0]),
    "slice": lambda: slice(3),
    "bytearray": lambda: bytearray(3),
    "memoryview": lambda: memoryview(b"abc"),
    "deque": lambda: collections.deque([1.0, 2.0, 3.0]),
    "not implemented": lambda: NotImplemented,
    "function": lambda: lambda x: 2 * x,
    "built-in": lambda: abs,
    "method": lambda: torch.ones(3).sum,
    "partial": lambda: functools.partial(max, 1),
    "module": lambda: torch.nn.Linear(3, 1),
    "Python module": lambda: torch,
    "type": lambda: float,
    "tensor type": lambda: torch.Tensor,
    "exception": lambda: ValueError("12.0"),
    "evil exception": Evil,
    "dtype": lambda: torch.float32,
    "device": lambda: torch.device("cpu"),
    "grad_fn": lambda: torch.ones(3, requires_grad=True).sum().grad_fn,
    "object": object,
    "namespace": types.SimpleNamespace,
    "lying tensor": lambda: torch.ones(3).as_subclass(LyingTensor),
    "dispatch tensor": lambda: torch.Tensor._make_subclass(DispatchTensor, torch.ones(3)),
    "lying class": Liar,
    "lying list": lambda: ListThatLies([1.0]),
    "unnameable": Unnameable,
    "a class without a name": lambda: Unnameable,
    "strange name": lambda: named("<b>`\n" + "x" * 200, object),
    "number that raises": lambda: FloatThatRaises(1.0),
    "number that exits": lambda: FloatThatExits(1.0),
    "entry that raises": lambda: [FloatThatRaises(1.0)] * 3,
    "complex": lambda: 1 + 2j,
    "complex list": lambda: [1j, 2.0, 3.0],
    "complex tensor": lambda: torch.ones(3, dtype=torch.complex64),
    "huge": lambda: 10**400,
    "huge list": lambda: [10**400] * 3,
    "nan": lambda: float("nan"),
    "nan list": lambda: [float("nan"), 1.0, 2.0],
    "inf": lambda: torch.tensor([1.0, float("inf"), 2.0]),
    "-inf": lambda: -float("inf"),
    "signalling nan": lambda: decimal.Decimal("sNaN"),
    "zero": lambda: 0.0,
    "zeros": lambda: torch.zeros(3),
    "list of zeros": lambda: [0, 0, 0],
    "fraction": lambda: fractions.Fraction(1, 7),
    "truth tensor": lambda: torch.ones(3, dtype=torch.bool),
    "empty tensor": lambda: torch.empty(0),
    "no columns": lambda: torch.empty(3, 0),
    "meta": lambda: torch.ones(3, device="meta"),
    "meta number": lambda: torch.ones((), device="meta"),
    "quantized": quantized,
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(1)]),
    "float8": lambda: torch.ones(3).to(torch.float8_e4m3fn),
    "sparse of another shape": lambda: torch.eye(2).to_sparse(),
    "uninitialized": lambda: torch.nn.UninitializedParameter(),
    "expanded": lambda: torch.ones(1).expand(10**12),
    "ten million": lambda: torch.ones(10**7),
    "ten million in a list": lambda: [1.0] * 10**7,
    "many axes": lambda: torch.ones([1] * 60),
    "object array": lambda: np.array([1.0, "2", {}], dtype=object),
    "array of text": lambda: np.array(["1.0", "2.0", "3.0"]),
    "array of times": lambda: np.array(["2026-01-01"] * 3, dtype="datetime64[D]"),
    "record array": lambda: np.zeros(3, dtype=[("a", "f8")]),
    "masked array": lambda: np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0]),
    "numpy text": lambda: np.str_("12"),
    "numpy flag": lambda: np.bool_(True),
    "numpy nan": lambda: np.float32("nan"),
}

# Still blank, in whatever it is wrapped.
BLANKS = {
    "ellipsis": lambda: ...,
    "None": lambda: None,
    "list of blanks": lambda: [..., ..., ...],
    "one blank left": lambda: [1.0, ..., 3.0],
    "one None left": lambda: (1.0, None),
    "nested blank": lambda: [[1.0, 2.0], [..., 3.0]],
    "boxed blank": lambda: np.array(...),
    "boxed None": lambda: np.array(None),
    "list of a boxed blank": lambda: [1.0, np.array(...), 3.0],
    "object array of blanks": lambda: np.array([..., ..., ...], dtype=object),
}
