"""What a learner typed becomes numbers, or a sentence that says why it cannot."""

import decimal
import fractions

import numpy as np
import pytest
import torch
from junk import BLANKS, JUNK
from labels import label

from checks import answers, wording
from checks.answers import UnansweredError, UnusableError

ROW = [1.0, 2.0, 4.0]

# Right ways to write [1, 2, 4].
SPELLINGS = {
    "list": ROW,
    "tuple": (1.0, 2, 4),
    "torch.Size": torch.Size([1, 2, 4]),
    "fractions": [fractions.Fraction(1), fractions.Fraction(4, 2), fractions.Fraction(4)],
    "decimals": [decimal.Decimal(x) for x in ("1.0", "2", "4e0")],
    "numpy": np.array(ROW),
    "numpy float16": np.array(ROW, dtype="float16"),
    "numpy long double": np.array(ROW, dtype="longdouble"),
    "numpy big-endian": np.array(ROW, dtype=">f4"),
    "numpy unsigned": np.array(ROW, dtype="uint64"),
    "numpy read-only": np.broadcast_to(np.array(ROW), (3,)),
    "numpy reversed": np.array(ROW[::-1])[::-1],
    "numpy objects": np.array([1, 2.0, torch.tensor(4.0)], dtype=object),
    "list of numpy": list(np.array(ROW, dtype="float32")),
    "list of tensors": list(torch.tensor(ROW)),
    "mixed": [torch.tensor(1), np.float16(2), 4],
    "tracked": torch.tensor(ROW, requires_grad=True) * 1,
    "Parameter": torch.nn.Parameter(torch.tensor(ROW)),
    "sparse": torch.tensor(ROW).to_sparse(),
    "negative bit": torch._neg_view(-torch.tensor(ROW)),
    "inference": torch.inference_mode()(lambda: torch.tensor(ROW))(),
    **{
        str(dtype): torch.tensor(ROW).to(dtype)
        for dtype in (
            torch.float16,
            torch.bfloat16,
            torch.float32,
            torch.float64,
            torch.uint8,
            torch.int8,
            torch.int16,
            torch.int32,
            torch.int64,
            torch.uint16,
        )
    },
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_of_the_same_numbers(name):
    # Mistake caught: a right answer is refused for its type, dtype, layout or nesting.
    numbers = answers.read(SPELLINGS[name], (3,))
    assert numbers.dtype is torch.float64
    assert numbers.tolist() == ROW


@pytest.mark.parametrize("wrap", [list, tuple, np.array], ids=lambda w: w.__name__)
def test_nesting(wrap):
    # Mistake caught: rows are mixed up with columns.
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert answers.read(wrap([wrap(row) for row in rows]), (2, 3)).tolist() == rows
    assert answers.read([torch.tensor(row) for row in rows], (2, 3)).tolist() == rows


@pytest.mark.parametrize("number", [3, 3.0, np.int8(3), np.float16(3), fractions.Fraction(3)])
def test_a_number_is_right_for_a_scalar(number):
    # Mistake caught: only a tensor is taken where a Python number is as good.
    assert answers.read(number, ()) == 3


def test_what_is_read_is_not_touched():
    # Mistake caught: an answer that needs no conversion is changed, or tied to its graph.
    answer = torch.tensor(ROW, dtype=torch.float64, requires_grad=True)
    numbers = answers.read(answer, (3,))
    assert not numbers.requires_grad
    assert answer._version == 0


@pytest.mark.parametrize("name", BLANKS)
def test_blanks(name):
    # Mistake caught: a stub, or a list that is half filled in, is taken for an answer.
    for shape in ((), (3,), (2, 2)):
        with pytest.raises(UnansweredError):
            answers.read(BLANKS[name](), shape)


@pytest.mark.filterwarnings("ignore:.*(quantized tensor creation|nested tensors).*:UserWarning")
@pytest.mark.parametrize("name", JUNK)
def test_junk_gets_a_sentence(name):
    # Mistake caught: junk raises from inside, or is read as numbers.
    readable = {"lying tensor", "zeros", "list of zeros", "zero", "fraction"}
    for shape in ((), (3,)):
        try:
            answers.read(JUNK[name](), shape)
            assert name in readable
        except UnusableError as error:
            text = str(error)
            assert text[0].isupper() and text.endswith((".", ")")), text
            assert "came" in text or "our answer" in text
            assert len(text) < 250


# What came → shape expected → what must be in the sentence.
SENTENCES = [
    ("12", (), ["Text", "a single number"]),
    (True, (), ["truth value `True`", "a single number"]),
    ([1.0, "2", 3.0], (3,), ["contains text", "shape `(3,)`"]),
    ([[1.0], [2.0, 3.0]], (2, 1), ["differ in length", "(2, 1)"]),
    ([[[1.0], [2.0, 3.0]]], (1, 2, 1), ["differ in length", "(1, 2, 1)"]),
    (lambda x: x, (), ["A function", "brackets"]),
    ((x for x in ROW), (3,), ["generator", "list(…)"]),
    (1.0, (3,), ["a single number (shape `()`)", "of shape `(3,)`"]),
    ([1.0], (), ["shape `(1,)`", "differ only in dimensions of size 1"]),
    (torch.ones(3, 1), (3,), ["shape `(3, 1)`", "differ only in dimensions of size 1"]),
    (torch.ones(3, 2), (2, 3), ["shape `(3, 2)`", "shape of the transpose"]),
    (torch.ones(1, 4), (3, 4), ["shape `(1, 4)`", "of shape `(3, 4)`"]),
    ([], (3,), ["no entries"]),
    (1j, (), ["Complex numbers came"]),
    (float("nan"), (), ["`nan`", "0/0"]),
    ([1.0, float("nan"), 0.0], (3,), ["`nan`", "0/0"]),
    ([1.0, -float("inf"), 0.0], (3,), ["`inf`", "division by zero"]),
    (torch.ones(3, dtype=torch.bool), (3,), ["Truth values came"]),
    (torch.ones(3, device="meta"), (3,), ["`meta`", "no numbers"]),
    (10**400, (), ["too large"]),
    (np.ma.masked_array(ROW), (3,), ["masked"]),
    (torch.nn.Linear(1, 1), (), ["A module"]),
    (torch, (), ["A Python module"]),
    (float, (), ["A type"]),
    (ValueError("1"), (), ["An exception"]),
    ({"w": 1.0}, (), ["A `dict`"]),
]


@pytest.mark.filterwarnings("ignore:.*nested tensors.*:UserWarning")
@pytest.mark.parametrize(
    "kind, part",
    [("dispatch tensor", "Give a plain tensor instead."), ("nested", "A nested tensor")],
)
def test_odd_tensors_have_a_sentence_of_their_own(kind, part):
    # Mistake caught: it is said of them only that they "cannot be read as numbers".
    with pytest.raises(UnusableError, match=part):
        answers.read(JUNK[kind](), (3,))


@pytest.mark.parametrize("answer, shape, parts", SENTENCES, ids=label)
def test_the_sentence_says_what_came_and_what_was_expected(answer, shape, parts):
    # Mistake caught: a message that names the wrong thing, or does not help.
    with pytest.raises(UnusableError) as caught:
        answers.read(answer, shape)
    for part in parts:
        assert part in str(caught.value)


def test_nothing_is_broadcast():
    # Mistake caught: comparing by broadcasting, which finds a scalar equal to a row of itself.
    shapes = [(), (1,), (4,), (1, 4), (4, 1), (4, 4)]
    for came in shapes:
        for expected in shapes:
            if came != expected:
                with pytest.raises(UnusableError):
                    answers.read(torch.ones(came), expected)


def test_complex_numbers_where_they_are_expected():
    # Mistake caught: a complex gradient loses its imaginary part, or a real spelling is refused.
    assert answers.read([1 + 2j, 3], (2,), complex_expected=True).tolist() == [1 + 2j, 3]


@pytest.mark.parametrize(
    "answer, expected",
    [
        (1.0, 0.0),
        ([1, 2], 0.0),
        (torch.tensor(1), 0.0),
        (torch.ones(2, dtype=torch.bfloat16), 2.0**-8),
        ([torch.tensor(1.0, dtype=torch.float16), 2.0], 2.0**-11),
        (np.float16(1), 2.0**-11),
        (np.ones(2, dtype="float16"), 2.0**-11),
    ],
    ids=label,
)
def test_resolution_is_that_of_the_coarsest_format(answer, expected):
    # Mistake caught: the rounding of a half-precision format is held against the learner.
    assert answers.resolution(answer) == expected


def test_storage_is_recognised_in_every_disguise():
    # Mistake caught: `.grad` passes for an answer found by hand as a view, an array or a list.
    gradient = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    for disguise in (gradient, gradient[0], gradient.T, gradient.numpy(), list(gradient)):
        assert answers.shares_storage(disguise, gradient)
    for honest in (gradient.clone(), gradient.tolist(), 1.0, "x", torch.empty(0), None):
        assert not answers.shares_storage(honest, gradient)
    assert not answers.shares_storage(gradient, None)


def test_a_list_that_contains_itself_is_searched_in_no_time():
    # Mistake caught: the search for a blank never ends, or fills the memory.
    endless = []
    endless += [endless] * 10_000
    assert not answers.is_blank(endless)


def test_ten_million_numbers_in_a_list():
    # Mistake caught: one tensor per number, which takes minutes and gigabytes.
    assert answers.read([0.5] * 10**7, (10**7,)).sum() == 5e6


@pytest.mark.filterwarnings("ignore:.*(quantized tensor creation|nested tensors).*:UserWarning")
@pytest.mark.parametrize("name", JUNK)
def test_words_for_anything(name):
    # Mistake caught: naming what came fails, because the object lies or has a strange name.
    text = wording.what_came(JUNK[name]())
    assert text[0].isupper() and text.isprintable() and len(text) < 90
    assert text.count("`") in (0, 2)


def test_shapes_are_written_as_in_python():
    # Mistake caught: a shape of sixty axes fills the screen.
    assert [wording.written(shape) for shape in ((), (3,), (2, 4))] == ["()", "(3,)", "(2, 4)"]
    assert wording.written([1] * 60) == "(1, 1, 1, 1, 1, 1, 1, 1, …)"


def test_numbers_in_arrays_without_axes():
    # Mistake caught: a right number is refused, since its array says that it holds an object.
    assert answers.read(np.array(1.5, dtype=object), ()).tolist() == 1.5
    boxed = [np.array(1.5, dtype=object), np.array(2, dtype=object)]
    assert answers.read(boxed, (2,)).tolist() == [1.5, 2.0]
