"""Trees of tensors: changed, packed and unpacked without losing a part."""

from typing import NamedTuple

import pytest
import torch
from series.cases import ALL_COVARIATES, make_network, make_series

from titans_ts.backbones.state import map_tensors, pack, unpack
from titans_ts.backbones.variants import VARIANTS
from titans_ts.files.tensors import read_tensors, write_tensors
from titans_ts.series.reading import absorb, start_state
from titans_ts.series.state import SeriesState


class Pair(NamedTuple):
    left: object
    right: object


TREE = Pair((torch.ones(2), 7, None), Pair(torch.zeros(1, 3), ()))


def read_state(variant: str = "mac", length: int = 31) -> SeriesState:
    network = make_network(variant, **ALL_COVARIATES)
    series = make_series(network.config, length, missing=0.1)
    return absorb(network, start_state(network, static=series.static, scale=series.scale), series)


def test_map_changes_every_tensor_and_nothing_else():
    found = map_tensors(lambda x: x + 1, TREE)
    assert isinstance(found, Pair)
    assert isinstance(found.right, Pair)
    assert torch.equal(found.left[0], torch.full((2,), 2.0))
    assert torch.equal(found.right.left, torch.ones(1, 3))
    assert (found.left[1], found.left[2], found.right.right) == (7, None, ())


def test_pack_names_every_part_by_its_path():
    packed = pack(TREE, prefix="here")
    assert set(packed) == {"here.left.0", "here.left.1", "here.right.left"}
    assert packed["here.left.1"].item() == 7


def test_unpack_is_the_inverse():
    found = unpack(TREE, pack(TREE, prefix="here"), prefix="here")
    assert isinstance(found, Pair)
    assert isinstance(found.right, Pair)
    assert torch.equal(found.left[0], TREE.left[0])
    assert isinstance(found.left[1], int)
    assert (found.left[1], found.left[2], found.right.right) == (7, None, ())


def test_a_missing_part_is_named():
    packed = pack(TREE)
    del packed["right.left"]
    with pytest.raises(KeyError, match="right.left"):
        unpack(TREE, packed)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_series_state_goes_through_a_file_to_the_bit(variant, tmp_path):
    state = read_state(variant)
    write_tensors(tmp_path / "f", pack(state, prefix="state"), {})
    tensors, _ = read_tensors(tmp_path / "f")
    found = unpack(read_state(variant, length=5), tensors, prefix="state")
    assert type(found) is SeriesState
    assert found.n_seen == 31
    before, after = pack(state), pack(found)
    assert before.keys() == after.keys()
    for name, x in before.items():
        assert torch.equal(x.nan_to_num(), after[name].nan_to_num()), name
        assert torch.equal(x.isnan(), after[name].isnan()), name


def test_nbytes_counts_every_tensor():
    state = read_state()
    tensors = [x for x in pack(state).values() if x.ndim or x.is_floating_point()]
    assert state.nbytes >= sum(x.numel() * x.element_size() for x in tensors)
    shorter = state._replace(past=state.past[:-1])
    assert state.nbytes - shorter.nbytes == state.past[0].numel() * state.past.element_size()
