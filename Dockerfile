# The image that docs/distributed.md runs: docker build -t keras-resnet .
# Without GPUs: docker build --build-arg EXTRAS= -t keras-resnet .
# With the server: docker build --build-arg 'EXTRAS=[gpu,serve]' -t keras-resnet .
# Files in a folder of yours: docker run --user "$(id -u):$(id -g)" -v "$PWD:/data" keras-resnet train --depth 20
# Serve: docker run --init --stop-timeout 35 -p 127.0.0.1:8501:8501 -v "$PWD/exports:/exports:ro" keras-resnet \
#   serve /exports/NAME --host 0.0.0.0
# On GPUs, with the NVIDIA Container Toolkit: docker run --gpus all …
FROM python:3.12-slim-bookworm
ARG EXTRAS=[gpu]
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY keras_resnet keras_resnet
RUN pip install --no-cache-dir ".${EXTRAS}" && rm -rf /src/*
RUN useradd --uid 1000 --home-dir /data keras && install --directory --owner=keras --group=keras /data
# Caches go to ~, which must be writable for any --user.
ENV HOME=/data
WORKDIR /data
USER 1000:1000
ENTRYPOINT ["keras-resnet"]
