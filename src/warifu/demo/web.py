"""The responder's HTTP face, as any relying party uses it: OCSP, revocation lists, CA certificates."""

import asyncio
import http.client
from typing import Final
from urllib.parse import urlsplit

from warifu.contract.values import CertificateKind
from warifu.demo.errors import NoResponder, WebRefused, WebUnavailable
from warifu.stack.status import StackStatus

TIMEOUT_S: Final = 15.0
MAX_BYTES: Final = 1 << 28
OCSP_PATH: Final = "/ocsp"
_OK, _NOT_FOUND, _TRY_LATER = 200, 404, 500


def base_url(status: StackStatus) -> str:
    """Where the stack's responder speaks HTTP. ``NoResponder`` when it does not."""
    url = status.urls.get("responder")
    if url is None:
        raise NoResponder("the running stack tells no URL of a responder")
    return url.rstrip("/")


def list_path(ca: CertificateKind, municipality: str = "", generation: int = 0) -> str:
    """Path of a revocation list: full, or one municipality's; of the newest generation, or of this one."""
    whose = f"{ca}.{generation}" if generation else ca
    return f"/crl/{whose}/{municipality}.crl" if municipality else f"/crl/{whose}.crl"


class Web:
    """A client of the responder.

    Args:
        url: e.g. ``http://127.0.0.1:8080``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._prefix = parts.path.rstrip("/")

    async def ocsp(self, request: bytes) -> bytes:
        """An OCSP answer (DER) to a request (DER).

        Raises:
            WebUnavailable: no answer now.
            WebRefused: an HTTP error.
        """
        headers = {"Content-Type": "application/ocsp-request"}
        return await asyncio.to_thread(self._exchange, "POST", OCSP_PATH, request, headers)

    async def list(self, ca: CertificateKind, municipality: str = "", generation: int = 0) -> bytes:
        """The current revocation list (DER). Raises as ``ocsp``."""
        return await asyncio.to_thread(self._exchange, "GET", list_path(ca, municipality, generation), None, {})

    def _exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.request(method, self._prefix + path, body, headers)
            response = connection.getresponse()
            data = response.read(MAX_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise WebUnavailable(f"{self.url}{path}: {type(error).__name__}") from error
        finally:
            connection.close()
        if response.status >= _TRY_LATER:
            raise WebUnavailable(f"{self.url}{path}: status {response.status}")
        if response.status != _OK:
            raise WebRefused(f"{self.url}{path}: status {response.status}")
        return data
