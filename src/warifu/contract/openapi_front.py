"""OpenAPI 3.1 of the front's HTTPS edge: what registered verifiers ask (``adapters.net.checking``)."""

from typing import Any, Final

import msgspec

from warifu.contract.authority import SerialStatus
from warifu.contract.envelope import VERSION
from warifu.contract.values import CertificateKind

Json = dict[str, Any]

MOST_SERIALS: Final = 5_000
"""Of one request."""
_REFUSALS: Final = {
    "400": "The request has not the form it should have.",
    "401": "No approved verifier has this credential.",
    "403": "The verifier may not ask this, or has asked too much today.",
    "404": "There is no such thing here.",
    "503": "Not now; Retry-After says when to come back.",
}
_TOO_LONG: Final = {"description": "The request is longer than any that is right; it was not read, and has no answer."}


def openapi_front() -> Json:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Warifu front",
            "version": str(VERSION),
            "description": "Statuses and revocation lists for registered verifiers. Test service.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"verifier": []}],
        "paths": {
            "/status/{ca}": {"post": _status()},
            "/crl/{ca}.crl": {"get": _list("verifierFullList", "The full list of one authority.", _ca())},
            "/crl/{ca}/{municipality}.crl": {
                "get": _list("verifierMunicipalityList", "One municipality's list.", _ca(), _municipality())
            },
        },
        "components": {
            "securitySchemes": {
                "verifier": {"type": "http", "scheme": "bearer", "bearerFormat": "<verifier>:<secret in hexadecimal>"}
            },
            "responses": {f"Refused{status}": _refused(text) for status, text in _REFUSALS.items()}
            | {"TooLong": _TOO_LONG},
        },
    }


def _status() -> Json:
    serials = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        "minItems": 1,
        "maxItems": MOST_SERIALS,
        "uniqueItems": True,
    }
    (status,), definitions = msgspec.json.schema_components((SerialStatus,), ref_template="{name}")
    del status
    checked = {
        "type": "object",
        "required": ["as_of_ms", "statuses"],
        "properties": {
            "as_of_ms": {"type": "integer", "description": "Checked at or after this instant."},
            "statuses": {"type": "array", "items": definitions["SerialStatus"]},
        },
    }
    question = {"type": "object", "required": ["serials"], "properties": {"serials": serials}}
    return _operation("verifierStatus", "The status of certificates, in the order asked.", _json(checked), _ca()) | {
        "requestBody": {"required": True, "content": _json(question)}
    }


def _list(name: str, summary: str, *parameters: Json) -> Json:
    der = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
    return _operation(name, summary, {"application/pkix-crl": der}, *parameters)


def _operation(name: str, summary: str, content: Json, *parameters: Json) -> Json:
    refusals = {status: {"$ref": f"#/components/responses/Refused{status}"} for status in _REFUSALS}
    refusals["413"] = {"$ref": "#/components/responses/TooLong"}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": list(parameters),
        "responses": {"200": {"description": "Found.", "content": content}, **refusals},
    }


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _ca() -> Json:
    return _parameter("ca", "Which authority.", msgspec.json.schema(CertificateKind))


def _municipality() -> Json:
    return _parameter("municipality", "Municipality code.", {"type": "string", "pattern": "^[0-9]{6}$"})


def _parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _refused(description: str) -> Json:
    code = {"type": "string", "description": "The error's code, one line.", "examples": ["verifier.not_admitted\n"]}
    return {"description": description, "content": {"text/plain": {"schema": code}}}
