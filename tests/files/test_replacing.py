"""A file is whole or not there; its mode, and links to it, stay; nothing is left beside it, whoever dies when."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from files.places import as_nobody, open_folder

from titans_ts.files import replacing as room
from titans_ts.files.replacing import WRITERS, clear_partial, replacing


def write(path, text="new"):
    with replacing(path) as temporary:
        temporary.write_text(text)


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# --- what stays -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o444, 0o755])
def test_a_file_keeps_its_mode_and_nobody_reads_it_while_it_is_written(tmp_path, mode):
    path = tmp_path / "f"
    path.write_text("old")
    path.chmod(mode)
    with replacing(path) as temporary:
        assert mode_of(temporary) == 0o600
        temporary.write_text("new")
    assert (path.read_text(), mode_of(path)) == ("new", mode)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_usual_mode(tmp_path, umask):
    before = os.umask(umask)
    try:
        write(tmp_path / "f")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "f") == 0o666 & ~umask


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_keeps_its_owner_or_a_group_that_is_lost_gains_nothing(monkeypatch):
    with open_folder() as folder:
        path = folder / "f"
        path.write_text("old")
        os.chown(path, 1234, 4321)
        write(path)
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)
        path.chmod(0o660)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fchown", lambda *_: (_ for _ in ()).throw(PermissionError(errno.EPERM, "no")))
            write(path)
        assert mode_of(path) == 0o600


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    real, link, second = tmp_path / "far" / "real", tmp_path / "link", tmp_path / "second"
    link.symlink_to(Path("far") / "real")
    second.symlink_to(link)
    write(second, "through a link that leads nowhere yet")
    assert real.read_text() == "through a link that leads nowhere yet"
    real.chmod(0o600)
    write(second, "again")
    assert (real.read_text(), mode_of(real)) == ("again", 0o600)
    assert link.is_symlink()
    assert second.is_symlink()
    assert sorted(os.listdir(tmp_path / "far")) == ["real"]


def test_hard_links_keep_what_they_had(tmp_path):
    (tmp_path / "f").write_text("old")
    os.link(tmp_path / "f", tmp_path / "g")
    write(tmp_path / "f")
    assert (tmp_path / "g").read_text() == "old"


def test_a_name_as_long_as_names_may_be(tmp_path):
    for name in ("x" * 255, "\u00fc" * 127):
        write(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name
    assert len(os.listdir(tmp_path)) == 2


# --- what fails -------------------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_named_with_the_remedy(tmp_path):
    with pytest.raises(IsADirectoryError, match=f"path='{tmp_path}' is a folder; name a file in it"):
        write(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; make it first"):
        write(tmp_path / "nowhere" / "f")
    (tmp_path / "f").write_text("old")
    with pytest.raises(NotADirectoryError, match="f/g could not be written: Not a directory"):
        write(tmp_path / "f" / "g")
    with open_folder() as folder, as_nobody():
        with pytest.raises(
            PermissionError, match=f"{folder}/f could not be written: .*; name a folder that you may write to"
        ):
            write(folder / "f")
        assert os.listdir(folder) == []


def test_a_full_disk_is_told_with_the_path_and_leaves_the_old_file(tmp_path):
    """A limit on the size of files fails as a full disk does: after some bytes."""
    path = tmp_path / "f"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OSError, match="f could not be written: File too large. What was there is as it was"):
            write(path, "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["f"])


def test_a_folder_that_vanishes_meanwhile_is_told(tmp_path):
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "f"

    def write_and_lose():
        with replacing(path) as temporary:
            temporary.write_text("new")
            temporary.unlink()
            path.parent.rmdir()

    with pytest.raises(FileNotFoundError, match="folder/f could not be written: No such file or directory"):
        write_and_lose()


def test_an_error_about_another_file_is_left_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such file or directory: '.*other'"), replacing(tmp_path / "f"):
        (tmp_path / "other").read_text()
    assert os.listdir(tmp_path) == []


# --- writers that live, and writers that died ------------------------------------------------------------------------


def test_what_a_dead_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "f"
    dead = tmp_path / ".f.0.partial"
    dead.write_text("half")
    (tmp_path / ".g.0.partial").write_text("of another file")
    with replacing(path) as mine:
        assert mine == dead
        assert mine.read_text() == ""
        with replacing(path) as other:
            assert other.name == ".f.1.partial"
            clear_partial(path)
            other.write_text("inner")
        assert path.read_text() == "inner"
        clear_partial(path)
        mine.write_text("outer")
    assert path.read_text() == "outer"
    for number in (0, 7, WRITERS - 1):
        (tmp_path / f".f.{number}.partial").write_text("half")
    clear_partial(path)
    assert sorted(os.listdir(tmp_path)) == [".g.0.partial", "f"]


def test_more_writers_than_there_are_numbers(tmp_path):
    path, inside = tmp_path / "f", threading.Barrier(WRITERS + 4)

    def work(text):
        with replacing(path) as temporary:
            inside.wait(timeout=30)
            temporary.write_text(text)

    threads = [threading.Thread(target=work, args=(f"{i}" * 100,)) for i in range(WRITERS + 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = path.read_text()
    assert text == text[: len(text) // 100] * 100
    assert os.listdir(tmp_path) == ["f"]


def test_threads_that_write_and_clear_at_once_lose_nothing(tmp_path):
    path, end, failures = tmp_path / "f", time.monotonic() + 0.7, []

    def work(letter):
        try:
            while time.monotonic() < end:
                write(path, letter * 1000)
                assert len(set(path.read_text())) == 1
                clear_partial(path)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert os.listdir(tmp_path) == ["f"]


def test_a_partial_file_that_is_a_link_or_a_pipe_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("old")
    (tmp_path / ".f.0.partial").symlink_to(tmp_path / "precious")
    os.mkfifo(tmp_path / ".f.1.partial")
    write(tmp_path / "f")
    assert (tmp_path / "precious").read_text() == "old"
    assert (tmp_path / "f").read_text() == "new"


def test_where_the_system_has_no_locks_nothing_is_cleared_and_all_else_works(tmp_path, monkeypatch):
    monkeypatch.setattr(room.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    (tmp_path / ".f.0.partial").write_text("whose?")
    write(tmp_path / "f")
    assert sorted(os.listdir(tmp_path)) == [".f.0.partial", "f"]
    monkeypatch.setattr(room, "fcntl", None)
    write(tmp_path / "f", "again")
    assert (tmp_path / "f").read_text() == "again"
    assert sorted(os.listdir(tmp_path)) == [".f.0.partial", "f"]


def test_forty_writers_killed_at_moments_of_chance_leave_nothing_after_the_next(tmp_path):
    code = """
    import os, random, signal, sys, time
    from pathlib import Path
    from titans_ts.files.replacing import replacing
    path, chance, left = Path(sys.argv[1]), random.Random(0), 0
    def save(letter):
        with replacing(path) as temporary:
            with temporary.open("w") as file:
                for _ in range(50):
                    file.write(letter * 4096)
    save("a")
    for _ in range(40):
        children = []
        for letter in "bc":
            pid = os.fork()
            if not pid:
                while True:
                    save(letter)
            children.append(pid)
        time.sleep(chance.uniform(0.001, 0.02))
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        left += len(os.listdir(path.parent)) > 1
        text = path.read_text()
        assert len(text) == 50 * 4096 and len(set(text)) == 1, "torn"
    assert left > 5, left
    save("d")
    assert os.listdir(path.parent) == [path.name], os.listdir(path.parent)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "f")], check=True)
