"""Places that are named by a URL, ``s3://bucket/folder``: fsspec's, with errors that say what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dp2bench.core.errors import Dp2benchError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SCHEMES = {
    "s3",
    "s3a",
    "gs",
    "gcs",
    "file",
    "local",
    "memory",
    "abfs",
    "abfss",
    "az",
    "hdfs",
    "sftp",
    "http",
    "https",
}
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""The extra that brings the package of a kind of URL."""


def is_url(place: object) -> bool:
    """Whether this is a URL rather than a path of this machine."""
    return _URL.match(str(place)) is not None


def remote_url(path: Path) -> str | None:
    """The URL that a command line was given where it takes paths, which make one slash of two; None where it is a path."""
    scheme, colon, rest = str(path).partition(":/")
    if not colon or scheme not in _SCHEMES:
        return None
    return f"{scheme}://{'/' if scheme in {'file', 'local', 'memory'} else ''}{rest.lstrip('/')}"


def local_path(url: str) -> Path | None:
    """The path that a URL of this machine's own files names; None for any other."""
    for start in ("file://", "local://"):
        if url.startswith(start):
            return Path(url.removeprefix(start))
    return None


def without_password(url: str) -> str:
    """A URL to be shown or noted: of ``sftp://user:password@host/folder`` the password is left out."""
    return re.sub(r"(://[^/:@]*):[^/]*@", r"\1@", url)


class Remote:
    """A folder of an object store. Names are relative to it, with slashes.

    Args:
        url: of the folder; what comes after a scheme's name is as fsspec reads it.

    Attributes:
        url: of the folder, without a password.

    Raises:
        Dp2benchError: the kind of URL is unknown, or its package is not installed.

    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = without_password(url).rstrip("/")
        scheme = url.partition("://")[0]
        try:
            self.fs, self.root = fsspec.core.url_to_fs(url.rstrip("/"))
        except ImportError as error:
            extra = _EXTRAS.get(scheme)
            remedy = f'pip install "dp2bench[{extra}]".' if extra else f"Install what it needs: {error}"
            raise Dp2benchError(f"{self.url} needs a package that is not installed.", remedy) from error
        except ValueError as error:
            raise Dp2benchError(
                f"{self.url}: there is no kind of place {scheme}://.",
                "Use s3://, gs://, file://, or another protocol of fsspec.",
            ) from error

    def path(self, name: str) -> str:
        """A name as the file system knows it."""
        return f"{self.root}/{name}" if name else str(self.root)

    def files(self, below: str = "") -> dict[str, dict[str, Any]]:
        """What fsspec says of every file below, by name, sorted; none where there is no such folder."""
        with self.talking():
            self.fs.invalidate_cache()  # others write there too
            try:
                found = self.fs.find(self.path(below), detail=True)
            except FileNotFoundError:
                self._check_bucket()
                return {}
        start = len(str(self.root)) + 1
        return {path[start:]: found[path] for path in sorted(found)}

    def _check_bucket(self) -> None:
        """Raises FileNotFoundError where the bucket itself is missing, and not the folder alone."""
        bucket = str(self.root).strip("/").partition("/")[0]
        if bucket and self.url.partition("://")[0] in _EXTRAS:
            self.fs.ls(bucket)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        with self.talking():
            self.fs.invalidate_cache()
            return bool(self.fs.exists(self.path(name)))

    def read(self, name: str) -> bytes:
        """A whole file. Raises FileNotFoundError."""
        with self.talking(missing=True):
            return bytes(self.fs.cat_file(self.path(name)))

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file: readers see the old one or the new one."""
        with self.talking():
            self._make_folder(name)
            self.fs.pipe_file(self.path(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless there is one; whether it was we who wrote it. Of several machines at once one does."""
        with self.talking():
            self._make_folder(name)
            try:
                self.fs.pipe_file(self.path(name), data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if "PreconditionFailed" in repr(error) or "At least one of the pre-conditions" in str(error):
                    return False
                raise
        return True

    def upload(self, source: str, name: str) -> None:
        """Copy a file of this machine there."""
        with self.talking():
            self._make_folder(name)
            self.fs.put_file(source, self.path(name))

    def download(self, name: str, target: str) -> None:
        """Copy a file to this machine. Raises FileNotFoundError."""
        with self.talking(missing=True):
            self.fs.get_file(self.path(name), target)

    def download_all(self, names: Sequence[str], folder: Path) -> None:
        """Copy files to a folder of this machine, several at once where the store allows."""
        for parent in {(folder / name).parent for name in names}:
            parent.mkdir(parents=True, exist_ok=True)
        with self.talking():
            self.fs.get([self.path(name) for name in names], [str(folder / name) for name in names])

    def upload_all(self, files: Mapping[str, Path]) -> None:
        """Copy files of this machine there, by name."""
        with self.talking():
            for name in {name.rpartition("/")[0]: name for name in files}.values():
                self._make_folder(name)
            if files:
                self.fs.put([str(path) for path in files.values()], [self.path(name) for name in files])

    def delete(self, name: str) -> None:
        """Delete a file; nothing where there is none."""
        with self.talking(), contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))

    def delete_folder(self, name: str) -> None:
        """Delete an empty folder, where the store has such."""
        if self.url.partition("://")[0] not in _EXTRAS:
            with contextlib.suppress(OSError):
                self.fs.rmdir(self.path(name))

    def _make_folder(self, name: str) -> None:
        if (
            self.url.partition("://")[0] not in _EXTRAS
        ):  # object stores have no folders; to make one is to make a bucket
            self.fs.makedirs(self.path(name).rpartition("/")[0], exist_ok=True)

    @contextlib.contextmanager
    def talking(self, *, missing: bool = False) -> Iterator[None]:
        """Turns what goes wrong into a Dp2benchError.

        Args:
            missing: let FileNotFoundError of a file through.

        """
        try:
            yield
        except Dp2benchError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            told = self._told(error, said, missing=missing)
            if told is None:
                raise
            raise told from error

    def _told(self, error: Exception, said: str, *, missing: bool) -> Dp2benchError | None:
        if "bucket does not exist" in said or "NoSuchBucket" in said:
            return Dp2benchError(
                f"{self.url}: there is no such bucket.", "Check its name and endpoint, or make the bucket."
            )
        if isinstance(error, FileNotFoundError):
            if missing:
                return None
            return Dp2benchError(f"{self.url}: there is no such place ({error}).", "Check the URL.")
        if "Credential" in said or "InvalidAccessKey" in said or "SignatureDoesNotMatch" in said:
            return Dp2benchError(
                f"{self.url}: there are no credentials that it accepts ({said}).",
                "Give them as the cloud's own tools read them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the role of the machine; "
                "GOOGLE_APPLICATION_CREDENTIALS.",
            )
        if isinstance(error, PermissionError):
            return Dp2benchError(
                f"{self.url}: access is denied ({error}).",
                "Give these credentials the right to list, read and write there.",
            )
        if isinstance(error, OSError) or "Endpoint" in said or "Connect" in said:
            return Dp2benchError(
                f"{self.url} does not answer as it should ({said}).",
                "Check the network and the endpoint (AWS_ENDPOINT_URL), then run the same command again: it goes on where it stopped.",
            )
        return None
