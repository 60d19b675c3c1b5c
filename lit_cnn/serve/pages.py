"""The files of the page, which loads nothing from elsewhere."""

from __future__ import annotations

from importlib import resources

_HTML, _CSS, _JS = "text/html", "text/css", "text/javascript"
_FILES = {
    "/": (_HTML, "page.html.j2"),
    "/docs": (_HTML, "docs.html.j2"),
    "/page.css": (_CSS, "page.css"),
    "/page.js": (_JS, "page.js"),
    "/docs.js": (_JS, "docs.js"),
}


def _read(name: str) -> bytes:
    return resources.files("lit_cnn.serve").joinpath("templates").joinpath(name).read_bytes()


PAGES = {path: (kind, _read(name)) for path, (kind, name) in _FILES.items()}  # by path: type and content
PAGES["/favicon.ico"] = ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"></svg>')
