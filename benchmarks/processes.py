"""Measurements in a process of their own, so that none sees another's memory."""

import multiprocessing

SPAWN = multiprocessing.get_context("spawn")


def in_process(function, *arguments):
    """Return what `function(*arguments, queue)` puts in the queue, from a process of its own."""
    queue = SPAWN.Queue()
    process = SPAWN.Process(target=function, args=(*arguments, queue))
    process.start()
    result = queue.get()
    process.join()
    return result
