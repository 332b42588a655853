"""Matrix products, rearranging entries, and picking some of them."""

import torch
import torch.nn.functional as F

from wrong.case import case, data, upstream, variable, weighted


def _product(*shapes, product=torch.matmul):
    A, B = (variable(*shape, seed=k) for k, shape in enumerate(shapes))
    Y = product(A, B)
    return weighted(Y, {"A": A, "B": B}), A.detach(), B.detach(), upstream(Y)


# -- matrix products -------------------------------------------------------------------------------


@case("matmul-not-transposed", 15)
def square_without_the_transpose():
    # With square matrices the shape does not show it.
    graph, _, B, u = _product((3, 3), (3, 3))
    return graph, "A", u @ B


@case("matmul-not-transposed", 15)
def square_in_batches():
    graph, A, _, u = _product((2, 3, 3), (2, 3, 3), product=torch.bmm)
    return graph, "B", A @ u


@case("matmul-order")
def the_wrong_order():
    graph, A, _, u = _product((3, 3), (3, 3))
    return graph, "B", u @ A.T


@case("matmul-order-not-transposed")
def the_wrong_order_without_the_transpose():
    graph, A, _, u = _product((3, 3), (3, 3))
    return graph, "B", u @ A


@case("matmul-result-transposed", 15)
def comes_out_transposed():
    graph, A, _, u = _product((7, 4), (4, 5))
    return graph, "B", u.T @ A


@case("matmul-result-transposed", 15)
def a_layer_transposed():
    # The weight of a linear layer is stored as (out, in).
    x, W, b = data(7, 4), variable(5, 4), variable(5)
    y = F.linear(x, W, b)
    return weighted(y, {"W": W, "b": b}, x=x), "W", x.T @ upstream(y)


@case("matmul-result-transposed", 15)
def a_layer_on_batches_of_rows():
    x, W, b = data(2, 7, 4), variable(5, 4), variable(5)
    y = F.linear(x, W, b)
    wrong = x.reshape(14, 4).T @ upstream(y).reshape(14, 5)
    return weighted(y, {"W": W, "b": b}, x=x), "W", wrong


@case("result-transposed", 15)
def an_einsum_transposed():
    x, W = data(7, 4), variable(5, 4)
    y = torch.einsum("ni,oi->no", x, W)
    return weighted(y, {"W": W}, x=x), "W", x.T @ upstream(y)


@case("matmul-upstream-transposed", 15)
def keys_without_the_transpose_of_the_scores():
    # dK = dS Q for dSᵀ Q, where S = Q Kᵀ.
    Q, K = variable(4, 2), variable(4, 2, seed=1)
    y = Q @ K.T
    return weighted(y, {"Q": Q, "K": K}), "K", upstream(y) @ Q.detach()


@case("matmul-own-factor", 11)
def queries_in_place_of_the_keys():
    # dQ = dS Q for dS K, where S = Q Kᵀ.
    Q, K = variable(4, 2), variable(4, 2, seed=1)
    y = Q @ K.T
    return weighted(y, {"Q": Q, "K": K}), "Q", upstream(y) @ Q.detach()


@case("matmul-own-factor", 11)
def keys_in_place_of_the_queries():
    Q, K = variable(4, 2), variable(4, 2, seed=1)
    y = Q @ K.T
    return weighted(y, {"Q": Q, "K": K}), "K", upstream(y).T @ K.detach()


@case("matmul-elementwise")
def entry_by_entry():
    graph, A, _, u = _product((3, 3), (3, 3))
    return graph, "B", u * A


@case("factor-before-a-step")
def the_input_of_the_activation():
    # dW2 = Zᵀ u for Hᵀ u, where H = tanh(Z).
    X, W1, W2 = data(7, 4), variable(4, 5), variable(5, 3)
    Z = X @ W1
    H = torch.tanh(Z)
    y = H @ W2
    wrong = Z.detach().T @ upstream(y)
    return weighted(y, {"W2": W2}, X=X, W1=W1, Z=Z, H=H), "W2", wrong


@case("factor-before-a-step")
def the_input_of_a_sine():
    a, x = variable(4), variable(4, seed=1)
    s = torch.sin(x)
    y = a * s
    return weighted(y, {"a": a}, x=x, s=s), "a", upstream(y) * x.detach()


@case("matmul-factor", 20)
def the_input_left_out():
    X, t, W, b = data(7, 4), data(7, 5, seed=1), variable(4, 5), variable(5)
    R = X @ W + b - t
    loss = (R**2).mean()
    wrong = upstream(loss) * 2 / 35 * torch.ones(1, 7).double() @ R.detach()
    return weighted(loss, {"W": W, "b": b}, X=X, t=t), "W", wrong


@case("matvec-not-transposed", 13)
def a_vector_without_the_transpose():
    W, x = variable(3, 3), variable(3)
    y = W @ x
    return weighted(y, {"W": W, "x": x}), "x", W.detach() @ upstream(y)


@case("matvec-result-transposed", 15)
def an_outer_product_turned():
    W, x = variable(5, 3), variable(3)
    y = W @ x
    return weighted(y, {"W": W, "x": x}), "W", torch.outer(x.detach(), upstream(y))


# -- rearranging -----------------------------------------------------------------------------------


@case("transpose-lost")
def a_transpose_not_undone():
    X = variable(3, 3)
    y = X.T
    return weighted(y, {"X": X}), "X", upstream(y)


@case("transpose-lost")
def a_permutation_not_undone():
    X = variable(2, 3, 2)
    y = X.permute(2, 1, 0)
    return weighted(y, {"X": X}), "X", upstream(y)


@case("transpose-lost")
def reshaped_for_transposed():
    X = variable(3, 4)
    y = X.transpose(0, 1)
    return weighted(y, {"X": X}), "X", upstream(y).reshape(3, 4)


@case("parts-swapped")
def joined_the_other_way():
    a, b = variable(3), variable(3, seed=1)
    y = torch.cat([a, b])
    return weighted(y, {"a": a, "b": b}), "a", upstream(y)[3:]


@case("parts-swapped")
def stacked_the_other_way():
    a, b = variable(3), variable(3, seed=1)
    y = torch.stack([a, b])
    return weighted(y, {"a": a, "b": b}), "b", upstream(y)[0]


@case("broadcast-not-summed", 16)
def an_expansion_not_summed():
    b = variable(3)
    y = b.expand(4, 3)
    return weighted(y, {"b": b}), "b", upstream(y)


# -- picking ---------------------------------------------------------------------------------------


def _last_of_each(index, u, rows):
    wrong = torch.zeros(rows, *u.shape[1:], dtype=u.dtype)
    for place, gradient in zip(index.tolist(), u, strict=True):
        wrong[place] = gradient
    return wrong


REPEATED = torch.tensor([1, 3, 1, 0])


@case("index-overwritten", 30)
def rows_picked_twice():
    X = variable(4, 3)
    y = X[REPEATED]
    return weighted(y, {"X": X}), "X", _last_of_each(REPEATED, upstream(y), 4)


@case("index-overwritten", 30)
def rows_selected_twice():
    X = variable(4, 3)
    y = X.index_select(0, REPEATED)
    return weighted(y, {"X": X}), "X", _last_of_each(REPEATED, upstream(y), 4)


@case("index-overwritten", 30)
def words_that_occur_twice():
    X = variable(4, 3)
    y = F.embedding(REPEATED, X)
    return weighted(y, {"X": X}), "X", _last_of_each(REPEATED, upstream(y), 4)


@case("index-overwritten", 30)
def entries_gathered_twice():
    X = variable(4, 3)
    index = torch.tensor([[1, 3, 1], [1, 0, 2], [2, 0, 1]])
    y = X.gather(0, index)
    u = upstream(y)
    columns = [_last_of_each(index[:, k], u[:, k], 4) for k in range(3)]
    return weighted(y, {"X": X}), "X", torch.stack(columns, dim=1)


@case("selection-everywhere")
def one_entry_picked():
    x = variable(5)
    y = x[2]
    return weighted(y, {"x": x}), "x", upstream(y).expand(5)
