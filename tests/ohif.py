"""The OHIF viewer of its npm package, served with an archive's DICOMweb on one origin of the loopback.

``deploy/setup.sh test`` unpacks the package into ``.peers/ohif``; DENTGATE_OHIF names another folder with its ``dist``.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import ROOT

PROXIED = ("/dicom-web", "/wado")
CHROMIUM = Path("/usr/bin/chromium")
#: Software rendering is enough; nothing is asked of any other machine.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: The guided tour lies over the page and swallows clicks.
WITHOUT_TOUR = """addEventListener('DOMContentLoaded', () => {
  const style = document.createElement('style');
  style.textContent = '[class*=shepherd] { display: none !important }';
  document.head.append(style);
})"""
_CONFIGURATION = b"""window.config = {
  name: 'dentgate-test', routerBasename: '/', extensions: [], modes: [], customizationService: {}, showStudyList: true,
  maxNumberOfWebWorkers: 2, showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: true,
  showLoadingIndicator: true, strictZSpacingForVolumeViewport: true, investigationalUseDialog: { option: 'never' },
  maxNumRequests: { interaction: 10, thumbnail: 5, prefetch: 5 }, defaultDataSourceName: 'dicomweb',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'dicomweb',
    configuration: {
      friendlyName: 'Orthanc', name: 'orthanc', wadoUriRoot: '/wado', qidoRoot: '/dicom-web', wadoRoot: '/dicom-web',
      qidoSupportsIncludeField: false, imageRendering: 'wadors', thumbnailRendering: 'wadors',
      enableStudyLazyLoad: true, supportsFuzzyMatching: false, supportsWildcard: true, dicomUploadEnabled: true,
      omitQuotationForMultipartRequest: true, bulkDataURI: { enabled: true, relativeResolution: 'studies' },
    },
  }],
};"""


def package() -> Path:
    """The folder with OHIF's static files; skips the test where it, or a browser, is missing."""
    named = os.environ.get("DENTGATE_OHIF")  # noqa: TID251 - where this machine keeps it is no setting of ours
    dist = Path(named) if named else ROOT / ".peers" / "ohif" / "package" / "dist"
    if not (dist / "index.html").is_file():
        pytest.skip(f"no OHIF in {dist} (npm pack @ohif/app; deploy/setup.sh test does it)")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    return dist


@contextmanager
def viewer(archive: str) -> Iterator[str]:
    """OHIF over an archive; the value is its base URL.

    Args:
        archive: base URL of an archive that answers DICOMweb below /dicom-web.
    """
    dist = package()
    with httpx.Client(trust_env=False, base_url=archive, timeout=60) as client:
        handler = partial(_Handler, client, directory=str(dist))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(SimpleHTTPRequestHandler):
    """Static files with the headers of cross-origin isolation; DICOMweb goes on to the archive."""

    protocol_version = "HTTP/1.1"
    extensions_map = {  # noqa: RUF012 - of the base class
        **SimpleHTTPRequestHandler.extensions_map,
        ".wasm": "application/wasm",
        ".js": "text/javascript",
        ".mjs": "text/javascript",
    }

    def __init__(self, client: httpx.Client, *arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 - of the base class
        self._client = client
        super().__init__(*arguments, **keywords)

    def do_GET(self) -> None:
        """A file, the configuration, an answer of the archive, or the page for every other path."""
        path = self.path.split("?")[0]
        if path.startswith(PROXIED):
            self._pass_on()
        elif path == "/app-config.js":
            self._answer(200, "text/javascript", _CONFIGURATION)
        else:
            if not Path(str(self.directory), path.lstrip("/")).is_file():
                self.path = "/index.html"
            super().do_GET()

    def do_POST(self) -> None:
        """Queries go on to the archive."""
        self._pass_on()

    def end_headers(self) -> None:
        """What a page needs for shared memory between its workers."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name: value for name, value in self.headers.items() if name.lower() in {"accept", "content-type"}}
        answer = self._client.request(self.command, self.path, headers=headers, content=self.rfile.read(length))
        self._answer(answer.status_code, answer.headers.get("Content-Type", "application/octet-stream"), answer.content)

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
