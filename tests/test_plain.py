"""Answers cross the border as plain data, and come out as they were; nothing else comes through."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from checks.classroom.plain import NotPlainError, decode, encode

VALUES = [
    ...,
    None,
    True,
    -7,
    10**300,
    0.1,
    math.inf,
    1 - 2j,
    "text \u2202",
    (1, [2.5, (3,)], {}),
    {"w": [1, 2], 3: None, (1, 2): "x"},
    torch.Size([2, 3]),
    torch.float16,
]
TENSORS = [
    torch.tensor(3.5),
    torch.arange(6.0, dtype=torch.float64).reshape(2, 3).T,
    torch.tensor([1, -2], dtype=torch.int16),
    torch.tensor([True, False]),
    torch.tensor([1 + 2j]).conj(),
    torch.zeros(2, 0, 3),
    torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
    torch.eye(3).to_sparse(),
    torch.ones(2, requires_grad=True) * 2,
]


def there_and_back(value: object) -> Any:
    return decode(json.loads(json.dumps(encode(value))))


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_a_value_comes_out_as_it_was(value: object) -> None:
    # A number that loses its last digit, or a tuple that becomes a list, is another answer.
    came = there_and_back(value)
    same = (tuple(value), tuple) if isinstance(value, torch.Size) else (value, type(value))
    assert (came, type(came)) == same


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda t: f"{t.dtype}{list(t.shape)}{t.layout}")
def test_a_tensor_comes_out_as_it_was(tensor: torch.Tensor) -> None:
    came = there_and_back(tensor)
    assert came.dtype is tensor.dtype and not came.requires_grad
    assert torch.equal(came, tensor.detach().to_dense().resolve_conj())


def test_arrays_become_tensors() -> None:
    assert torch.equal(
        there_and_back(np.array([[1.5], [2.0]])), torch.tensor([[1.5], [2.0]]).double()
    )
    assert there_and_back(np.float32(0.5)).item() == 0.5
    assert there_and_back(np.array([None, 2], dtype=object)) == [None, 2]


class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *_: object, **__: object) -> Any:
        return True


class Loud:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_a_subclass_is_read_as_the_tensor_that_it_holds() -> None:
    came = there_and_back(torch.tensor([1.0, 2.0]).as_subclass(Yes))
    assert type(came) is torch.Tensor and came.tolist() == [1.0, 2.0]


ODD = {
    "an object that raises": Loud,
    "a module": lambda: torch,
    "an object": object,
    "no numbers": lambda: torch.empty(3, device="meta"),
    "a long list": lambda: [0] * 10**6,
    "a long text": lambda: "x" * 10**5,
}


@pytest.mark.parametrize("make", ODD.values(), ids=list(ODD))
def test_what_is_no_plain_answer_is_only_named(make: Callable[[], object]) -> None:
    # The mistake: an object that fails when it is read ends the whole run.
    plain = encode(make())
    assert set(plain) == {"other"} and len(json.dumps(plain)) < 100
    assert type(decode(plain)).__module__ == "checks.classroom.plain"


def test_a_list_that_contains_itself_is_only_named() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert encode(endless) == {"other": "list"}


def test_a_function_becomes_what_it_is_called_by() -> None:
    def call(*_: object) -> int:
        return 7

    assert decode(encode(len), call=call) is call
    assert decode(encode(test_arrays_become_tensors)) is not None


TENSOR = {"tensor": "AACAPw==", "dtype": "torch.float32", "shape": [1]}
FORGED = [
    *(7, None, [], {}, {"unknown": 1}, {"int": 7}, {"int": "x"}, {"int": "9" * 5000}),
    *({"float": 1.5}, {"float": "0x1p99999"}, {"str": ["x"]}, {"str": "x" * 10**5}),
    *({"list": 7}, {"tuple": [7]}, {"dict": [[{"int": "1"}], []]}, {"complex": ["0x1p0"]}),
    {"dict": [[{"list": []}], [{"none": True}]]},
    {"torch_dtype": "torch.nothing"},
    {**TENSOR, "dtype": "torch.Tensor"},
    {**TENSOR, "dtype": ["torch.float32"]},
    {**TENSOR, "shape": [2]},
    {**TENSOR, "shape": [-1]},
    {**TENSOR, "shape": [True]},
    {**TENSOR, "shape": [10**30]},
    {**TENSOR, "shape": "1"},
    {**TENSOR, "shape": [1] * 65},
    {**TENSOR, "tensor": "not base64!"},
    {**TENSOR, "tensor": None},
    *({"tensor": "AA==", "dtype": f"torch.q{kind}", "shape": [1]} for kind in ("int8", "uint8")),
    {"list": [{}] * 10},
    {"list": [{"list": [{"none": True}] * 1000}] * 101},
    {"dict": [[{"int": str(n)} for n in range(1000)], [{"none": True}] * 1000]},
    {"dict": [[{"str": f"{n:0>300}"} for n in range(1000)], [{"none": True}] * 1000]},
    {"list": [TENSOR | {"tensor": "A" * (30 << 20)}] * 4},
]


@pytest.mark.parametrize("plain", FORGED, ids=lambda plain: str(plain)[:60])
def test_what_was_forged_is_refused(plain: object) -> None:
    # Fails closed: the judge must meet an error that it knows, whatever comes.
    with pytest.raises(NotPlainError):
        decode(plain)


def test_a_deep_nest_is_refused() -> None:
    plain: dict[str, Any] = {"none": True}
    for _ in range(500):
        plain = {"list": [plain]}
    with pytest.raises(NotPlainError):
        decode(plain)


def test_what_is_written_can_be_read() -> None:
    # The mistake: an answer that is written down is refused by the judge, or none is written.
    nest: object = 1
    for _ in range(12):
        nest = [nest]
        assert there_and_back(nest) == nest
    assert set(encode([nest])) == {"other"}


def test_a_tensor_of_no_plain_numbers_is_only_named() -> None:
    # The mistake: a quantized tensor ends the process of the judge when it is compared.
    assert set(encode(torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8))) == {"other"}
    assert set(encode(torch.qint8)) == {"other"}


def test_a_forged_truth_value_is_one_of_two() -> None:
    # A byte of 2 would be a truth value that equals neither True nor False.
    came = decode({"tensor": "AgAB", "dtype": "torch.bool", "shape": [3]})
    assert isinstance(came, torch.Tensor) and came.tolist() == [True, False, True]
    assert came.view(torch.uint8).max() == 1
