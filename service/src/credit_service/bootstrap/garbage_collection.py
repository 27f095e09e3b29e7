"""Python's garbage collection, made rare: it costs time and finds next to nothing here."""

import gc

NEW_OBJECTS_PER_COLLECTION = 300_000


def collect_seldom() -> None:
    """Makes Python look for reference cycles far less often.

    Reference counts free the objects of a batch. The collector finds next to nothing, but visits every waiting message
    again and again: that took a third of the time of a message.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS_PER_COLLECTION)
