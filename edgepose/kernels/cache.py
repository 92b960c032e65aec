"""Numba's cache of machine code, made safe: what is damaged is compiled anew, and nothing is read but what was written whole.

Numba numbers the files of a kernel's machine code, says in an index which is for what, and writes the index first. Between the
two writes, or after a power cut, the index may name a file that is missing, empty, or that of an older source; and an empty
file is an error at every start from then on. Here a file's name is the digest of its content, and it is written first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, UserWideCacheLocator
from numba.core.runtime.nrt import rtsys

from edgepose.caches import warn_uncached

_log = logging.getLogger(__name__)


class _Place(CompileResultCacheImpl):
    """The places where Numba keeps a kernel: its own; but for a user without a home, none in a folder called "~"."""

    if os.path.expanduser("~").startswith("~"):
        _locator_classes = [each for each in CompileResultCacheImpl._locator_classes if each is not UserWideCacheLocator]


class _Files(IndexDataCacheFile):
    """The files of a kernel: an index, and the machine code for each signature and processor."""

    def load(self, key: object) -> Any:
        """The machine code for `key`; None if there is none, or it is not whole."""
        name = self._load_index().get(key)
        if name is None:
            return None
        try:
            content = Path(self._data_path(name)).read_bytes()
        except OSError:
            return None
        if name != self._name(content):
            _log.info("%s is damaged; compiled anew", self._data_path(name))
            return None
        return pickle.loads(content)

    def save(self, key: object, data: object) -> None:
        """Write the machine code for `key`, then the index; files that the index does not name any more are deleted."""
        content = self._dump(data)
        name = self._name(content)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(content)
        index = {**self._load_index(), key: name}
        self._save_index(index)
        with suppress(OSError):
            stem = self._index_name.removesuffix("nbi")
            for path in Path(self._cache_path).iterdir():
                if path.name.startswith(stem) and path.suffix == ".nbc" and path.name not in index.values():
                    path.unlink()

    def _load_index(self) -> dict[Any, str]:
        try:
            index: dict[Any, str] = super()._load_index()
        except Exception as error:  # Of any kind: pickle says of damaged files what it likes.
            _log.info("%s is damaged (%r); compiled anew", self._index_path, error)
            return {}
        return index

    def _name(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()[:32]
        return f"{self._index_name.removesuffix('nbi')}{digest}.nbc"


class KernelCache(FunctionCache):
    """The cache of one kernel. Whatever goes wrong with it costs the time to compile, and nothing else.

    Raises:
        RuntimeError: There is no folder for it.
    """

    _impl_class = _Place

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())

    def holds(self, signature: Any, target: Any) -> bool:
        """Whether the index names machine code for a signature on this processor."""
        return self._index_key(signature, target.codegen()) in self._cache_file._load_index()

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The kernel for a signature; None if it has to be compiled."""
        try:
            # Numba's own way here is `target.refresh()`, which loads all that compiling takes, for 0.3 s. A kernel that was
            # compiled needs the run time alone.
            rtsys.initialize(target)
            return self._load_overload(signature, target)
        except Exception as error:  # Of any kind, as in `_load_index`.
            _log.info("%s cannot be loaded (%r); compiled anew", self._name, error)
            return None

    def save_overload(self, signature: Any, kernel: Any) -> None:
        """Keep a kernel that was compiled."""
        try:
            super().save_overload(signature, kernel)
        except OSError as error:
            warn_uncached("compiled kernels", error.strerror or error)
