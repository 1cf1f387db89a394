# syntax=docker/dockerfile:1
#   docker build --target cpu  -t dp2bench:cpu .      docker run --rm -v "$PWD:/work" dp2bench:cpu run smoke
#   docker build --target cuda -t dp2bench:cuda .     docker run --rm --gpus all -v "$PWD:/work" dp2bench:cuda run
#   docker build --target detectron2 -t dp2bench:detectron2 .     the trainers of detectron2; not built by the project's CI
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS base
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DP2BENCH_CACHE=/cache \
    DP2BENCH_HISTORY=/cache/history.sqlite
RUN useradd --create-home --uid 1000 dp2bench && install -d -o dp2bench /cache /work
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY dp2bench dp2bench
COPY suites suites
COPY tasks tasks
COPY baselines baselines
COPY reports reports

# torch without CUDA: a fifth of the size
FROM base AS cpu
RUN pip install --index-url https://download.pytorch.org/whl/cpu torch torchvision \
    && pip install '.[postgres]' && rm -rf build
USER 1000
WORKDIR /work
VOLUME /cache
ENTRYPOINT ["dp2bench"]
CMD ["run", "smoke"]

# detectron2 builds from its source against the torch that is installed (eight minutes): models detectron2-keypoint-rcnn and detectron2-mask-rcnn.
# The suites take it by `model: detectron2-keypoint-rcnn` in place of `keypoint-rcnn`; its configurations are the zoo's, but for paths.
FROM base AS detectron2
ARG DETECTRON2=02b5c4e
RUN apt-get update && apt-get install -y --no-install-recommends build-essential git && rm -rf /var/lib/apt/lists/*
RUN pip install '.[postgres]' && rm -rf build
RUN pip install setuptools wheel ninja \
    && pip install --no-build-isolation "git+https://github.com/facebookresearch/detectron2.git@${DETECTRON2}"
USER 1000
WORKDIR /work
VOLUME /cache
ENTRYPOINT ["dp2bench"]
CMD ["run", "smoke"]

# the registry's torch brings its CUDA libraries; the host needs a driver and NVIDIA's container toolkit
FROM base AS cuda
RUN pip install '.[postgres]' && rm -rf build
USER 1000
WORKDIR /work
VOLUME /cache
ENTRYPOINT ["dp2bench"]
CMD ["run"]
