"""The exported schema and the description of the HTTP edges: valid, complete, and true of the examples."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from jsonschema import Draft202012Validator
from make_contract_golden import GOLDEN

from warifu.contract import schema
from warifu.contract.codec import REQUESTS
from warifu.contract.openapi_front import openapi_front

CONTRACT = schema.contract_schema()
TYPES = {kind.__name__: kind for kind in schema.types()}
OPENAPI_FORM = {
    "type": "object",
    "required": ["openapi", "info", "paths"],
    "properties": {
        "openapi": {"const": "3.1.0"},
        "info": {"type": "object", "required": ["title", "version"]},
        "paths": {
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "type": "object",
                "propertyNames": {"enum": ["get", "post"]},
                "additionalProperties": {
                    "type": "object",
                    "required": ["operationId", "summary", "responses"],
                    "properties": {
                        "parameters": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name", "in", "required", "schema"],
                                "properties": {"in": {"const": "path"}, "required": {"const": True}},
                            },
                        },
                        "responses": {"type": "object", "propertyNames": {"pattern": "^[1-5][0-9][0-9]$"}},
                    },
                },
            },
        },
    },
}
"""As much of OpenAPI's own schema as this document uses."""


def test_the_schema_is_valid_and_holds_every_message() -> None:
    Draft202012Validator.check_schema(CONTRACT)
    assert set(CONTRACT["messages"]) == set(REQUESTS)
    for message in CONTRACT["messages"].values():
        for part in ("request", "answer"):
            name = message[part]["$ref"].removeprefix("#/$defs/")
            assert name in CONTRACT["$defs"]


@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_example_is_valid_under_the_schema(name: str) -> None:
    validator = Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": CONTRACT["$defs"]})
    content = msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())
    validator.validate(content)
    for field in CONTRACT["$defs"][name].get("required", ()):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({key: value for key, value in content.items() if key != field})


DOCUMENTS = {"responder": schema.openapi(), "front": openapi_front()}


def operations(edge: str) -> list[tuple[str, dict[str, Any]]]:
    paths = DOCUMENTS[edge]["paths"]
    return [(path, operation) for path, methods in paths.items() for operation in methods.values()]


@pytest.mark.parametrize("edge", DOCUMENTS)
def test_the_edges_are_described_in_openapis_form(edge: str) -> None:
    document = DOCUMENTS[edge]
    Draft202012Validator(OPENAPI_FORM).validate(document)
    names = [operation["operationId"] for _, operation in operations(edge)]
    assert len(set(names)) == len(names)
    for path, operation in operations(edge):
        declared = {parameter["name"] for parameter in operation.get("parameters", ())}
        assert declared == set(re.findall(r"\{([a-z]+)\}", path))
        for parameter in operation.get("parameters", ()):
            Draft202012Validator.check_schema(parameter["schema"])
        for response in operation["responses"].values():
            if "$ref" in response:
                assert response["$ref"].removeprefix("#/components/responses/") in document["components"]["responses"]


def test_every_edge_of_the_responder_is_described() -> None:
    assert set(schema.openapi()["paths"]) == {
        "/ocsp",
        "/ocsp/{request}",
        "/crl/{ca}.crl",
        "/crl/{ca}/{municipality}.crl",
        "/ca/{ca}.cer",
    }


def test_every_edge_of_the_front_is_described() -> None:
    assert set(openapi_front()["paths"]) == {"/status/{ca}", "/crl/{ca}.crl", "/crl/{ca}/{municipality}.crl"}
    assert openapi_front()["security"] == [{"verifier": []}]


def test_the_command_writes_the_documents(tmp_path: Path) -> None:
    assert schema.main([str(tmp_path / "new")]) == 0
    written = {path.name: msgspec.json.decode(path.read_bytes()) for path in (tmp_path / "new").iterdir()}
    promised = {schema.SCHEMA_FILE: CONTRACT, schema.OPENAPI_FILE: schema.openapi()}
    promised[schema.OPENAPI_FRONT_FILE] = openapi_front()
    assert written == msgspec.json.decode(msgspec.json.encode(promised))
