"""Serves the page that finds faces, landmarks and attributes in the browser: `python -m smtn_keras.web`.

It listens on this machine alone unless asked by --bind. Photos stay in the browser: the server has files to give and takes none.
"""

import contextlib
import dataclasses
import http.server
import ipaddress
import json
import socket
import sys
import threading
import urllib.parse
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
# Nothing comes from elsewhere and nothing goes there; no other page may frame this one.
POLICY = {
    "default-src": "'none'",
    # the import map, known by its checksum, stands in the page, as browsers read none from a file
    "script-src": "'self' 'wasm-unsafe-eval' 'sha256-Q1LwAtUqMdveBlVTwpgTKJZjQHmEdtF6F+Ja9MIjnI8='",
    **dict.fromkeys(("connect-src", "style-src", "worker-src"), "'self'"),
    "img-src": "'self' blob:",  # a chosen photo
    **dict.fromkeys(("base-uri", "form-action", "frame-ancestors"), "'none'"),
}
HEADERS = {
    # with these two a browser gives the page threads and exact clocks
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
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
    bind: str = HOST
    """The address to listen on; 0.0.0.0: all of this machine's, so that others reach the page. It knows no passwords."""


def main(argv: list[str] | None = None):
    """Command line. Serves until it is interrupted."""
    with clean_exit():
        settings = tyro.cli(WebConfig, args=argv, prog="python -m smtn_keras.web", description=__doc__)
        with serving(page_files(settings.model), settings.port, settings.bind) as url, contextlib.suppress(KeyboardInterrupt):
            if not ipaddress.ip_address(urllib.parse.urlsplit(url).hostname).is_loopback:
                print(
                    "warning: other machines can read the page and its model; browsers give a page the camera over https alone",
                    file=sys.stderr,
                )
            print(f"{url}  (Ctrl-C ends it)", flush=True)
            threading.Event().wait()


def page_files(model: str | Path | None = None) -> dict[str, Path]:
    """All that the page loads, by its path in the URL.

    Args:
        model: as `predictor.find_model` takes it.

    Raises:
        UserError: the folder is no export, a file is a link to elsewhere, or the npm packages are not there.
    """
    from .predictor import find_model

    folder, page = find_model(model), page_folder()
    files = {"/": page / "index.html"} | {f"/{file.name}": file for file in page.iterdir() if file.suffix in (".css", ".js", ".svg")}
    for name in ("model.tflite", "model.json"):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: expected an exported folder, found no {name} in it; name one made by smtn_keras.export")
        files[f"/model/{name}"] = folder / name
    served = json.loads((page / "package.json").read_text())["served"]
    files |= npm_files(served, "npm ci --omit=dev")
    inside = page.resolve(), folder.resolve()
    for file in files.values():
        if not any(file.resolve().is_relative_to(parent) for parent in inside):
            raise UserError(
                f"{file}: expected a file in the page's or the model's folder, got a link to {file.resolve()}; put a copy there"
            )
    return files


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
def serving(files: dict[str, Path], port: int = 0, bind: str = HOST, policy: dict[str, str] = POLICY) -> Iterator[str]:
    """A server of these files and no others, in a thread, for as long as the block runs.

    Args:
        files: by path in the URL.
        port: 0 for any free one.
        bind: the address to listen on.
        policy: sources of each kind that a page may load from.

    Yields:
        Its address.

    Raises:
        UserError: the port is taken or none, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    headers = HEADERS | {"Content-Security-Policy": "; ".join(f"{kind} {sources}" for kind, sources in policy.items())}
    handler = type("Handler", (_Handler,), {"files": files, "names": {"localhost", bind.lower()}, "own_headers": headers})
    try:
        server = type("Server", (http.server.ThreadingHTTPServer,), {"address_family": family})((bind, port), handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"expected a free port, but {port} cannot be used on {bind} ({reason}); name another --port or --bind") from None
    with server:
        server.handle_error = lambda *_: None  # a browser that hangs up is no error
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address, port = server.server_address[:2]
        try:
            yield f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"
        finally:
            server.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers with a file that is known by this very path: none else can be reached.

    Attributes:
        files: by path.
        names: of this server beside numeric addresses. A page from elsewhere whose name was pointed at this machine says another.
        own_headers: of every answer.
    """

    protocol_version = "HTTP/1.1"
    timeout = 10  # seconds that a client may be silent
    files: dict[str, Path]
    names: set[str]
    own_headers: dict[str, str]

    def do_GET(self):
        path = self.path.partition("?")[0]
        if not self._is_meant():
            return self.send_error(421)
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            return self.send_error(413)
        try:
            body = self.files[path].read_bytes()
        except (KeyError, OSError):
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", TYPES.get(self.files[path].suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def _is_meant(self) -> bool:
        """Whether the request names this server."""
        try:
            name = urllib.parse.urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            return name in self.names or bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    def end_headers(self):
        for name, value in self.own_headers.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self):
        return "smtn_keras"  # not which Python this is

    def log_message(self, *_):
        """Silent: who looks at which face is nobody's business."""


if __name__ == "__main__":
    main()
