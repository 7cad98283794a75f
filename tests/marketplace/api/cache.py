"""A small cache for pages of tokens, kept for a moment and forgotten after a write."""

import threading
import time


class PageCache:
    def __init__(self, seconds: float, capacity: int = 128):
        self._seconds = seconds
        self._capacity = capacity
        self._lock = threading.Lock()
        self._pages: dict = {}
        self._generation = 0
        self._hits = self._misses = 0

    def get(self, key):
        """The page and the seconds it has left, or `(None, 0)`."""
        with self._lock:
            page, expires = self._pages.get(key, (None, 0.0))
            left = expires - time.monotonic()
            if left > 0:
                self._hits += 1
                return page, left
            self._misses += 1
            return None, 0

    @property
    def counts(self) -> dict:
        """How often `get` found a page, and how often it did not."""
        with self._lock:
            return {"hits": self._hits, "misses": self._misses}

    @property
    def generation(self) -> int:
        """Taken before a page is made, and given to `put`: see there."""
        return self._generation

    def put(self, key, page, generation: int) -> None:
        """Keeps `page`, unless a write has made it old since `generation` was read."""
        with self._lock:
            if generation != self._generation:
                return
            if len(self._pages) >= self._capacity:
                self._pages.clear()
            self._pages[key] = (page, time.monotonic() + self._seconds)

    def clear(self) -> None:
        with self._lock:
            self._generation += 1
            self._pages.clear()
