"""Serves the page that finds faces, landmarks and attributes in the browser: `python -m smtn_keras.web`.

It listens on this machine alone. Photos stay in the browser: the server has files to give and takes none.
"""

import contextlib
import dataclasses
import http.server
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import tyro

from .errors import UserError, clean_exit

HOST = "127.0.0.1"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
HEADERS = {
    # with these two a browser gives the page threads and exact clocks
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    # nothing comes from elsewhere and nothing goes there; the WebAssembly's bindings are made by eval
    "Content-Security-Policy": "default-src 'self' blob: data: 'unsafe-inline' 'unsafe-eval'; form-action 'none'; base-uri 'none'",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}


@dataclasses.dataclass(frozen=True)
class WebConfig:
    """What to serve."""

    model: str | None = None
    """An exported folder, or the name of a model that comes with the package; by itself the shipped `mobile`."""
    port: int = 8000
    """The port to listen on; 0: any free one."""


def main(argv: list[str] | None = None):
    """Command line. Serves until it is interrupted."""
    with clean_exit():
        settings = tyro.cli(WebConfig, args=argv, prog="python -m smtn_keras.web", description=__doc__)
        with serving(page_files(settings.model), settings.port) as url, contextlib.suppress(KeyboardInterrupt):
            print(f"{url}  (Ctrl-C ends it)", flush=True)
            threading.Event().wait()


def page_files(model: str | Path | None = None) -> dict[str, Path]:
    """All that the page loads, by its path in the URL.

    Args:
        model: as `predictor.find_model` takes it.

    Raises:
        UserError: the folder is no export, or the npm packages are not there.
    """
    from .predictor import find_model

    folder, page = find_model(model), page_folder()
    files = {"/": page / "index.html"} | {f"/{file.name}": file for file in page.iterdir() if file.suffix in (".css", ".js", ".svg")}
    for name in ("model.tflite", "model.json"):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: expected an exported folder, found no {name} in it; name one made by smtn_keras.export")
        files[f"/model/{name}"] = folder / name
    served = json.loads((page / "package.json").read_text())["served"]
    return files | npm_files(served, "npm ci --omit=dev")


def npm_files(packages: dict[str, Sequence[str]], command: str) -> dict[str, Path]:
    """Files of npm packages beside the page, by their path in the URL.

    Args:
        packages: patterns of each package's files.
        command: what installs them.

    Raises:
        UserError: one is not there.
    """
    modules, files = page_folder() / "node_modules", {}
    for package, patterns in packages.items():
        found = [file for pattern in patterns for file in (modules / package).glob(pattern)]
        if not found:
            raise UserError(f"expected the npm package {package} beside the page, found none; run: {command} --prefix '{modules.parent}'")
        files |= {f"/npm/{file.relative_to(modules).as_posix()}": file for file in found}
    return files


def page_folder() -> Path:
    """The page's own files: in an installed package beside this module, in a checkout above it."""
    here = Path(__file__).parent
    return next(folder for folder in (here / "www", here.parent / "web") if folder.is_dir())


@contextlib.contextmanager
def serving(files: dict[str, Path], port: int = 0) -> Iterator[str]:
    """A server of these files and no others, in a thread, for as long as the block runs.

    Yields:
        Its address.

    Raises:
        UserError: the port is taken or none.
    """
    handler = type("Handler", (_Handler,), {"files": files})
    try:
        server = http.server.ThreadingHTTPServer((HOST, port), handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"expected a free port, but {port} cannot be used ({reason}); name another --port") from None
    with server:
        server.handle_error = lambda *_: None  # a browser that hangs up is no error
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}/"
        finally:
            server.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers with a file that is known by this very path: none else can be reached."""

    protocol_version = "HTTP/1.1"
    files: dict[str, Path]

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path not in self.files:
            return self.send_error(404)
        body = self.files[path].read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", TYPES.get(self.files[path].suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        """Silent: who looks at which face is nobody's business."""


if __name__ == "__main__":
    main()
