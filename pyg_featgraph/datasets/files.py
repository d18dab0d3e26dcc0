r"""Files of data sets: finding, opening and fetching them."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from pyg_featgraph.errors import DataError

#: The suffixes of compressed files that can be read.
SUFFIXES = ('', '.gz', '.bz2', '.zst', '.lz4', '.zip')
#: What reading a cut or damaged file may raise; not all are an OSError.
READ_ERRORS = (OSError, EOFError, zlib.error, zipfile.BadZipFile)


def find_file(folder: Path, name: str) -> Path | None:
    r"""The file of that name in a folder, plain or compressed."""
    paths = (folder / f'{name}{suffix}' for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def open_text(path: Path, member: str = '') -> Any:
    r"""Opens a file for reading; the suffix tells the compression.

    Args:
        path (pathlib.Path): The file.
        member (str, optional): The name of the file to read within a zip
            archive of several, or of archives. (default: :obj:`""`)

    Raises:
        DataError: If there is no such file, or not one such member.
    """
    if not path.is_file():
        raise DataError(f"There is no file '{path}'")
    if path.suffix == '.zip':
        found = _open_member(path, member)
        if found is None:
            raise DataError(
                f"'{path}' must hold {member or 'one file'}; unpack it and "
                'pass the file'
            )
        return found
    return io.BufferedReader(pa.input_stream(os.fspath(path), 'detect'))


def _open_member(
    file: Path | IO[bytes], member: str, nested: bool = False
) -> IO[bytes] | None:
    archive = zipfile.ZipFile(file)
    names = [
        name
        for name in archive.namelist()
        # macOS adds a shadow of every file:
        if not name.endswith('/') and not name.startswith('__MACOSX/')
    ]
    for name in names:
        if name.split('/')[-1] == member:
            return archive.open(name)
        if name.endswith('.zip'):
            inner = io.BytesIO(archive.read(name))
            found = _open_member(inner, member, nested=True)
            if found is not None:
                return found
    # A user may have packed the file under any name:
    return archive.open(names[0]) if len(names) == 1 and not nested else None


def first_line(path: Path, member: str = '') -> str:
    r"""The first line of a possibly compressed file, without its end.

    Raises:
        DataError: If the file is missing, empty or damaged.
    """
    try:
        with open_text(path, member) as file:
            line = file.readline()
    except READ_ERRORS as error:
        raise DataError(f"'{path}' cannot be read: {error}") from error
    if not line:
        raise DataError(f"'{path}' is empty")
    text: str = line.decode('utf-8-sig', 'replace')
    return text.rstrip('\r\n')


def fetch(
    root: Path, urls: Mapping[str, str], sha256: Mapping[str, str]
) -> None:
    r"""Fetches those files that are not in a folder.

    A file is put there only when it is complete.

    Args:
        root (pathlib.Path): The folder.
        urls (dict): The address by file name; behind a "#" stands the member
            of an archive.
        sha256 (dict): The checksum by address, for those that are known.

    Raises:
        DataError: If something cannot be fetched or is not what it should be.
    """
    root.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, list[tuple[str, str]]] = {}
    for name, address in urls.items():
        if find_file(root, name) is None:
            url, _, member = address.partition('#')
            wanted.setdefault(url, []).append((name, member))
    # Within the folder, as files can be moved only within a file system:
    with tempfile.TemporaryDirectory(prefix='.fetch-', dir=root) as stage:
        for url, files in wanted.items():
            fetched = Path(stage) / 'fetched'
            try:
                _retrieve(url, fetched, sha256.get(url))
                for name, member in files:
                    if member:
                        _extract(fetched, member, Path(stage) / name)
                    else:
                        os.replace(fetched, Path(stage) / name)
            except (*READ_ERRORS, KeyError) as error:
                raise DataError(
                    f"'{url}' cannot be fetched ({error}); get the file by "
                    f"other means and put it into '{root}'"
                ) from error
        for files in wanted.values():
            for name, _ in files:
                os.replace(Path(stage) / name, root / name)


def _retrieve(url: str, path: Path, sha256: str | None) -> None:
    with (
        urllib.request.urlopen(url, timeout=60) as source,
        open(path, 'wb') as target,
    ):
        shutil.copyfileobj(source, target)
    if sha256 is None:
        return
    with open(path, 'rb') as file:
        found = hashlib.file_digest(file, 'sha256').hexdigest()
    if found != sha256:
        raise OSError(
            f'its SHA-256 is {found} instead of {sha256}, so the transfer '
            'failed or the file was changed'
        )


def _extract(archive: Path, member: str, path: Path) -> None:
    with (
        zipfile.ZipFile(archive) as opened,
        opened.open(member) as source,
        open(path, 'wb') as target,
    ):
        shutil.copyfileobj(source, target)
