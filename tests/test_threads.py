"""几个线程各做各的：每个只用自己那一份核，次序不变，做完恢复原样。"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from finetuning import threads


@pytest.fixture(autouse=True)
def four_cores(set_cores):
    set_cores(4)


def test_each_thread_has_its_share_of_the_cores():
    def work(number):
        return number, torch.get_num_threads()

    assert list(threads.each(work, range(5), parallel=True)) == [(number, 2) for number in range(5)]
    assert list(threads.each(work, range(5), parallel=False)) == [(number, 4) for number in range(5)]


def test_afterwards_old_and_new_threads_have_all_cores_again():
    list(threads.each(abs, range(5), parallel=True))
    with ThreadPoolExecutor(1) as pool:
        assert (torch.get_num_threads(), pool.submit(torch.get_num_threads).result()) == (4, 4)


def test_an_error_arrives_and_the_rest_is_not_done():
    done = []

    def work(number):
        if number == 0:
            raise ValueError("坏了")
        done.append(number)

    with pytest.raises(ValueError, match="坏了"):
        list(threads.each(work, range(1000), parallel=True))
    assert len(done) < 1000
    assert torch.get_num_threads() == 4


CHOSEN = {
    "nothing": ({}, ("passive", "1000")),
    "policy": ({"OMP_WAIT_POLICY": "active"}, ("active", "None")),
    "count": ({"GOMP_SPINCOUNT": "5"}, ("passive", "5")),
}


@pytest.mark.parametrize(("chosen", "expected"), CHOSEN.values(), ids=CHOSEN)
def test_waiting_threads_sleep_soon_unless_the_user_chose_otherwise(chosen, expected):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in names} | chosen
    code = f"import sys, os, finetuning; print(*map(os.environ.get, {names}), 'torch' in sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", code], env=environment, encoding="utf-8")
    assert output.split() == [*expected, "False"]
