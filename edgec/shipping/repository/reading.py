"""A folder as the server of a repository, for TUF's own client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from edgec.shipping.repository.layout import METADATA, PAYLOADS

_CHUNK = 1 << 20


class FolderFetcher(FetcherInterface):
    """Answers what a web server that serves the folder would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            stream = (self._folder / url).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise DownloadHTTPError(f"{url} is not there", 404) from None
        return _chunks(stream)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def reference_client(folder: Path, root: bytes, cache: Path) -> Updater:
    """TUF's own client of the repository in a folder, which trusts `root` and keeps its metadata in `cache`."""
    return Updater(
        str(cache), f"{METADATA}/", str(cache), f"{PAYLOADS}/", fetcher=FolderFetcher(folder), bootstrap=root
    )
