# phase6 as a container. Two images come of it:
#   docker build -t phase6-nba .                       the program and this folder's project
#   docker build -t phase6 --target program .          the program alone; `FROM phase6` and `COPY . /project` make it yours
#
# docs/container.md says how it is run. The images that it stands on are named by tag; a build that has to be the same for
# years names them by digest: --build-arg RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm@sha256:…
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm
ARG NODE_IMAGE=docker.io/library/node:22-bookworm-slim
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# DuckDB's prebuilt library, from the npm package that carries it.
FROM ${NODE_IMAGE} AS duckdb
# Of the library for linux/amd64; nobody has pinned the one for linux/arm64 yet.
ARG DUCKDB_SHA256=3f4962cdd266eab2b479a5b5a4a6d063d279b2954ae814ed00385d553b747633
WORKDIR /src
COPY bin/setup bin/setup
RUN bin/setup \
    && if [ "$(uname -m)" = x86_64 ]; then \
        echo "$DUCKDB_SHA256  vendor/duckdb/libduckdb.so" > /tmp/expected && sha256sum -c /tmp/expected; fi

# The same Debian as the last stage, so that the program finds the C library that it was linked with.
FROM ${RUST_IMAGE} AS build
# Seconds since 1970: the time of the two files. Give the last commit's to tell builds apart: git log -1 --format=%ct
ARG SOURCE_DATE_EPOCH=0
WORKDIR /src
COPY . .
COPY --from=duckdb /src/vendor/duckdb vendor/duckdb
RUN DUCKDB_LIB_DIR=/src/vendor/duckdb bin/build-release /out

# Nothing but the C libraries, certificates and a user: no shell, no package manager.
FROM ${BASE_IMAGE} AS program
COPY --from=build /out/ /usr/local/bin/
WORKDIR /project
# Cloud Run sets PORT and calls there; the braces are filled in by phase6 when it starts.
ENV PORT=8080
ENV PHASE6_LISTEN=0.0.0.0:\${PORT}
EXPOSE 8080
# Distroless calls it nonroot; by its number, also a cluster that insists on `runAsNonRoot` can see that it is none.
USER 65532:65532
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["phase6", "health"]
ENTRYPOINT ["phase6"]
# Cloud Run and `docker stop` kill ten seconds after SIGTERM: what is not finished by then is handed back before.
CMD ["serve", "--grace", "8s"]

FROM program AS project
COPY phase6_publishing.yaml /project/
COPY exports /project/exports
COPY schemas /project/schemas
ENV PHASE6_TARGET=gcp
