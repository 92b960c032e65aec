from __future__ import annotations

import threading
import weakref

import pytest

from edgepose.once import Once


def asked_by_threads(once: Once[object], count: int = 8) -> list[object]:
    """The values or errors that several threads get when they ask at the same time."""
    got: list[object] = []
    ready = threading.Barrier(count)

    def ask() -> None:
        ready.wait()
        try:
            got.append(once())
        except Exception as error:
            got.append(error)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def test_all_threads_get_the_one_value() -> None:
    made: list[object] = []

    def compute() -> object:
        made.append(object())
        return made[-1]

    once = Once(compute)
    got = asked_by_threads(once)
    assert once.is_done
    assert len(made) == 1
    assert got == made * 8


def test_all_threads_get_the_one_error() -> None:
    tries: list[int] = []

    def compute() -> object:
        tries.append(1)
        raise KeyError("broken")

    once = Once(compute)
    got = asked_by_threads(once)
    assert len(tries) == 1
    assert len(got) == 8
    assert len(set(map(id, got))) == 1
    assert isinstance(got[0], KeyError)


def test_asking_often_does_not_lengthen_the_traceback() -> None:
    def compute() -> object:
        raise KeyError("broken")

    once, lengths = Once(compute), set()
    for _ in range(20):
        with pytest.raises(KeyError) as caught:
            once()
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1
    assert caught.traceback[-1].name == "compute"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemError("a result with an exception set")], ids=repr)
def test_an_interrupted_caller_leaves_nothing_behind(interruption: BaseException) -> None:
    answers: list[BaseException | str] = [interruption, "value"]

    def compute() -> str:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    once = Once(compute)
    with pytest.raises(type(interruption)):
        once()
    assert not once.is_done
    assert [once(), once()] == ["value", "value"]


def test_what_it_was_computed_from_is_let_go() -> None:
    class Large:
        pass

    large = Large()
    gone = weakref.ref(large)
    once = Once(lambda large=large: len([large]))  # type: ignore[misc]
    del large
    assert gone() is not None
    assert once() == 1
    assert gone() is None
