"""Threads: results are those of one thread, on either host; what cannot be is told."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mmppl import models
from mmppl.data import load
from mmppl.errors import OptionError, ThreadError
from mmppl.inference import fit, generate, log_likelihood
from mmppl.inference.threads import OneAtATime

LINEAR = load("linear_gaussian", dims={"a": 3, "b": 2}, num_train=64, num_test=5)
SETTINGS = {"epochs": 1, "batch_size": 32, "progress": False}
TURNS = 20


@pytest.fixture
def many_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def fitted(ppl):
    program = models.mvae(LINEAR.modalities, ppl=ppl, latent_dim=2, hidden=4)
    return fit(program, LINEAR.train, **SETTINGS)


def test_two_threads_of_twenty_turns_are_as_one(fitted, many_switches):
    def turn(number):
        """Draws and estimates in turns, and a fit half-way."""
        if number % TURNS == 9:
            return fit(fitted.program, LINEAR.train, seed=number, **SETTINGS).weights
        if number % 2:
            return {"log": log_likelihood(fitted, LINEAR.test, num=30, seed=number).value}
        return generate(fitted, LINEAR.test.only("a"), 3, seed=number)

    serial = [turn(number) for number in range(2 * TURNS)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(turn, range(2 * TURNS)))
    for one, other in zip(serial, found, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])


def test_a_program_run_by_hand_beside_others_is_told(ppl, fitted):
    """The thread that is disturbed is told, as is the one that disturbs: their handlers are in one stack."""
    alone = sys.modules[f"mmppl.{ppl.host.NAME}.threads"].alone
    within, goes_on, told, model = threading.Event(), threading.Event(), [], fitted.model

    @alone
    def slow():
        within.set()
        goes_on.wait(30)

    def first():
        try:
            slow()
        except ThreadError as error:
            told.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    within.wait(30)
    with pytest.raises(ThreadError, match="handlers are one stack for all threads.*Run such programs in one thread"):
        model(LINEAR.test)
    goes_on.set()
    thread.join()
    assert len(told) == 1
    slow()  # and then all is as before


def test_handlers_left_by_others_are_noticed():
    stack = []
    alone = OneAtATime("a host", stack)
    with pytest.raises(ThreadError, match="Another thread ran a program of a host"):
        alone(stack.append)("a handler of another thread")
    with pytest.raises(OptionError, match="outside handlers of a host; got one within str.*another thread's"):
        alone(len)(stack)
    assert alone.in_programs(lambda: alone.within_handlers(len)(stack))() == 0
    assert stack == ["a handler of another thread"]


def test_an_error_of_a_function_goes_through():
    alone = OneAtATime("a host", [])
    with pytest.raises(ZeroDivisionError):
        alone(lambda: 1 / 0)()
    assert alone.depth == 0
