"""Batches read by a thread while those before them are used."""

import threading
from collections.abc import Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

__all__ = ["read_ahead"]

T = TypeVar("T")
# Seconds after which a thread looks whether it is still wanted.
PATIENCE = 0.1


def read_ahead(items: Iterator[T], ahead: int = 2) -> Iterator[T]:
    """The items in their order, ``ahead`` of them made by a thread before they are asked for.

    What the thread raises is raised here, in the place of the item. The thread ends with the iterator.

    Arguments:
        items: Makes the items; used in the thread alone.
        ahead: Items that wait at most.

    Example:
        >>> list(read_ahead(iter(range(4))))
        [0, 1, 2, 3]
    """
    waiting: Queue = Queue(ahead)
    over = threading.Event()

    def put(kind: str, item: object) -> bool:
        while not over.is_set():
            try:
                waiting.put((kind, item), timeout=PATIENCE)
                return True
            except Full:
                continue
        return False

    def read() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # the thread that asks is to be told, whatever it is
            put("error", error)

    thread = threading.Thread(target=read, name="mmppl-reading", daemon=True)
    thread.start()
    try:
        while True:
            try:
                kind, item = waiting.get(timeout=PATIENCE)
            except Empty:
                continue
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
    finally:
        over.set()
        thread.join()
