"""磁盘上的列表：放进去的原样取出来；内存不随它增长；几个进程同时读也不乱。"""

import multiprocessing
import pickle
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from finetuning.errors import UserError
from finetuning.store import DiskList

ITEMS = [bytes(random.Random(number).randbytes(number % 97)) for number in range(500)]


@pytest.fixture
def stored():
    items = DiskList()
    for item in ITEMS:
        items.append(item)
    return items


def test_what_went_in_comes_out(stored):
    assert len(stored) == len(ITEMS)
    assert list(stored) == ITEMS
    order = random.Random(0).choices(range(-len(ITEMS), len(ITEMS)), k=300)
    assert [stored[index] for index in order] == [ITEMS[index] for index in order]
    for index in (len(ITEMS), -len(ITEMS) - 1):
        with pytest.raises(IndexError):
            stored[index]


def test_adding_after_reading(stored):
    assert stored[3] == ITEMS[3]
    stored.append(b"more")
    assert (stored[-1], stored[-2], stored[0]) == (b"more", ITEMS[-1], ITEMS[0])


def test_without_pread(stored, monkeypatch):
    """Windows 没有 pread。"""
    monkeypatch.delattr("os.pread", raising=False)
    assert [stored[index] for index in (499, 0, 250)] == [ITEMS[index] for index in (499, 0, 250)]
    stored.append(b"more")
    assert list(stored) == [*ITEMS, b"more"]


def test_two_threads_read_at_the_same_time_without_pread(stored, monkeypatch):
    """检验的各批由两个线程来算；Windows 上它们共用一个读写位置。"""
    monkeypatch.delattr("os.pread", raising=False)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            read = list(pool.map(lambda _: list(stored) == ITEMS, range(10)))
    finally:
        sys.setswitchinterval(switch)
    assert all(read)


def test_pickled(stored):
    copy = pickle.loads(pickle.dumps(stored))
    copy.append(b"only here")
    assert list(copy) == [*ITEMS, b"only here"]
    assert list(stored) == ITEMS


def read_all(times: int) -> bool:
    return all(list(SHARED) == ITEMS for _ in range(times))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="没有 fork")
def test_forked_processes_read_at_the_same_time(stored):
    global SHARED
    SHARED = stored
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert all(pool.map(read_all, [20] * 8))


def test_a_full_disk_is_one_sentence(stored, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored, "_file", type("Full", (), {"seek": full})())
    with pytest.raises(UserError, match=r"写不进数据（No space left on device）；请腾出空间，或设环境变量 TMPDIR"):
        stored.append(b"x")


def test_the_file_is_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    items = DiskList()
    items.append(b"x" * 1000)
    del items
    assert list(tmp_path.iterdir()) == []
