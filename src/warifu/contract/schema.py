"""The contract for other languages: ``python -m warifu.contract.schema DIR`` writes what this version promises.

``contract.schema.json``: JSON Schema 2020-12. Each struct is under ``$defs``; ``messages`` lists every request by name
with its answer. On the wire the same structs travel as MessagePack maps, ``bytes`` as bin; in JSON they are base64.
``openapi.json``: OpenAPI 3.1 of the public HTTP edges (the responder's), where DER goes in and out;
``openapi.front.json``: of the front's, for registered verifiers.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from warifu.contract.codec import REQUESTS
from warifu.contract.envelope import VERSION, Envelope, Reply
from warifu.contract.openapi_front import openapi_front
from warifu.contract.values import CertificateKind

Json = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_FILE: Final = "contract.schema.json"
OPENAPI_FILE: Final = "openapi.json"
OPENAPI_FRONT_FILE: Final = "openapi.front.json"
_REF: Final = "#/$defs/{name}"


def types() -> tuple[type[msgspec.Struct], ...]:
    """Every request and answer once, in the order of their names, after the envelope and the reply."""
    found: list[type[msgspec.Struct]] = [Envelope, Reply]
    for _, request in sorted(REQUESTS.items()):
        found += [request, request.ANSWER]
    return tuple(dict.fromkeys(found))


def contract_schema() -> Json:
    """One JSON Schema document of the whole contract."""
    references, definitions = msgspec.json.schema_components(types(), ref_template=_REF)
    by_type = dict(zip(types(), references, strict=True))
    return {
        "$schema": DIALECT,
        "$id": f"urn:warifu:contract:{VERSION}",
        "title": "Warifu: messages between nodes",
        "messages": {
            name: {
                "request": by_type[request],
                "answer": by_type[request.ANSWER],
                "changes": request.CHANGES,
            }
            for name, request in sorted(REQUESTS.items())
        },
        "$defs": dict(sorted(definitions.items())),
    }


def openapi() -> Json:
    """The public HTTP edges."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Warifu responder",
            "version": str(VERSION),
            "description": "OCSP answers (RFC 6960) and revocation lists (RFC 5280). Test service.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/ocsp": {"post": _ocsp_post()},
            "/ocsp/{request}": {"get": _ocsp_get()},
            "/crl/{ca}.crl": {"get": _list("fullList", "The full list of one authority.", _ca())},
            "/crl/{ca}/{municipality}.crl": {
                "get": _list("municipalityList", "One municipality's list.", _ca(), _municipality())
            },
            "/ca/{ca}.cer": {"get": _root()},
        },
        "components": {"responses": {name: _refused(text) for name, text in _REFUSALS.items()}},
    }


def write(folder: Path) -> None:
    """Write the documents into a folder, which is made when missing."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = ((SCHEMA_FILE, contract_schema()), (OPENAPI_FILE, openapi()), (OPENAPI_FRONT_FILE, openapi_front()))
    for name, document in documents:
        (folder / name).write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


_REFUSALS: Final = {
    "Malformed": "The request has not the form it should have.",
    "NotFound": "There is no such thing here.",
    "TryLater": "Not now; Retry-After says when to come back.",
}
_STATUSES: Final = {"400": "Malformed", "404": "NotFound", "503": "TryLater"}


def _operation(name: str, summary: str, media: str, *parameters: Json) -> Json:
    refusals = {status: {"$ref": f"#/components/responses/{refusal}"} for status, refusal in _STATUSES.items()}
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": "DER.", "content": {media: _der()}}, **refusals},
    }
    return operation | ({"parameters": list(parameters)} if parameters else {})


def _ocsp_post() -> Json:
    operation = _operation("ocspPost", "Ask for certificates' status (RFC 6960, A.1).", "application/ocsp-response")
    return operation | {"requestBody": {"required": True, "content": {"application/ocsp-request": _der()}}}


def _ocsp_get() -> Json:
    encoded = _parameter("request", "OCSPRequest: DER, base64, then URL-encoded.", {"type": "string", "minLength": 1})
    return _operation("ocspGet", "The same, short enough for a URL.", "application/ocsp-response", encoded)


def _list(name: str, summary: str, *parameters: Json) -> Json:
    return _operation(name, summary, "application/pkix-crl", *parameters)


def _root() -> Json:
    return _operation("authority", "The newest certificate of one authority.", "application/pkix-cert", _ca())


def _ca() -> Json:
    return _parameter("ca", "Which authority.", msgspec.json.schema(CertificateKind))


def _municipality() -> Json:
    return _parameter("municipality", "Municipality code.", {"type": "string", "pattern": "^[0-9]{6}$"})


def _parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _der() -> Json:
    return {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}


def _refused(description: str) -> Json:
    code = {"type": "string", "description": "The error's code, one line.", "examples": ["record.not_found\n"]}
    return {"description": description, "content": {"text/plain": {"schema": code}}}


def main(arguments: list[str] | None = None) -> int:
    """The program; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m warifu.contract.schema", description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="where to write; example: build/contract")
    write(parser.parse_args(arguments).folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
