"""A small cache for pages of tokens, kept for a moment and forgotten after a write.

Each process that serves the API has pages of its own. A write in one of them makes the pages of
all old: they share a generation, which is the size of a file, for appending to a file is the one
step that processes can take at once and lose none.
"""

import os
import threading
import time
from pathlib import Path


class PageCache:
    def __init__(self, seconds: float, generations: Path, capacity: int = 128):
        self._seconds = seconds
        self._capacity = capacity
        self._lock = threading.Lock()
        self._pages: dict = {}
        self._hits = self._misses = 0
        self._generations = os.open(generations, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def get(self, key):
        """The page and the seconds it has left, or `(None, 0)`."""
        with self._lock:
            page, expires, generation = self._pages.get(key, (None, 0.0, None))
            left = expires - time.monotonic()
            if left > 0 and generation == self.generation:
                self._hits += 1
                return page, left
            self._misses += 1
            return None, 0

    @property
    def counts(self) -> dict:
        """How often `get` found a page in this process, and how often it did not."""
        with self._lock:
            return {"hits": self._hits, "misses": self._misses}

    @property
    def generation(self) -> int:
        """Taken before a page is made, and given to `put`: see there."""
        return os.fstat(self._generations).st_size

    def put(self, key, page, generation: int) -> None:
        """Keeps `page`, which is found for as long as the generation it was made in lasts."""
        with self._lock:
            if len(self._pages) >= self._capacity:
                self._pages.clear()
            self._pages[key] = (page, time.monotonic() + self._seconds, generation)

    def clear(self) -> None:
        os.write(self._generations, b".")
