"""Writing files: whole or not at all, links and permissions kept."""

import os
import stat

import pytest

from pyomo_relu.errors import InputTypeError, OutputError
from pyomo_relu.files import check_writable, write_atomically


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def write(path, content=b"new"):
    write_atomically(path, lambda stream: stream.write(content))


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "there" / "file", tmp_path / "link"
    target.parent.mkdir()
    target.write_bytes(b"old")
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert os.listdir(target.parent) == ["file"]


def test_a_link_to_nothing_makes_the_file(tmp_path):
    (tmp_path / "link").symlink_to("file")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_links_in_a_loop_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="loop"):
        write(tmp_path / "a")
    assert (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("permissions", [0o600, 0o664, 0o755])
def test_an_old_file_keeps_its_permissions(tmp_path, permissions):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(permissions)
    write(path)
    assert path.read_bytes() == b"new"
    assert mode(path) == permissions


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    write(tmp_path / "file")
    assert mode(tmp_path / "file") == mode(tmp_path / "other")


def test_a_read_only_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o444)
    # Root may write anything: judge by the permissions, as for others.
    monkeypatch.setattr(
        "os.access", lambda name, _: bool(os.stat(name).st_mode & stat.S_IWUSR)
    )
    with pytest.raises(OutputError, match="read-only"):
        write(path)
    assert path.read_bytes() == b"old"
    assert mode(path) == 0o444


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="regular"):
        write(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_name_of_the_greatest_length_is_written(tmp_path):
    write(tmp_path / (255 * "n"))
    assert [len(name) for name in os.listdir(tmp_path)] == [255]


@pytest.mark.parametrize("name", ["a\0b", 300 * "n", "file/new"])
def test_impossible_names_are_refused_early(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write"):
        check_writable(tmp_path / name)


def test_what_is_no_path_is_refused():
    with pytest.raises(InputTypeError, match="path"):
        check_writable(3)
