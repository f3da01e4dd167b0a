"""Files: written whole or not at all, read without ever unpickling, refused by name when damaged or foreign (P7)."""

import errno
import io
import json
import os
import pickle
import random
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
import safetensors.torch
import torch
from files.places import as_nobody, open_folder

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
    given["of stride 0"] = torch.ones(1, 2).T[:1].expand(1, 1)
    given["learned"] = torch.nn.Parameter(whole.clone())
    write_tensors(tmp_path / "f", given, {})
    tensors, _ = read_tensors(str(tmp_path / "f"))
    assert all(torch.equal(tensors[name], x) for name, x in given.items())


def test_nothing_that_was_read_depends_on_the_file(path):
    tensors, _ = read_tensors(path)
    with path.open("r+b") as file:
        file.write(b"\x11" * path.stat().st_size)
        file.truncate(10)
    assert all(torch.equal(tensors[name], x) for name, x in TENSORS.items())
    spaces = {x.untyped_storage().data_ptr() for x in tensors.values() if x.numel()}
    assert len(spaces) == sum(x.numel() > 0 for x in tensors.values()), "a pickle of one would hold all the others"
    assert all(x.untyped_storage().nbytes() == x.numel() * x.element_size() for x in tensors.values())


def test_the_same_content_gives_the_same_bytes_whatever_its_order(path):
    first = path.read_bytes()
    for order in (sorted(TENSORS), sorted(TENSORS, reverse=True)):
        write_tensors(path, {name: TENSORS[name] for name in order}, HEADER)
        assert path.read_bytes() == first


def test_the_library_of_the_format_reads_our_files_and_we_read_its_files(path):
    found = safetensors.torch.load_file(path)
    assert found.keys() == TENSORS.keys()
    for name, x in TENSORS.items():
        assert (found[name].dtype, found[name].tolist()) == (x.dtype, x.tolist())
    with safetensors.safe_open(path, "pt") as file:
        about = file.metadata()
    safetensors.torch.save_file(TENSORS, path, about)
    again, header = read_tensors(path)
    assert header == HEADER
    assert all(torch.equal(again[name], x) for name, x in TENSORS.items())


def test_a_header_can_be_refused_before_the_tensors_are_read(path):
    seen = []

    def check(header, forms):
        seen.append((header, forms))
        raise ValueError("not wanted")

    with path.open("r+b") as file:  # what comes after the header is not looked at
        file.seek(path.stat().st_size - 1)
        file.write(b"x")
    with pytest.raises(ValueError, match="not wanted"):
        read_tensors(path, check=check)
    header, forms = seen[0]
    assert header == HEADER
    assert forms["half"] == (torch.bfloat16, (2, 3))
    assert forms.keys() == TENSORS.keys()


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


class _Stopped(io.FileIO):
    """A file that takes some bytes and then fails."""

    def __init__(self, path, error):
        super().__init__(path, "wb")
        self.error = error

    def write(self, content):
        if len(content) > 500:
            super().write(bytes(content)[:100])
            raise self.error
        return super().write(content)


def _stopped_by(error):
    return lambda path, _mode: _Stopped(path, error)


def _raising(error):
    def fail(*_args, **_kwargs):
        raise error

    return fail


FAILURES = {
    "the disk is full": (Path, "open", _stopped_by(OSError(errno.ENOSPC, "No space left on device")), OSError),
    "a key is pressed while it writes": (Path, "open", _stopped_by(KeyboardInterrupt()), KeyboardInterrupt),
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


@pytest.mark.parametrize("missing", ["nowhere.titans", "nowhere/f.titans", "file/f.titans"])
def test_no_file_is_named(tmp_path, missing):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=f"there is no file '.*{missing}'"):
        read_tensors(tmp_path / missing)


def test_what_is_no_plain_file_is_told_by_its_name(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; name a file in it"):
        read_tensors(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for special in (tmp_path / "pipe", "/dev/zero", "/dev/null"):
        with pytest.raises(ValueError, match=f"'{special}' is a pipe or a device, no plain file"):
            read_tensors(special)
        with pytest.raises(OSError, match=f"'{special}' is a pipe or a device, no plain file; name a file"):
            write_tensors(special, TENSORS, {})
    os.symlink(tmp_path / "round", tmp_path / "round")
    with pytest.raises(OSError, match="round' cannot be read: Too many levels of symbolic links"):
        read_tensors(tmp_path / "round")
    with pytest.raises(OSError, match="round could not be written: Too many levels of symbolic links"):
        write_tensors(tmp_path / "round", TENSORS, {})
    with pytest.raises(ValueError, match="is no name of a file"):
        read_tensors("a\0b")
    with pytest.raises(TypeError, match="path must be text or a Path, got int"):
        read_tensors(3)


def test_an_empty_file_is_told_to_be_empty(tmp_path):
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(ValueError, match="it is empty"):
        read_tensors(tmp_path / "f")


def test_a_file_that_may_not_be_read_is_told_so():
    with open_folder() as folder:
        write_tensors(folder / "f", TENSORS, {})
        (folder / "f").chmod(0)
        with as_nobody(), pytest.raises(PermissionError, match="f' may not be read"):
            read_tensors(folder / "f")


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


def _file_of(path, said, body=b"", *, size=None):
    """Write a safetensors file of any header."""
    first = said if isinstance(said, bytes) else json.dumps(said).encode()
    with path.open("wb") as file:
        file.write((len(first) if size is None else size).to_bytes(8, "little") + first + body)


ABOUT = {"format": FORMAT, "version": "1", "header": "{}", "digest": "0"}


def _entry(begin=0, end=4, shape=(1,), kind="F32"):
    return {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}


WRONG_HEADERS = {
    "a hole before a tensor": ({"x": _entry(4, 8)}, 8, "'x' do not follow those before"),
    "two in one place": ({"x": _entry(), "y": _entry()}, 4, "'y' do not follow"),
    "bytes left over": ({"x": _entry()}, 5, "its tensors take 4 bytes, but 5 are there"),
    "too few bytes": ({"x": _entry()}, 3, "its tensors take 4 bytes, but 3 are there"),
    "another size": ({"x": _entry(shape=(2,))}, 4, "'x' has another size"),
    "a size past all counting": ({"x": _entry(0, 0, (2**50, 2**50, 0))}, 0, "'x' has another size"),
    "a size below zero": ({"x": _entry(shape=(-1, -1))}, 4, "'x' has a shape or a place that is none"),
    "a half size": ({"x": _entry(shape=(1.0,))}, 4, "'x' has a shape"),
    "very many axes": ({"x": _entry(shape=(1,) * 100)}, 4, "'x' has a shape"),
    "an unknown kind": ({"x": _entry(kind="F31")}, 4, "'x' is of an unknown kind, 'F31'"),
    "a kind that is none": ({"x": _entry(kind=["F32"])}, 4, "'x' is of an unknown kind"),
    "no place": ({"x": {"dtype": "F32", "shape": [1]}}, 4, "says nothing of use about 'x'"),
    "a number for a tensor": ({"x": 3}, 4, "says nothing of use about 'x'"),
    "a list": ([1], 0, "it does not begin as safetensors does"),
    "facts that are no text": ({"__metadata__": {"format": 1}}, 0, "its header is no table"),
    "a name twice": (b'{"x": 1, "x": 2}', 0, "it says 'x' twice"),
    "nested": (b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", 0, "nested too deeply"),
    "a hole in the header": (b'{"x": ' + bytes(3_000_000), 0, "its header is cut short or has holes"),
    "a very long number": (b'{"x": ' + b"9" * 10_000 + b"}", 0, "integer string conversion"),
    "another code": ('{"x": 1}'.encode("utf-16-le"), 0, "its header is cut short or has holes"),
}


@pytest.mark.parametrize("wrong", WRONG_HEADERS)
def test_a_header_that_does_not_agree_with_itself_or_the_file_is_refused(path, wrong):
    said, length, message = WRONG_HEADERS[wrong]
    _file_of(path, {"__metadata__": ABOUT, **said} if isinstance(said, dict) else said, bytes(length))
    with pytest.raises(ValueError, match=f"{DAMAGED} .*{message}"):
        read_tensors(path)


@pytest.mark.parametrize(
    "header", ["[" * 200_000 + "]" * 200_000, '{"a": 1, "a": 2}', '{"a": ' + "[" * 200_000], ids=["list", "twice", "open"]
)
def test_a_header_that_is_nested_or_says_a_thing_twice_is_refused(path, header):
    _file_of(path, {"__metadata__": {**ABOUT, "header": header}})
    with pytest.raises(ValueError, match="model.titans' has a damaged header"):
        read_tensors(path)


@pytest.mark.parametrize("more", [{"more": "1"}, {"version": "0"}, {"version": "-1"}])
def test_facts_of_the_file_that_we_do_not_write_are_refused(path, more):
    _file_of(path, {"__metadata__": {**ABOUT, **more}})
    with pytest.raises(ValueError, match="model.titans' has a damaged header"):
        read_tensors(path)


def test_a_sparse_file_costs_its_length_once_at_most(tmp_path):
    """Only what is read takes memory: a quarter of a gigabyte of holes behind a header that is not wanted takes none."""
    size = 2**28
    _file_of(tmp_path / "f", {"__metadata__": ABOUT, "x": _entry(0, size, (size,), "U8")})
    os.truncate(tmp_path / "f", (tmp_path / "f").stat().st_size + size)
    code = """
    import resource, sys
    from titans_ts.files.tensors import read_tensors
    def refuse(*_): raise ValueError("not wanted")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for check, most in ((refuse, 0.1), (None, 1.2)):
        try: read_tensors(sys.argv[1], check=check)
        except ValueError as error: pass
        else: raise AssertionError("read")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 2**28
        assert grown < most, grown
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "f")], check=True)


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
