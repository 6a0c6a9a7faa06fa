"""Object stores, as an engine: our own, so their absence is waited for, and so is a wrong secret of ours.

Where they are and with what credentials is told as to every tool of that cloud: `AWS_ENDPOINT_URL` (for one that
is not Amazon's; `AWS_ALLOW_HTTP=true` if it has no TLS), `AWS_REGION`, `AWS_ACCESS_KEY_ID` and
`AWS_SECRET_ACCESS_KEY`, a web identity, or the role of the machine.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
)
from obstore.store import LocalStore, ObjectStore, from_url

from captionstream.contracts.messages import RefusalReason
from captionstream.contracts.notification import unpinned
from captionstream.runtime.errors import Unavailable, Unprocessable
from services.ingest.fetch import too_large
from services.ingest.settings import IngestSettings

if TYPE_CHECKING:
    from obstore import GetOptions

ENGINE = "object store"
WHO_ARE_YOU = re.compile(  # S3's codes for a caller whom it does not know; AccessDenied is about one object
    r"<Code>(SignatureDoesNotMatch|InvalidAccessKeyId|InvalidToken|ExpiredToken|RequestTimeTooSkewed)</Code>"
)
NO_SUCH = re.compile(  # what a store says of one name or version, however often it is asked
    r"<Code>(InvalidArgument|NoSuchVersion|MethodNotAllowed|KeyTooLongError|InvalidURI|XMinioInvalidObjectName)</Code>"
    r"|^Generic LocalFileSystem error: Filenames containing"
    r"|(Not a directory|File name too long) \(os error \d+\)$"
)


@dataclass(frozen=True)
class Place:
    """An object of a store, and which writing of it."""

    location: str
    key: str
    only: GetOptions | None = None


class ObjectSource:
    """`get(place)`: a URL in a bucket that the settings name, or a plain key in the configured root.

    The credentials of this service read more than a publisher may ask for: hence the list of buckets.
    """

    def __init__(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._stores: dict[str, ObjectStore] = {}

    async def get(self, place: str) -> bytes:
        """The object. Raises Unprocessable (forbidden, absent, changed, too large) or Unavailable."""
        wanted = located(place, self._settings)
        store = self._store(wanted.location)
        try:
            async with asyncio.timeout(self._settings.fetch_seconds):
                return await bounded_object(store, wanted, self._settings.max_bytes)
        except (NotFoundError, FileNotFoundError):
            raise Unprocessable(RefusalReason.UNFETCHABLE, "no such object") from None
        except PreconditionError:
            raise Unprocessable(
                RefusalReason.UNFETCHABLE, "the object was written again since; it has an event of its own"
            ) from None
        except (PermissionDeniedError, PermissionError) as denied:
            raise not_readable(denied) from None
        except (InvalidPathError, ValueError):
            raise not_a_key() from None
        except (BaseError, OSError, TimeoutError) as failed:
            raise no_answer(failed) from None

    def _store(self, location: str) -> ObjectStore:
        if location not in self._stores:
            try:
                self._stores[location] = from_url(location) if "://" in location else LocalStore(location)
            except (BaseError, OSError, ValueError) as away:
                raise Unavailable(ENGINE, type(away).__name__) from None
        return self._stores[location]


def located(place: str, settings: IngestSettings) -> Place:
    """The store and the key in it. Raises Unprocessable."""
    wanted = in_bucket(place, settings) if "://" in place else Place(root_of(settings), place)
    if not is_key(wanted.key) or leaves_folder(wanted):
        raise not_a_key()
    return wanted


def not_a_key() -> Unprocessable:
    return Unprocessable(RefusalReason.FORBIDDEN_ADDRESS, "not a key of an object in the store")


def not_readable(denied: Exception) -> Unprocessable | Unavailable:
    """This object is closed to us, or our credentials are wrong: then no event is to blame."""
    unknown = WHO_ARE_YOU.search(said(denied))
    if unknown:
        return Unavailable(ENGINE, unknown[1])
    return Unprocessable(RefusalReason.UNFETCHABLE, "the object may not be read")


def no_answer(failed: Exception) -> Unprocessable | Unavailable:
    """The store cannot have an object of that name or version, or it is away."""
    if NO_SUCH.search(said(failed)):
        return Unprocessable(RefusalReason.UNFETCHABLE, "no object of that name or version")
    return Unavailable(ENGINE, type(failed).__name__)


def said(failed: Exception) -> str:
    """The store's own words. What stands before them names the key, and a publisher chooses that."""
    return str(failed).partition("\n\nDebug source")[0].rpartition("status code: ")[2]


def in_bucket(place: str, settings: IngestSettings) -> Place:
    scheme, _, rest = place.partition("://")
    name, _, pinned_key = rest.partition("/")
    bucket = f"{scheme}://{name}"
    if bucket not in settings.buckets:
        raise Unprocessable(RefusalReason.FORBIDDEN_ADDRESS, "a bucket that ingest was not told to read")
    key, kind, value = unpinned(pinned_key)
    only: dict[str | None, GetOptions] = {"versionId": {"version": value}, "etag": {"if_match": f'"{value}"'}}
    return Place(bucket, key, only.get(kind))


def root_of(settings: IngestSettings) -> str:
    if settings.objects is None:
        raise Unprocessable(RefusalReason.UNFETCHABLE, "no store is configured for plain object keys")
    return settings.objects


def is_key(key: str) -> bool:
    """Segments between slashes, none of them empty, `.` or `..`."""
    odd = "\\" in key or not key.isprintable()
    return not odd and all(segment not in {"", ".", ".."} for segment in key.split("/"))


def leaves_folder(wanted: Place) -> bool:
    """Through a symbolic link, where the store is a folder."""
    if "://" in wanted.location:
        return False
    root = Path(wanted.location).resolve()
    try:
        return not (root / wanted.key).resolve().is_relative_to(root)
    except RuntimeError:  # links in a circle
        return True


async def bounded_object(store: ObjectStore, wanted: Place, max_bytes: int) -> bytes:
    found = await obstore.get_async(store, wanted.key, options=wanted.only)
    if found.meta["size"] > max_bytes:
        raise too_large(max_bytes)
    return bytes(await found.bytes_async())
