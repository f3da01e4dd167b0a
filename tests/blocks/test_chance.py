"""Chance from generators of one's own: first weights as by torch's seeded global one, which stays as it is."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn

from titans_ts.blocks.chance import DrawingFrom, Dropout, drawing, dropping_by, seeded_generator

DRAWS = {
    "randn": lambda: torch.randn(5, 3),
    "rand": lambda: torch.rand(4, dtype=torch.float64),
    "randint": lambda: torch.randint(2, 99, (7,)),
    "permutation": lambda: torch.randperm(9),
    "normal_": lambda: torch.empty(5).normal_(std=2.0),
    "bernoulli_": lambda: torch.empty(40).bernoulli_(0.3),
    "multinomial": lambda: torch.multinomial(torch.ones(6), 4),
    "linear": lambda: nn.Linear(5, 3).weight,
    "embedding": lambda: nn.Embedding(5, 3).weight,
    "convolution": lambda: nn.Conv1d(2, 3, 5).bias,
    "LSTM": lambda: nn.LSTM(4, 4).bias_hh_l0,
    "dropout": lambda: nn.functional.dropout(torch.ones(30)),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_what_is_drawn_inside_is_what_a_seeded_torch_draws(draw):
    torch.manual_seed(7)
    wanted = [draw(), draw()]
    before = torch.get_rng_state()
    with drawing(7):
        found = [draw(), draw()]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, found, wanted))


def test_other_operations_and_other_threads_are_left_alone():
    torch.manual_seed(7)
    wanted, drawn = torch.randn(3), []
    torch.manual_seed(7)
    with drawing(1):
        thread = threading.Thread(target=lambda: drawn.append(torch.randn(3)))
        thread.start()
        thread.join()
        assert torch.equal(torch.ones(3).cumsum(0), torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(drawn[0], wanted), "who draws from torch's global generator elsewhere still does"


def test_a_draw_that_takes_no_generator_is_refused():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="native_dropout.* can take no other"), DrawingFrom(torch.Generator()):
        torch.native_dropout(torch.ones(3), 0.5, True)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(35,), (64, 17, 41), (0, 4)])
def test_dropout_scales_what_it_keeps_and_has_its_gradient(dtype, shape):
    x = torch.linspace(-3, 3, torch.tensor(shape).prod()).to(dtype).reshape(shape)
    x = (x.mT if len(shape) > 1 else x).detach().requires_grad_()
    network, before = nn.Sequential(Dropout(0.3)), torch.get_rng_state()
    found, again = [], []
    for outputs in (found, again):
        with dropping_by(seeded_generator(3), network):
            outputs += [network(x), network(x)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, found, again))
    assert torch.equal(*found) == (x.numel() == 0), "every call draws anew"
    scale = 1 / (round(0.7 * 2**16) / 2**16)
    kept = found[0] != 0
    torch.testing.assert_close(found[0], torch.where(kept, x * scale, 0))
    torch.testing.assert_close(torch.autograd.grad(found[0].sum(), x)[0], torch.where(kept, scale, 0.0).to(dtype))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.8])
def test_dropout_drops_its_share_of_every_place(share):
    layer, n = Dropout(share), 200_000
    with dropping_by(seeded_generator(0), layer):
        found = layer(torch.ones(n))
    dropped = (found == 0).double().unflatten(0, (-1, 4)).mean(0)  # one of four sixteenths of a number drawn
    assert (dropped - share).abs().max() < 5 * (share * (1 - share) / n * 4) ** 0.5 + 2**-16
    assert abs(found.double().mean() - 1) < 5 * (share / (1 - share) / n) ** 0.5


def test_dropout_draws_nothing_where_nothing_is_dropped():
    generator, x = seeded_generator(3), torch.ones(5)
    before = generator.get_state()
    for layer in (Dropout(0.0).train(), Dropout(0.5).eval()):
        with dropping_by(generator, layer):
            assert torch.equal(layer(x), x)
    assert torch.equal(generator.get_state(), before)


def test_outside_a_run_dropout_is_torchs_and_a_copy_belongs_to_no_run():
    layer, x = Dropout(0.5), torch.ones(50)
    with dropping_by(seeded_generator(3), layer):
        copies = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    with pytest.raises(AttributeError), dropping_by(seeded_generator(3), layer):
        layer(None)
    for each in (layer, *copies):
        torch.manual_seed(11)
        wanted = nn.functional.dropout(x, 0.5)
        torch.manual_seed(11)
        assert torch.equal(each(x), wanted)
