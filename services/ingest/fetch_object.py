"""Object stores, as an engine: our own, so their absence is waited for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, InvalidPathError, NotFoundError, PermissionDeniedError
from obstore.store import LocalStore, ObjectStore, from_url

from captionstream.contracts.messages import RefusalReason
from captionstream.runtime.errors import Unavailable, Unprocessable
from services.ingest.fetch import too_large
from services.ingest.settings import IngestSettings

ENGINE = "object store"


class ObjectSource:
    """`get(place)`: a URL in a bucket that the settings name, or a plain key in the configured root.

    The credentials of this service read more than a publisher may ask for: hence the list of buckets.
    """

    def __init__(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._stores: dict[str, ObjectStore] = {}

    async def get(self, place: str) -> bytes:
        """The object. Raises Unprocessable (forbidden, absent, too large) or Unavailable."""
        location, key = located(place, self._settings)
        store = self._store(location)
        try:
            async with asyncio.timeout(self._settings.fetch_seconds):
                return await bounded_object(store, key, self._settings.max_bytes)
        except (NotFoundError, FileNotFoundError):
            raise Unprocessable(RefusalReason.UNFETCHABLE, "no such object") from None
        except (PermissionDeniedError, PermissionError):
            raise Unprocessable(RefusalReason.UNFETCHABLE, "the object may not be read") from None
        except (InvalidPathError, ValueError):
            raise not_a_key() from None
        except (BaseError, OSError, TimeoutError) as away:
            raise Unavailable(ENGINE, type(away).__name__) from None

    def _store(self, location: str) -> ObjectStore:
        if location not in self._stores:
            try:
                self._stores[location] = from_url(location) if "://" in location else LocalStore(location)
            except (BaseError, OSError, ValueError) as away:
                raise Unavailable(ENGINE, type(away).__name__) from None
        return self._stores[location]


def located(place: str, settings: IngestSettings) -> tuple[str, str]:
    """The store and the key in it. Raises Unprocessable."""
    location, key = bucket_and_key(place, settings) if "://" in place else (root_of(settings), place)
    if not is_key(key) or leaves_folder(location, key):
        raise not_a_key()
    return location, key


def not_a_key() -> Unprocessable:
    return Unprocessable(RefusalReason.FORBIDDEN_ADDRESS, "not a key of an object in the store")


def bucket_and_key(place: str, settings: IngestSettings) -> tuple[str, str]:
    parts = urlsplit(place)
    bucket = f"{parts.scheme}://{parts.netloc}"
    if bucket not in settings.buckets:
        raise Unprocessable(RefusalReason.FORBIDDEN_ADDRESS, "a bucket that ingest was not told to read")
    return bucket, place[len(bucket) + 1 :]


def root_of(settings: IngestSettings) -> str:
    if settings.objects is None:
        raise Unprocessable(RefusalReason.UNFETCHABLE, "no store is configured for plain object keys")
    return settings.objects


def is_key(key: str) -> bool:
    """Segments between slashes, none of them empty, `.` or `..`."""
    odd = "\\" in key or not key.isprintable()
    return not odd and all(segment not in {"", ".", ".."} for segment in key.split("/"))


def leaves_folder(location: str, key: str) -> bool:
    """Through a symbolic link, where the store is a folder."""
    if "://" in location:
        return False
    root = Path(location).resolve()
    return not (root / key).resolve().is_relative_to(root)


async def bounded_object(store: ObjectStore, key: str, max_bytes: int) -> bytes:
    found = await obstore.get_async(store, key)
    if found.meta["size"] > max_bytes:
        raise too_large(max_bytes)
    return bytes(await found.bytes_async())
