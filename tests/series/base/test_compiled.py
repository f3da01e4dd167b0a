"""The compiled loops beside the modules that they follow, and what stands in for them where they were not built."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from series.base.test_base import PATCH, base_that_reads_on, solved, wave
from tolerances import assert_agree

from titans_ts.backbones.state import pack
from titans_ts.blocks.scale import long_run_scale, on_long_run_scale
from titans_ts.series.base.compiled import build, reading

ROWS = 300
CUTS = {"whole": [], "row by row": [*range(1, 40), *range(130, 150)], "odd": [1, 77, 78, 201]}
ASKED = [1, 7, 8, 9, 88, 135, 136, 240, 300]


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """The library, made for this test."""
    if build.compiler() is None:
        pytest.skip("there is no C compiler")
    return reading.loaded(str(build.build(tmp_path_factory.mktemp("library") / build.LIBRARY.name)))


def streams() -> torch.Tensor:
    """Streams with gaps, late starts, bounds, no change, and nothing at all, ``(s, t)``."""
    rows = np.stack([wave(ROWS, seed) for seed in range(6)])
    rows[0, [0, 1, 3, 90, *range(150, 175), ROWS - 1]] = np.nan
    rows[1, :100] = np.nan
    rows[2] = np.round(np.abs(rows[2] - 20))
    rows[3], rows[4], rows[5] = 5.0, np.nan, 1e6 * rows[5]
    return torch.from_numpy(rows)


def bases():
    reads = base_that_reads_on()
    yield "reads on", reads
    prefers = copy.deepcopy(reads)
    prefers.config = replace(prefers.config, prefers=True)
    prefers.pace.fill_(0.3)
    yield "prefers", prefers
    held = copy.deepcopy(reads)
    held.hold()
    yield "holds", held
    few = solved([wave(40, seed) for seed in range(4)], season=4, lookbacks=(5, 9), patch=2)
    yield "a short panel", few
    yield "no season", solved([wave(ROWS, seed) for seed in range(2)], season=1, lookbacks=(10, 30, 60))
    yield "a long season", solved([wave(ROWS, seed) for seed in range(3)], season=30, lookbacks=(30, 60))


BASES = ["reads on", "prefers", "holds", "a short panel", "no season", "a long season"]


def read(base, rows, cuts, *, several):
    """Return what is found at the origins asked for, and the parts of the last carries, in pieces."""
    scale = long_run_scale(rows[:, None])
    values = on_long_run_scale(rows[:, None], scale)
    carries = [base.initial_state(1, 1) for _ in rows] if several else [base.initial_state(len(rows), 1)]
    found, begin = [], 0
    for end in [*cuts, ROWS]:
        at = torch.tensor([origin - begin for origin in ASKED if begin < origin <= end], dtype=torch.long)
        firsts = [begin] * len(carries)
        piece = values[..., begin:end]
        said, carries = base.read_each(piece, scale, carries, firsts=firsts, ends=at, levels=(0.1, 0.9))
        found, begin = [*found, said], end
    parts = [pack(carry) for carry in carries]
    return [torch.cat(each, 2) for each in zip(*found, strict=True)], {
        name: torch.cat([part[name] for part in parts]) for name in parts[0]
    }


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", BASES)
def test_they_give_the_numbers_of_the_modules_under_any_cut(kind, cut, code, monkeypatch):
    base = dict(bases())[kind]
    monkeypatch.setattr(reading, "library", lambda: None)
    want, state = read(base, streams(), [], several=False)
    monkeypatch.setattr(reading, "library", lambda: code)
    found, after = read(base, streams(), CUTS[cut], several=True)
    for one, other in zip(found, want, strict=True):
        assert torch.equal(one.isfinite(), other.isfinite())
        torch.testing.assert_close(one.nan_to_num(), other.nan_to_num(), rtol=1e-10, atol=1e-10)
    assert after.keys() == state.keys()
    moving = [0, 1, 2, 4, 5]  # where nothing ever changes, errors are rounding, in units as small
    for name, x in state.items():
        torch.testing.assert_close(after[name][moving], x[moving], rtol=1e-9, atol=1e-9, equal_nan=True, msg=name)


def test_series_of_any_phase_are_read_side_by_side_and_alone_alike(code, monkeypatch):
    monkeypatch.setattr(reading, "library", lambda: code)
    base, rows = base_that_reads_on(), streams()[:3]
    scale = long_run_scale(rows[:, None])
    values = on_long_run_scale(rows[:, None], scale)
    begun = [5, 5 + PATCH // 2, 44]
    carries, parts = [], []
    for i, first in enumerate(begun):
        own = [x[i : i + 1] for x in scale]
        carries.append(read_one(base, values[i : i + 1, :, :first], own, base.initial_state(1, 1), 0)[1])
        parts.append(values[i : i + 1, :, first : first + 30])
    together, after = base.read_each(torch.cat(parts), scale, carries, firsts=begun, ends=torch.tensor([0, 30]))
    for i, first in enumerate(begun):
        said, alone = read_one(base, parts[i], [x[i : i + 1] for x in scale], carries[i], first)
        assert torch.equal(said.point, together.point[i : i + 1])
        for one, other in zip(pack(alone).values(), pack(after[i]).values(), strict=True):
            assert_agree(one.nan_to_num(), other.nan_to_num())


def read_one(base, rows, scale, carry, first):
    said, (after,) = base.read_each(
        rows, type(long_run_scale(rows))(*scale), [carry], firsts=[first], ends=torch.tensor([0, rows.shape[2]])
    )
    return said, after


def test_a_changed_base_is_seen_and_a_copy_or_a_pickle_reads_alike(code, monkeypatch):
    monkeypatch.setattr(reading, "library", lambda: code)
    base = copy.deepcopy(base_that_reads_on())
    first, _ = read(base, streams(), [], several=True)
    for other in (copy.deepcopy(base), pickle.loads(pickle.dumps(base))):
        assert torch.equal(read(other, streams(), [], several=True)[0][0], first[0])
    base.memory.share.zero_()
    changed, _ = read(base, streams(), [], several=True)
    assert not torch.equal(changed[0], first[0])
    monkeypatch.setattr(reading, "library", lambda: None)
    torch.testing.assert_close(read(base, streams(), [], several=True)[0][0], changed[0], rtol=1e-10, atol=1e-10)


def test_carries_before_are_left_as_they_were(code, monkeypatch):
    monkeypatch.setattr(reading, "library", lambda: code)
    base, rows = base_that_reads_on(), streams()[:1]
    scale = long_run_scale(rows[:, None])
    values = on_long_run_scale(rows[:, None], scale)
    _, carry = read_one(base, values[..., :50], scale, base.initial_state(1, 1), 0)
    before = {name: x.clone() for name, x in pack(carry).items()}
    read_one(base, values[..., 50:90], scale, carry, 50)
    for name, x in pack(carry).items():
        torch.testing.assert_close(x, before[name], rtol=0, atol=0, equal_nan=True)


def test_a_library_that_does_not_fit_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "base.so").write_bytes(b"no library")
    assert reading.loaded(str(tmp_path / "base.so")) is None
    monkeypatch.setattr(reading, "LIBRARY", tmp_path / "none")
    assert reading.library.__wrapped__() is None
    monkeypatch.setattr(reading, "LIBRARY", tmp_path / "base.so")
    monkeypatch.setenv(reading.SWITCH, "0")
    assert reading.library.__wrapped__() is None


def test_what_a_compiler_says_is_told(tmp_path, monkeypatch):
    if build.compiler() is None:
        pytest.skip("there is no C compiler")
    monkeypatch.setattr(build, "SOURCE", tmp_path / "wrong.c")
    (tmp_path / "wrong.c").write_text("int wrong(")
    with pytest.raises(RuntimeError, match=r"could not compile wrong\.c: .*error"):
        build.build(tmp_path / "wrong.so")
    assert not list(tmp_path.glob("wrong.so*"))
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="install gcc or clang"):
        build.build(tmp_path / "wrong.so")
