"""Files that must agree with each other, and do."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema

from graphs.nodes import INGRESS, NODES
from serve.config.app_args import AppArgs
from serve.domain import errors
from serve.domain.errors import PolymodalError
from serve.ingress.app import openapi_document

_REPOSITORY = Path(__file__).resolve().parents[2]


def _all_errors(root: type[PolymodalError] = PolymodalError) -> Iterator[type[PolymodalError]]:
    yield root
    for child in root.__subclasses__():
        yield from _all_errors(child)


def test_our_top_level_names_belong_to_us() -> None:
    owners = packages_distributions()
    for name in ("serve", "deployments", "graphs"):
        assert set(owners.get(name, [])) <= {"polymodal"}


def test_serve_config_passes_rays_schema_and_names_our_builder() -> None:
    config = ServeDeploySchema.model_validate(
        yaml.safe_load((_REPOSITORY / "serve_config.yaml").read_text())
    )
    [application] = config.applications
    assert application.import_path == "graphs.app:build"
    AppArgs.model_validate(application.args)


def test_a_misspelt_argument_stops_the_application_by_name() -> None:
    with pytest.raises(ValidationError, match="generater"):
        AppArgs.model_validate({"generater": "x"})


def test_serve_sees_the_argument_type_as_a_class() -> None:
    # Under postponed annotations Serve would pass the raw dict on, unvalidated.
    from graphs.app import build

    assert build.__annotations__["args"] is AppArgs


@pytest.mark.parametrize("error", list(_all_errors()), ids=lambda error: error.__name__)
def test_every_error_crosses_processes(error: type[PolymodalError]) -> None:
    made = error("what to do", param="input", limit=3)
    copy = pickle.loads(pickle.dumps(made))  # noqa: S301 - our own bytes
    assert type(copy) is error
    assert (copy.message, copy.param, copy.context) == ("what to do", "input", {"limit": 3})


def test_error_codes_are_distinct_from_their_parents_status() -> None:
    assert {error.status for error in _all_errors()} >= {400, 401, 404, 409, 413, 415, 422, 429}
    assert errors.EngineDead.status == 503


def test_the_clients_openapi_file_is_ours() -> None:
    written = json.loads((_REPOSITORY / "webclient" / "openapi.json").read_text())
    assert written == json.loads(json.dumps(openapi_document())), "run `make openapi`"


def test_two_logical_cpus_carry_the_whole_graph() -> None:
    """``serve run`` on a small machine: a replica that finds no room is waited for for ever."""
    shares = sum(node.cpu_share for node in NODES.values())
    assert shares + NODES[INGRESS].cpu_share <= 2
