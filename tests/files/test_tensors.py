"""Files: written whole or not at all, read without ever unpickling, refused by name when damaged or foreign (P7)."""

import errno
import json
import os
import pickle
import random
import stat
import sys
import tempfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from titans_ts.files.tensors import FORMAT, VERSION, read_tensors, write_tensors

TENSORS = {
    "weights": torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),
    "half": torch.arange(6).bfloat16().reshape(2, 3),
    "whole numbers": torch.tensor([2**40, -1]),
    "double": torch.tensor(1 / 3, dtype=torch.float64),
    "nothing": torch.zeros(2, 0),
    "random bytes": torch.randint(0, 256, (20,), generator=torch.Generator().manual_seed(1), dtype=torch.uint8),
}
HEADER = {"estimator": "x", "values": [1, 2.5, None, True], "ünïcode": {"nested": "→"}}


@pytest.fixture
def path(tmp_path):
    """Return a file of known content, and see that its folder holds nothing else afterwards."""
    place = tmp_path / "model.titans"
    write_tensors(place, TENSORS, HEADER)
    yield place
    assert os.listdir(tmp_path) == ["model.titans"], "something was left behind"


@pytest.fixture(autouse=True)
def _never_unpickled(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)


def test_everything_comes_back_to_the_bit(path):
    tensors, header = read_tensors(path)
    assert header == HEADER
    assert tensors.keys() == TENSORS.keys()
    for name, x in TENSORS.items():
        assert tensors[name].dtype == x.dtype, name
        assert torch.equal(tensors[name], x), name


def test_views_and_shared_memory_are_written_as_what_they_show(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    given = {"whole": whole, "same": whole, "turned": whole.T, "part": whole[1:, ::2], "wide": torch.ones(1).expand(5)}
    given["learned"] = torch.nn.Parameter(whole.clone())
    write_tensors(tmp_path / "f", given, {})
    tensors, _ = read_tensors(str(tmp_path / "f"))
    assert all(torch.equal(tensors[name], x) for name, x in given.items())


def test_writing_again_replaces_the_file(path):
    write_tensors(str(path), {"new": torch.ones(2)}, {"a": 1})
    tensors, header = read_tensors(path)
    assert (list(tensors), header) == (["new"], {"a": 1})


@pytest.mark.skipif(sys.platform == "win32", reason="file modes")
def test_others_may_read_it_as_any_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_tensors(tmp_path / "f", TENSORS, {})
        assert os.umask(0o027) == 0o027, "the process's umask was changed"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640


# --- interrupted ------------------------------------------------------------------------------------------------------


def _stopped_by(error):
    """A way to write that takes some bytes and then fails."""

    def write_bytes(path, content):
        with path.open("wb") as file:
            file.write(content[:100])
        raise error

    return write_bytes


def _raising(error):
    def fail(*_args, **_kwargs):
        raise error

    return fail


FAILURES = {
    "the disk is full": (Path, "write_bytes", _stopped_by(OSError(errno.ENOSPC, "No space left on device")), OSError),
    "a key is pressed while it writes": (Path, "write_bytes", _stopped_by(KeyboardInterrupt()), KeyboardInterrupt),
    "the disk fails": (os, "fsync", _raising(OSError(errno.EIO, "I/O error")), OSError),
    "a key is pressed before it moves": (os, "replace", _raising(KeyboardInterrupt()), KeyboardInterrupt),
    "it cannot be moved": (os, "replace", _raising(PermissionError(errno.EACCES, "denied")), OSError),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("old", [True, False])
def test_an_interruption_leaves_the_old_file_whole(tmp_path, monkeypatch, failure, old):
    path = tmp_path / "model.titans"
    if old:
        write_tensors(path, TENSORS, HEADER)
    before = path.read_bytes() if old else None
    place, name, replacement, error = FAILURES[failure]
    with monkeypatch.context() as patch:
        patch.setattr(place, name, replacement)
        with pytest.raises(error):
            write_tensors(path, {"new": torch.randn(1000)}, {})
    assert os.listdir(tmp_path) == (["model.titans"] if old else [])
    if old:
        assert path.read_bytes() == before
    write_tensors(path, {"new": torch.ones(1)}, {})  # and the next time it goes well
    assert list(read_tensors(path)[0]) == ["new"]


def test_the_place_never_holds_a_part_of_the_file(path, monkeypatch):
    """At the moment of moving, all has been written, flushed and synced elsewhere in the same folder."""
    events = []
    moved, synced = os.replace, os.fsync

    def look(source, target):
        assert os.path.dirname(source) == os.path.dirname(target)
        with safetensors.safe_open(source, "pt") as file:
            assert list(file.keys()) == ["new"]
        assert set(read_tensors(target)[0]) == set(TENSORS)
        events.append("moved")
        moved(source, target)

    monkeypatch.setattr(os, "replace", look)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("synced"), synced(descriptor)))
    write_tensors(path, {"new": torch.ones(1)}, {})
    assert events[:2] == ["synced", "moved"]


def test_what_json_cannot_hold_leaves_the_old_file_whole(path):
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_tensors(path, {"new": torch.ones(1)}, {"a": object()})
    assert path.read_bytes() == before


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder .*nowhere.* does not exist; make it first"):
        write_tensors(tmp_path / "nowhere" / "f", TENSORS, {})
    assert os.listdir(tmp_path) == []


# --- damaged and foreign ----------------------------------------------------------------------------------------------

DAMAGED = "is damaged, cut short, or not a file of titans_ts"


@pytest.mark.parametrize("missing", ["nowhere.titans", "nowhere/f.titans", "."])
def test_no_file_is_named(tmp_path, missing):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_tensors(tmp_path / missing)


def test_a_file_cut_anywhere_is_refused(path):
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 37), *range(12), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=DAMAGED):
            read_tensors(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(ValueError, match=DAMAGED):
        read_tensors(path)


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_refused(path, seed):
    chance = random.Random(seed)
    path.write_bytes(chance.randbytes(chance.choice([1, 8, 9, 100, 5000])))
    with pytest.raises(ValueError, match=DAMAGED):
        read_tensors(path)


def test_a_damaged_header_is_refused_or_changes_nothing_else_than_text(path):
    """Whatever byte of the header is wrong, nothing but a ValueError comes out."""
    whole = path.read_bytes()
    chance = random.Random(0)
    size = 8 + int.from_bytes(whole[:8], "little")
    refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[chance.randrange(size)] = chance.randrange(256)
        path.write_bytes(damaged)
        refused += _is_refused(path)
    assert refused > 400


def _is_refused(path) -> bool:
    try:
        read_tensors(path)
    except ValueError:
        return True
    return False


UNPICKLED = os.path.join(tempfile.gettempdir(), "titans_ts_was_unpickled")


class Payload:
    """What a hostile pickle would do."""

    def __reduce__(self):
        return os.mkdir, (UNPICKLED,)


@pytest.mark.parametrize("kind", ["pickle", "torch", "text", "json", "zip"])
def test_files_of_another_kind_are_refused_and_never_unpickled(path, kind):
    if kind == "torch":
        torch.save({"weights": torch.ones(3), "payload": Payload()}, path)
    else:
        path.write_bytes(
            {
                "pickle": pickle.dumps(Payload()),
                "text": b"unique_id,ds,y\n" * 20,
                "json": json.dumps(HEADER).encode(),
                "zip": b"PK\x05\x06" + bytes(18),
            }[kind]
        )
    with pytest.raises(ValueError, match=DAMAGED):
        read_tensors(path)
    assert not os.path.exists(UNPICKLED)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"version": "1", "header": "{}"}])
def test_tensors_of_another_maker_are_refused(path, metadata):
    safetensors.torch.save_file({"weights": torch.ones(3)}, path, metadata)
    with pytest.raises(ValueError, match="is a safetensors file, but titans_ts did not write it"):
        read_tensors(path)


def test_a_newer_version_is_refused_with_the_remedy(path):
    metadata = {"format": FORMAT, "version": str(VERSION + 1), "header": "{}"}
    safetensors.torch.save_file({"weights": torch.ones(3)}, path, metadata)
    with pytest.raises(ValueError, match=f"newer titans_ts .file format {VERSION + 1}; .* upgrade titans_ts"):
        read_tensors(path)


@pytest.mark.parametrize(
    "about",
    [{"version": "1"}, {"header": "{}"}, {"version": "one", "header": "{}"}, {"version": "1", "header": "{"}],
    ids=str,
)
def test_a_header_that_cannot_be_read_is_refused(path, about):
    safetensors.torch.save_file({"weights": torch.ones(3)}, path, {"format": FORMAT, **about})
    with pytest.raises(ValueError, match="has a damaged header"):
        read_tensors(path)


@pytest.mark.parametrize("header", ["[]", "null", '"text"', "3"])
def test_a_header_that_is_no_table_is_refused(path, header):
    safetensors.torch.save_file({"weights": torch.ones(3)}, path, {"format": FORMAT, "version": "1", "header": header})
    with pytest.raises(ValueError, match="has a damaged header"):
        read_tensors(path)


def test_a_flipped_bit_in_a_tensor_is_noticed(path):
    """Bad memory or a bad disk: the numbers would be wrong without a word."""
    whole = bytearray(path.read_bytes())
    whole[-5] ^= 0x40
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="damaged"):
        read_tensors(path)
