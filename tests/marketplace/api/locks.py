"""Locks that hold between threads and between processes: gunicorn serves the API with several.

The processes meet at a file for each lock, and the system lets go of it when its holder dies.
Where there is no `fcntl` (Windows) there is no gunicorn either, and threads are all there are.
"""

import threading
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None


class Lock:
    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._threads = threading.Lock()  # held by whoever may touch `_file`
        self._file = None

    def __enter__(self):
        self._threads.acquire()
        try:
            self._file = self._open()
            if fcntl:
                fcntl.flock(self._file, fcntl.LOCK_EX)
        except BaseException:
            self._release()
            raise

    def __exit__(self, *_error):
        self._release()

    @property
    def is_held(self) -> bool:
        """Whether somebody holds it this moment, here or in another process."""
        if not self._threads.acquire(blocking=False):
            return True
        try:
            with self._open() as file:
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            self._threads.release()

    def _open(self):
        return open(self._path, "a")

    def _release(self):
        if self._file:
            self._file.close()  # which unlocks it
            self._file = None
        self._threads.release()
