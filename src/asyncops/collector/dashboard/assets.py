"""
The files browsers fetch beside the pages: style sheet, modules, icons.

They are read once, and one hash over all of them stands in their addresses. So a browser may keep
them for ever, a new version is fetched at once, and modules that import each other by relative
address always get the same version. Whatever is not in the table is not served: no path from a
request ever reaches the file system.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import attrs
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

__all__ = ["Assets"]

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


@attrs.frozen
class Assets:
    """
    Every static file and the hash over them all.
    """

    files: dict[str, bytes]
    digest: str

    @classmethod
    def read(cls, folder: Path) -> Assets:
        """
        All files of *folder* that are of a kind we serve.
        """
        paths = sorted(path for path in folder.iterdir() if path.suffix in MEDIA_TYPES)
        files = {path.name: path.read_bytes() for path in paths}
        digest = hashlib.sha256()
        for name, content in files.items():
            digest.update(b"%b\0%d\0%b" % (name.encode(), len(content), content))
        return cls(files, digest.hexdigest()[:12])

    def url(self, name: str) -> str:
        """
        The address of *name*, which must exist.
        """
        if name not in self.files:
            raise LookupError(f"no static file {name!r}")
        return f"/static/{self.digest}/{name}"

    async def respond(self, request: Request) -> Response:
        """
        Serve one file. An address of another version gets this version, uncached.
        """
        name = request.path_params["name"]
        content = self.files.get(name)
        if content is None:
            return PlainTextResponse("not found", 404)
        current = request.path_params["digest"] == self.digest
        caching = "public, max-age=31536000, immutable" if current else "no-store"
        media_type = MEDIA_TYPES[Path(name).suffix]
        return Response(content, media_type=media_type, headers={"Cache-Control": caching})
