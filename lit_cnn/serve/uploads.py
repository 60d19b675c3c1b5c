"""Read the body of a request into memory, within limits: an image file, or a form with one."""

from __future__ import annotations

import asyncio
import re

from starlette.requests import ClientDisconnect, Request

from lit_cnn.serve.limits import Limits, RefusedError

FORM, UNKNOWN, IMAGE = "multipart/form-data", "application/octet-stream", "image/"
_HEAD = 4096  # bytes of the head of a form's part
_FORM = 16 * _HEAD  # bytes of a form besides its file


async def read_upload(request: Request, limits: Limits) -> bytes:
    """The image file of a request.

    Raises:
        RefusedError: it is of another type, too large, too slow, or no form with a file.
    """
    kind = request.headers.get("content-type", "")
    plain = kind.partition(";")[0].strip().lower()
    if plain not in (FORM, UNKNOWN) and not plain.startswith(IMAGE):
        raise RefusedError(
            415, f"send an image file as {IMAGE}..., {UNKNOWN} or a form ({FORM}), not as {plain[:80] or 'nothing'}"
        )
    most = limits.most_bytes + (_FORM if plain == FORM else 0)
    size = request.headers.get("content-length", "")
    if size.isdigit() and int(size) > most and request.headers.get("expect", "").lower() == "100-continue":
        raise too_large(limits)  # the client asks before it sends
    try:
        content = await asyncio.wait_for(_read(request, most), limits.seconds)
    except asyncio.TimeoutError:
        raise RefusedError(408, f"the image did not arrive within {limits.seconds:g} s") from None
    except ClientDisconnect:
        raise RefusedError(400, "the client has gone") from None
    if content is None:
        raise too_large(limits)
    if plain == FORM:
        content = file_of_form(content, kind)
        if len(content) > limits.most_bytes:
            raise too_large(limits)
    if not content:
        raise RefusedError(400, "the image is empty")
    return content


def too_large(limits: Limits) -> RefusedError:
    """The error for an upload above the limit."""
    return RefusedError(413, f"the image has more than {limits.most_bytes / 1e6:g} MB")


async def _read(request: Request, most: int) -> bytes | None:
    """The body; None where it is larger: the rest is read and dropped, so that the client gets to read why."""
    parts: list[bytes] | None = []
    total = 0
    async for part in request.stream():
        total += len(part)
        if total > most:
            parts = None
        elif parts is not None:
            parts.append(part)
    return None if parts is None else b"".join(parts)


def file_of_form(body: bytes, content_type: str) -> bytes:
    """The content of the first file in a form (RFC 7578). Its name is not looked at.

    Raises:
        RefusedError: it is no form, or has no file.
    """
    found = re.search(r'boundary="?([^";]{1,70})"?', content_type, re.IGNORECASE)
    if found is None:
        raise RefusedError(400, "the form has no boundary")
    mark = b"--" + found[1].strip().encode("latin-1", "replace")
    at = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    while body.startswith(mark, at) and not body.startswith(b"--", at + len(mark)):
        start = at + len(mark)
        head, end = body.find(b"\r\n\r\n", start, start + _HEAD), body.find(b"\r\n" + mark, start)
        if head < 0 or end < 0:
            break
        if re.search(rb"^content-disposition:.*\bfilename\*?=", body[start:head], re.IGNORECASE | re.MULTILINE):
            return body[head + 4 : end] if end >= head + 4 else b""
        at = end + 2
    raise RefusedError(400, "the form has no file: curl -F image=@photo.jpg sends one")
