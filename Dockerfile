# The image that docs/distributed.md runs: docker build -t keras-resnet .
# Without GPUs: docker build --build-arg EXTRAS= -t keras-resnet .
FROM python:3.12-slim
ARG EXTRAS=[gpu]
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE cli.py ./
COPY keras_resnet keras_resnet
RUN pip install --no-cache-dir ".${EXTRAS}" && rm -rf /src/*
WORKDIR /data
ENTRYPOINT ["keras-resnet"]
