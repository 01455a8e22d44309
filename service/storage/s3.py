"""``s3://bucket/prefix`` - an object store. Address and credentials are those boto3 finds (AWS_ENDPOINT_URL and so on).

Bytes are spooled to the local disk while they arrive, because their name is known only at the end; the store's answer
to the upload, with the checksum it verified, is what makes them durable.
"""

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from service import clock
from service.domain.errors import ConfigurationError, OutOfResources
from service.storage.spool import Listed, Spool, Stored, require_room, sweep_folder

_IN_MEMORY = 32 << 20  # bytes; larger objects are read through a temporary file
_MISSING = {"404", "NoSuchKey", "NotFound"}


class S3Storage:
    """A bucket and a prefix in it."""

    def __init__(self, bucket: str, prefix: str, reserve_bytes: int) -> None:
        """Connect lazily; the spool lies in this machine's folder for temporary files."""
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.reserve_bytes = reserve_bytes
        self.spool = Path(tempfile.gettempdir()) / "dentgate-spool"
        self.spool.mkdir(mode=0o700, exist_ok=True)
        retries = {"max_attempts": 3, "mode": "standard"}
        self.client: Any = boto3.client("s3", config=Config(connect_timeout=5, read_timeout=60, retries=retries))

    @classmethod
    def from_url(cls, url: str, reserve_mb: int) -> Self:
        """``s3://bucket/prefix``."""
        parts = urlsplit(url)
        if not parts.netloc:
            message = f"storage.url {url!r} names no bucket; write s3://bucket/prefix"
            raise ConfigurationError(message)
        return cls(parts.netloc, parts.path.strip("/"), reserve_mb * 1024 * 1024)

    def create(self, *, reserve: bool = True) -> "S3Incoming":
        """See Storage; the reserve is that of the spool's disk."""
        if reserve:
            require_room(self.free_bytes(), self.reserve_bytes)
        return S3Incoming(self)

    def open(self, key: str) -> BinaryIO:
        """See Storage."""
        file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the caller closes it
        try:
            body = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"]
            shutil.copyfileobj(body, file)
        except ClientError as error:
            file.close()
            if error.response["Error"]["Code"] in _MISSING:
                raise FileNotFoundError(key) from None
            raise OSError(_what(error)) from None
        except BotoCoreError as error:
            file.close()
            raise OSError(_what(error)) from None
        file.seek(0)
        return file  # type: ignore[return-value]  # a file in all that is used of it

    def exists(self, key: str) -> bool:
        """See Storage."""
        try:
            self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return False
            raise OSError(_what(error)) from None
        except BotoCoreError as error:
            raise OSError(_what(error)) from None
        return True

    def files(self, folder: str) -> Iterator[Listed]:
        """See Storage; a request for each thousand."""
        pages = self.client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self.bucket, Prefix=f"{self.prefix}{folder}/"):
                for each in page.get("Contents", []):
                    key = each["Key"].removeprefix(self.prefix)
                    yield Listed(key, each["Size"], each["LastModified"].astimezone(UTC))
        except (ClientError, BotoCoreError) as error:
            raise OSError(_what(error)) from None

    def remove(self, key: str, before: datetime) -> None:
        """See Storage."""
        place = {"Bucket": self.bucket, "Key": self.prefix + key}
        try:
            if self.client.head_object(**place)["LastModified"] < before:
                self.client.delete_object(**place)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _MISSING:
                raise OSError(_what(error)) from None
        except BotoCoreError as error:
            raise OSError(_what(error)) from None

    def free_bytes(self) -> int:
        """Room left in the spool; an object store has no end."""
        return shutil.disk_usage(self.spool).free

    def check(self) -> None:
        """See Storage."""
        try:
            key = f"check/{clock.token()}"  # several may ask at once
            incoming = self.create(reserve=False)
            incoming.write(b"dentgate")
            incoming.commit(key)
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)
        except (OutOfResources, ClientError, BotoCoreError) as error:
            message = f"bucket {self.bucket}: {_what(error)}; look at address, credentials and permissions"
            raise ConfigurationError(message) from None

    def sweep(self) -> int:
        """See Storage."""
        return sweep_folder(self.spool)


class S3Incoming(Spool):
    """A spooled file that is uploaded on commit."""

    def __init__(self, storage: S3Storage) -> None:
        """Write into a file of this machine. Raises OutOfResources."""
        super().__init__(storage.spool / clock.token())
        self._storage = storage

    def commit(self, key: str) -> Stored:
        """See Incoming; a store that does not answer is OutOfResources, so that the sender tries again."""
        storage = self._storage
        try:
            storage.client.upload_file(
                str(self.path),
                storage.bucket,
                storage.prefix + key,
                ExtraArgs={"ChecksumAlgorithm": "SHA256"},
            )
        except (BotoCoreError, ClientError, boto3.exceptions.S3UploadFailedError) as error:
            message = f"object store: {_what(error)}; send again"
            raise OutOfResources(message) from None
        stored = Stored(key, self.digest(), self.size)
        self.discard()
        return stored


def _what(error: Exception) -> str:
    """The store's own code, or the kind of trouble; never its text, which may hold keys."""
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__
