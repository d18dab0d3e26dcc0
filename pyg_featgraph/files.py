r"""Files that appear as a whole or not at all, and tell if they are damaged.

What is read back later carries the SHA-256 of all its other bytes, at a place
where its format keeps text: metadata of safetensors and Parquet, an entry of
JSON, the comment of a zip archive. It hence stays a file of its format for any
other tool, and no parser sees a byte that was not written:

.. code-block:: python

    with sealing(path) as temporary:
        write_table(table.replace_schema_metadata({'seal': SEAL}), temporary)
    with reading(path, 'table'):
        table = read_table(path)
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import re
import secrets
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pyg_featgraph.errors import DataError

#: What a writer puts into a file where its checksum belongs.
SEAL = 'pyg_featgraph.sha256=' + 64 * '0'

_SEAL = re.compile(rb'pyg_featgraph\.sha256=([0-9a-f]{64})')
_TEMPORARY = re.compile(r'\.featgraph-(.+)-(\d+)-[0-9a-f]{16}\.tmp')


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    r"""Gives a temporary path next to :obj:`path` to write to. In the end it
    is on the disk and takes the place of :obj:`path`; if the writing fails, it
    is removed. What killed processes have left in the folder is removed too.

    Args:
        path (str): The file.

    Raises:
        OSError: If the file cannot be written, with its name.
    """
    path = Path(path)
    temporary = _beside(path)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise _failed(path, error) from error
    finally:
        _remove(temporary)


@contextmanager
def replacing_folder(path: str | os.PathLike[str], mark: str) -> Iterator[Path]:
    r"""Gives a temporary folder next to :obj:`path` to write files to. In the
    end it is on the disk and takes the place of :obj:`path`; if the writing
    fails, it is removed.

    Args:
        path (str): The folder.
        mark (str): The name of a file that each folder of this sort has;
            others are not replaced, unless they are empty.

    Raises:
        FileExistsError: If there is something else at this place.
        OSError: If the folder cannot be written, with its name.
    """
    path = Path(path)
    if path.exists() and not (
        path.is_dir() and ((path / mark).is_file() or not [*path.iterdir()])
    ):
        raise FileExistsError(
            errno.EEXIST,
            f"There is something else here, without '{mark}'; choose another "
            'folder or remove it',
            str(path),
        )
    temporary, before = _beside(path), _beside(path)
    try:
        temporary.mkdir()
        yield temporary
        for part in (*temporary.rglob('*'), temporary):
            _sync(part)
        if path.exists():
            os.rename(path, before)
        os.rename(temporary, path)
        _sync(path.parent)
    except OSError as error:
        if before.exists() and not path.exists():
            os.rename(before, path)
        raise _failed(path, error) from error
    finally:
        _remove(temporary)
        _remove(before)


def _beside(path: Path) -> Path:
    r"""A temporary name, after those of killed processes are gone."""
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, 'There is no such folder; make it first', str(folder)
        )
    _remove_leftovers(folder)
    # Not made of the name, which may be as long as names can be:
    owner = f'{socket.gethostname()}-{os.getpid()}'
    return folder / f'.featgraph-{owner}-{secrets.token_hex(8)}.tmp'


def _failed(path: Path, error: OSError) -> OSError:
    return OSError(
        error.errno or errno.EIO,
        f'Writing failed, what was there before stays ({error})',
        str(path),
    )


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def sealing(path: str | os.PathLike[str]) -> Iterator[Path]:
    r"""Like :func:`replacing`, for a file in which :obj:`SEAL` occurs once;
    the checksum takes its place. A zip archive, as :func:`torch.save` writes,
    may lack it and gets it as its comment.

    Args:
        path (str): The file.
    """
    with replacing(path) as temporary:
        yield temporary
        with open(temporary, 'rb') as file:
            is_archive = file.read(4) == b'PK\x03\x04'
        if is_archive:
            with zipfile.ZipFile(temporary, 'a') as archive:
                archive.comment = SEAL.encode()
        with open(temporary, 'r+b') as file:
            marks, digest = _inspect(file)
            if len(marks) != 1:
                raise ValueError(
                    f"'{path}' must hold the text {SEAL!r} once (it does "
                    f'{len(marks)} times)'
                )
            file.seek(marks[0][0])
            file.write(digest)


@contextmanager
def reading(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    r"""Verifies the checksum of a file before it is read. What then goes wrong
    inside lies in its content, which others may have sealed, and becomes a
    :class:`~pyg_featgraph.errors.DataError` that names the file.

    Args:
        path (str): The file.
        what (str): What it should be, *e.g.*, :obj:`"encoder"`.

    Raises:
        DataError: If the file is damaged or holds something else.
    """
    with open(path, 'rb') as file:
        marks, digest = _inspect(file)
    if [found for _, found in marks] != [digest]:
        raise DataError(
            f"'{path}' is damaged, or no {what} written by this release: "
            + ('its checksum is wrong' if marks else 'it has no checksum')
            + '. Write it again, or take another copy of it'
        )
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, DataError) else repr(error)
        raise DataError(f"'{path}' holds no valid {what}: {reason}") from error


def write_json(
    path: str | os.PathLike[str],
    values: Mapping[str, Any],
    default: Callable[[Any], Any] | None = None,
) -> None:
    r"""Writes values as JSON with a checksum.

    Args:
        path (str): The file.
        values (dict): The values.
        default (callable, optional): As of :func:`json.dumps`.
            (default: :obj:`None`)
    """
    text = json.dumps({'checksum': SEAL, **values}, indent=1, default=default)
    with sealing(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def read_json(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    r"""The values that :func:`write_json` has written.

    Args:
        path (str): The file.
        what (str): What it should be, *e.g.*, :obj:`"search"`.

    Raises:
        DataError: As by :func:`reading`.
    """
    with reading(path, what):
        values: dict[str, Any] = json.loads(
            Path(path).read_text(encoding='utf-8')
        )
        del values['checksum']
        return values


def _inspect(file: BinaryIO) -> tuple[list[tuple[int, bytes]], bytes]:
    r"""Where which checksums stand, and what a single one should be."""
    if not os.fstat(file.fileno()).st_size:
        return [], b''
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        marks = [(mark.start(1), mark[1]) for mark in _SEAL.finditer(data)]
        digest = hashlib.sha256()
        with memoryview(data) as view:
            end = 0
            for start, found in marks:
                digest.update(view[end:start])
                end = start + len(found)
            digest.update(view[end:])
    return marks, digest.hexdigest().encode()


def _sync(path: Path) -> None:
    r"""Waits until a file or folder is on the disk."""
    if path.is_dir() and os.name == 'nt':
        return  # There, folders cannot be opened.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob('.featgraph-*.tmp'):
        match = _TEMPORARY.fullmatch(path.name)
        if match and match[1] == socket.gethostname():
            with suppress(OSError):
                if not _is_running(int(match[2])):
                    _remove(path)


def _is_running(process: int) -> bool:
    if os.name == 'nt':
        return True  # There, the question would end the process.
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
