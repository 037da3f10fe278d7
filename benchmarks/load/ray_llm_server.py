"""``ray.serve.llm`` with one model, as its documentation starts it.

    python -m benchmarks.load.ray_llm_server PORT MODEL FOLDER ENGINE_JSON

Needs nothing of ours: it is meant to be run by another environment, because its engine is pinned to
another release than ours.
"""

from __future__ import annotations

import json
import sys

from ray import serve as ray_serve
from ray.serve.llm import LLMConfig, LLMServingArgs, build_openai_app


def main(port: int, model: str, folder: str, engine: str) -> None:
    """Serve on the loopback interface until ended."""
    config = LLMConfig(
        model_loading_config={"model_id": model, "model_source": folder},
        deployment_config={"autoscaling_config": {"min_replicas": 1, "max_replicas": 1}},
        engine_kwargs=json.loads(engine),
    )
    ray_serve.start(http_options={"host": "127.0.0.1", "port": port})
    ray_serve.run(build_openai_app(LLMServingArgs(llm_configs=[config])), blocking=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:5])
