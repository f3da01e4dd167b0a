"""Filters that a block sets end with it, whatever other threads do meanwhile."""

import threading
import warnings

from titans_ts.blocks.warned import own_filters


def test_filters_are_put_back_whichever_of_two_threads_ends_first():
    before, inside, told = list(warnings.filters), threading.Event(), []

    def second():
        inside.wait()
        with own_filters():
            told.append(list(warnings.filters) == before)
            warnings.simplefilter("error")

    thread = threading.Thread(target=second)
    thread.start()
    with own_filters():
        warnings.simplefilter("ignore")
        inside.set()
        thread.join(timeout=0.1)  # it waits outside
        assert told == []
    thread.join()
    assert told == [True]
    assert list(warnings.filters) == before
