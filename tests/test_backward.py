"""Our walk over PyTorch's nodes gives what the engine gives, bit by bit, for every kind of node."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from checks import backward

CASES = {}


def case(build):
    """Register a function that returns a result, and tensors that it was computed from."""
    CASES[build.__name__] = build
    return build


def leaf(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype).requires_grad_()


def with_parameters(module, x):
    return module(x), [x, *module.parameters()]


@case
def the_graph_of_the_lesson():
    x, y, w = torch.tensor(1.5), torch.tensor(2.5), torch.tensor(3.5, requires_grad=True)
    y_hat = w * x
    difference = y_hat - y
    return difference**2, [w, y_hat, difference]


@case
def mlp():
    return with_parameters(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), leaf(7, 4))


@case
def batch_norm():
    return with_parameters(nn.BatchNorm1d(4), leaf(7, 4))


@case
def batch_norm_in_eval():
    return with_parameters(nn.BatchNorm1d(4).eval(), leaf(7, 4))


@case
def layer_norm():
    return with_parameters(nn.LayerNorm(4), leaf(7, 4))


@case
def group_norm():
    return with_parameters(nn.GroupNorm(2, 4), leaf(3, 4, 5))


@case
def lstm():
    x, module = leaf(5, 2, 3), nn.LSTM(3, 4, num_layers=2)
    outputs, (h, c) = module(x)
    return outputs.sum() + (h * c).sum(), [x, *module.parameters()]


@case
def gru_cell():
    x, h, module = leaf(2, 3), leaf(2, 4), nn.GRUCell(3, 4)
    return module(x, h), [x, h, *module.parameters()]


@case
def convolution_and_pooling():
    x, conv = leaf(2, 3, 8, 8), nn.Conv2d(3, 4, 3, padding=1, stride=2)
    pooled = F.max_pool2d(conv(x).relu(), 2)
    return F.avg_pool2d(pooled, 2).sum() + pooled.amax(), [x, *conv.parameters()]


@case
def transposed_convolution():
    return with_parameters(nn.ConvTranspose1d(3, 4, 3), leaf(2, 3, 6))


@case
def embedding():
    table = nn.Embedding(10, 4)
    return table(torch.tensor([1, 3, 3, 9])).square(), [table.weight]


@case
def sparse_embedding_used_twice():
    # A sparse gradient and a dense one meet at one tensor.
    table = nn.Embedding(10, 4, sparse=True)
    return table(torch.tensor([1, 3])).sum() + table.weight.square().sum(), [table.weight]


@case
def sparse_embedding_after_a_dense_use():
    # The same, in the other order.
    table = nn.Embedding(10, 4, sparse=True)
    dense = table.weight.square().sum()
    return table(torch.tensor([1, 3])).sum() + dense, [table.weight]


@case
def a_module_of_the_transformer():
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    return with_parameters(layer, leaf(2, 3, 4))


@case
def dropout():
    x = leaf(50)
    return F.dropout(x * 2, 0.5), [x]


@case
def maxima():
    x = leaf(4, 5)
    largest, _ = x.max(dim=1)
    return largest.sum() + x.max() + x.amin(0).sum() + x.topk(2).values.sum(), [x]


@case
def ties():
    x = torch.tensor([1.0, 1.0, 0.0], requires_grad=True)
    return x.max() + x.relu().sum() + torch.maximum(x, torch.ones(3)).sum(), [x]


@case
def chunks_of_which_one_is_used():
    x = leaf(6)
    first, _, third = (x * 2).chunk(3)
    return (first * third.exp()).sum(), [x, first, third]


@case
def unbind_and_stack():
    x = leaf(3, 2)
    rows = x.unbind()
    return torch.stack([rows[2], rows[0] * rows[2]]).sum(0), [x]


@case
def fft():
    x = leaf(8)
    return torch.fft.rfft(x).abs().square(), [x]


@case
def complex_numbers():
    z, real = leaf(4, dtype=torch.complex64), leaf(4)
    return (z * real + z.conj() * 1j).abs().sum(), [z, real]


@case
def a_complex_result():
    z = leaf(3, dtype=torch.complex128)
    return z**2, [z]


@case
def broadcasting():
    a, b, c = leaf(4, 1, 3), leaf(2, 1), leaf()
    return (a + b) * c - a / (b.exp() + c**2), [a, b, c]


@case
def type_promotion():
    half, single, double = (
        leaf(3, dtype=t) for t in (torch.bfloat16, torch.float32, torch.float64)
    )
    return half * single + double * half, [half, single, double]


@case
def views_and_in_place():
    x = leaf(6)
    y = x * 1
    y[1:3].mul_(3)
    y.view(2, 3)[0, 2] = 7
    y += x.sum()
    return y.square(), [x]


@case
def a_view_changed_after_its_base():
    x = leaf(4)
    base = x.clone()
    view = base.view(2, 2)
    base.exp_()
    return (view.t() * 2).contiguous(), [x]


@case
def strides():
    x = leaf(6)
    return x.as_strided((2, 3), (1, 2)).flip(0).expand(4, 2, 3).permute(2, 0, 1).roll(1), [x]


@case
def index_put():
    x, values = leaf(5), leaf(3)
    index = torch.tensor([1, 1, 4])
    return (x * 1).index_put((index,), values, accumulate=True).square() + x[index].sum(), [
        x,
        values,
    ]


@case
def gather_and_scatter():
    x, source = leaf(3, 4), leaf(3, 2)
    index = torch.tensor([[0, 0], [1, 3], [2, 2]])
    return (x * 2).scatter_add(1, index, source).gather(1, index).prod(), [x, source]


@case
def where_and_mask():
    x, y = leaf(6), leaf(6)
    return torch.where(x > 0, x.exp(), y).masked_fill(y > 1, 0.0).clamp(-1, 2), [x, y]


@case
def cumulated():
    x = leaf(4, 3)
    return (
        x.cumsum(0) + x.cumprod(1) + x.logcumsumexp(0) + x.norm() + x.std(0) + x.sort(0).values
    ), [x]


@case
def einsum():
    a, b, c = leaf(2, 3, 4), leaf(4, 5), leaf(5)
    return torch.einsum("ijk,kl,l->ij", a, b, c), [a, b, c]


@case
def matrix_products():
    a, b, v, bias = leaf(3, 4), leaf(4, 3), leaf(3), leaf(3)
    square = torch.addmm(bias, a, b)
    return square @ v + torch.dot(v, v) + torch.bmm(a[None], b[None]).sum() + torch.outer(v, v).sum(
        0
    ), [a, b, v, bias]


@case
def linear_algebra():
    a = (torch.eye(4) * 4 + torch.randn(4, 4)).requires_grad_()
    b = leaf(4, 2)
    spd = a @ a.T + torch.eye(4)
    return (
        torch.linalg.solve(a, b).sum()
        + torch.linalg.inv(a).sum()
        + torch.logdet(spd)
        + torch.linalg.cholesky(spd).sum()
        + torch.linalg.eigvalsh(spd).prod()
    ), [a, b]


@case
def losses():
    logits, target = leaf(5, 3), torch.tensor([0, 2, 1, 1, 0])
    return (
        F.cross_entropy(logits, target, label_smoothing=0.1)
        + F.nll_loss(logits.log_softmax(1), target)
        + F.mse_loss(logits.softmax(1), torch.ones(5, 3))
        + F.binary_cross_entropy_with_logits(logits, torch.full((5, 3), 0.25))
        + F.smooth_l1_loss(logits, torch.zeros(5, 3))
        + F.kl_div(logits.log_softmax(1), torch.full((5, 3), 1 / 3), reduction="batchmean")
    ), [logits]


@case
def activations():
    x = leaf(7)
    return (
        F.gelu(x) * F.silu(x)
        + F.elu(x)
        - F.leaky_relu(x)
        + F.softplus(x) * x.sigmoid()
        + x.abs().sqrt()
        + x.square().log1p()
        + x.sin() * x.cos()
        + x.pow(3)
        + 2**x
        + x.atan2(x + 3)
    ), [x]


@case
def interpolation():
    image = leaf(1, 2, 4, 4)
    grid = torch.rand(1, 3, 3, 2) * 2 - 1
    grid.requires_grad_()
    bigger = F.interpolate(image, scale_factor=2, mode="bilinear")
    return F.grid_sample(bigger, grid, align_corners=False), [image, grid]


@case
def many_paths_to_one_tensor():
    # Three and more summands: the order of adding decides the last bit.
    x = leaf(50)
    y = x * 1.1
    parts = [(y * k).sin() * torch.randn(50) for k in range(1, 9)]
    return torch.stack([*parts, y, y * y, y / 3]).sum(0), [x, y]


@case
def stacked_doublings():
    # 2⁶⁰ paths.
    x = leaf(3)
    y = x
    for _ in range(60):
        y = y + y
    return y, [x]


@case
def a_result_that_is_the_input():
    x = leaf(3)
    return x, [x]


@case
def a_tensor_and_what_is_made_of_it():
    x = leaf(3)
    y = x.exp()
    return (y * x).sum(), [y, x]


@case
def nothing_flows():
    x = leaf(4)
    return x.round() + x.sign() + x.floor(), [x]


@case
def a_graph_of_a_gradient():
    x = leaf(4)
    (first,) = torch.autograd.grad(x.pow(3).sum(), x, create_graph=True)
    return first.square(), [x]


@case
def a_checkpoint():
    x, module = leaf(3, 4), nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Tanh())
    return checkpoint(module, x, use_reentrant=False), [x, *module.parameters()]


@case
def saved_tensors_hooks():
    x = leaf(4)
    with torch.autograd.graph.save_on_cpu():
        return x.exp() * x, [x]


class Mixed(torch.autograd.Function):
    """Several inputs, some of them no tensors or without gradient, and several outputs."""

    @staticmethod
    def forward(ctx, a, factor, b, constant, flag=True):
        ctx.save_for_backward(a, b, constant)
        ctx.factor = factor
        # Attributes that hide the node's own from those who ask the node for them.
        ctx.variable, ctx.name = a, "mixed"
        index = torch.arange(3)
        ctx.mark_non_differentiable(index)
        return a * b * factor, index, a + b * constant

    @staticmethod
    def backward(ctx, first, _index, second):
        a, b, constant = ctx.saved_tensors
        grad_a = first * b * ctx.factor + second
        return grad_a, None, first * a * ctx.factor + second * constant, None, None


@case
def custom_function():
    a, b = leaf(3), leaf(3)
    first, _, second = Mixed.apply(a * 1, 2.5, b, torch.randn(3))
    return first * second.exp(), [a, b]


@case
def custom_function_of_which_one_output_is_used():
    a, b = leaf(3), leaf(3)
    return Mixed.apply(a, 2.5, b, torch.randn(3))[2], [a, b]


@case
def custom_function_of_which_one_input_needs_a_gradient():
    b = leaf(3)
    return Mixed.apply(torch.randn(3), 2.5, b, torch.randn(3))[0], [b]


class Doubled(torch.autograd.Function):
    """In place, in the style with `setup_context`, and with surplus Nones."""

    @staticmethod
    def forward(x):
        return x.mul_(2)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_dirty(inputs[0])

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2, None, None


@case
def custom_function_in_place():
    x = leaf(3)
    return Doubled.apply(x * 3).exp(), [x]


class Constant(torch.autograd.Function):
    """Hands something on also where nothing arrives, as a wrong `backward` may."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.full_like(gradient, 3.0)


class Stop(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return None


@case
def custom_function_below_one_that_hands_nothing_on():
    x = leaf(3)
    return Stop.apply(Constant.apply(x)), [x]


def ours(result, inputs, v):
    edges = [backward.edge(tensor) for tensor in inputs]
    root = backward.edge(result)
    nodes = backward.order(root[0], {node for node, _ in edges})
    arriving = backward.run(root, v, nodes).arriving
    return [arriving.get(edge) for edge in edges]


@pytest.mark.parametrize("name", CASES)
def test_every_bit_is_the_engine_s(name):
    # Mistake caught: a node that is called, lined up, added up or cast otherwise than by PyTorch.
    # A truth that is silently another than autograd's would be the worst bug of all.
    torch.manual_seed(7)
    result, inputs = CASES[name]()
    v = torch.randn(result.shape, dtype=result.dtype)
    found = ours(result, inputs, v)
    truth = torch.autograd.grad(result, inputs, v, retain_graph=True, allow_unused=True)
    for mine, theirs in zip(found, truth, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is None:
            continue
        assert (mine.shape, mine.dtype, mine.layout) == (theirs.shape, theirs.dtype, theirs.layout)
        dense_mine, dense_theirs = mine.to_dense(), theirs.to_dense()
        if name == "a_module_of_the_transformer":  # its attention may add up in several threads
            torch.testing.assert_close(dense_mine, dense_theirs)
        else:
            assert torch.equal(dense_mine, dense_theirs)
    # Walking again gives the same: no node gave its saved values away.
    again = ours(result, inputs, v)
    for first, second in zip(found, again, strict=True):
        assert first is second is None or torch.equal(first.to_dense(), second.to_dense())


def test_attention():
    # Mistake caught: the fused attention kernels are called with the wrong arguments.
    torch.manual_seed(1)
    q, k, value = (leaf(2, 4, 5, 8) for _ in range(3))
    result = F.scaled_dot_product_attention(q, k, value, is_causal=True)
    v = torch.randn_like(result)
    truth = torch.autograd.grad(result, [q, k, value], v, retain_graph=True)
    for mine, theirs in zip(ours(result, [q, k, value], v), truth, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_very_large_graph_is_left_alone():
    # Mistake caught: PyTorch kills the kernel when a chain of very many nodes is freed after all of
    # them were looked at from Python.
    x = torch.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(50_000):
        y = y + 1
    with pytest.raises(backward.TooLargeError):
        ours(y, [x], torch.tensor(1.0))
    del y  # here it would crash


class WrongShape(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient[:1].expand(7)


class TooFew(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        return x * y

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class TooMany(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2, gradient


class NoTensor(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return 3


@pytest.mark.parametrize(
    "function, arguments", [(WrongShape, 1), (TooFew, 2), (TooMany, 1), (NoTensor, 1)]
)
def test_what_the_engine_refuses_is_refused(function, arguments):
    # Mistake caught: a gradient of the wrong shape or number would be passed on as the truth.
    inputs = [leaf(3) for _ in range(arguments)]
    result = function.apply(*inputs)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(result, inputs, torch.ones(3), retain_graph=True)
    with pytest.raises(RuntimeError, match="returned"):
        ours(result, inputs, torch.ones(3))


class InPlace(torch.autograd.Function):
    """Computes in the tensor that it is given, and in one that it keeps."""

    @staticmethod
    def forward(ctx, x):
        ctx.kept = torch.ones_like(x)
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        print("something went through here")
        return ctx.kept.copy_(gradient.mul_(2))


def test_what_a_function_does_in_place_stays_with_it(capsys):
    # Mistake caught: the learner's v, or what was seen before, is another after a second pass. Or
    # what a function prints is shown once for each of many passes.
    x = leaf(3)
    result, v = InPlace.apply(x), torch.ones(3)
    (first,) = ours(result, [x], v)
    ours(result, [x], 5 * v)
    assert first.tolist() == [2, 2, 2] and v.tolist() == [1, 1, 1]
    assert capsys.readouterr().out == ""


def test_reentrant_checkpointing_is_refused():
    # Mistake caught: its backward calls `backward()`, which would write to the learner's `.grad`.
    module, x = nn.Linear(3, 3), leaf(3)
    result = checkpoint(module, x, use_reentrant=True)
    with pytest.raises(RuntimeError, match="use_reentrant"):
        ours(result, [x], torch.ones(3))
    assert module.weight.grad is None


def test_a_part_that_is_not_needed_may_be_freed():
    # Mistake caught: asking nodes that lead to none of the tensors, and failing on what was freed.
    x, w = leaf(), leaf()
    other = w.exp()
    result = x * 3 + other
    other.backward()
    assert ours(result, [x], torch.tensor(1.0))[0] == 3


def test_order_lists_only_what_leads_there():
    # Mistake caught: an unrelated tensor looks as if it were part of the graph.
    x, unrelated = leaf(), leaf()
    root = backward.edge(x * 2)
    assert backward.order(root[0], {backward.edge(unrelated)[0]}) == []


def test_a_cut_goes_on_with_the_learner_s_gradient():
    # Mistake caught: the gradient that arrived is lost, or the true one goes on.
    x = leaf()
    y = x * 3
    result = y * 5
    root, at_y, at_x = map(backward.edge, (result, y, x))
    nodes = backward.order(root[0], {at_x[0]})
    seen = backward.run(root, torch.tensor(1.0), nodes, cuts={at_y: torch.tensor(7.0)})
    assert (seen.arriving[at_y], seen.arriving[at_x]) == (5, 21)
