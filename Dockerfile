# syntax=docker/dockerfile:1
# An image with the executable only, which runs as an unprivileged user and writes no file. It needs a
# signing key and the addresses of its servers: compose.yaml, docs/operations.md.
FROM rust:1.95.0-bookworm AS build
RUN cargo install --locked --version 0.1.78 cargo-chef \
    && cargo install --locked --version 0.7.7 cargo-auditable
WORKDIR /src

# The recipe has the manifests only: it stays the same while only sources change.
FROM build AS recipe
COPY . .
RUN cargo chef prepare --bin tributary --recipe-path /recipe.json

FROM build AS executable
# A layer with the dependencies, which stays until Cargo.lock or a manifest changes.
COPY --from=recipe /recipe.json /recipe.json
RUN cargo chef cook --release --locked --bin tributary --recipe-path /recipe.json
COPY . .
# Shown by `tributary --version`: docker build --build-arg TRIBUTARY_COMMIT="$(git log -1 --format='%h %cs')"
ARG TRIBUTARY_COMMIT
# The executable lists the crates that it was compiled from: scanners and tools for bills of materials read that list.
RUN cargo auditable build --release --locked --bin tributary

FROM debian:12.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=executable /src/target/release/tributary /usr/local/bin/tributary
ARG TRIBUTARY_COMMIT
LABEL org.opencontainers.image.title="Tributary" \
    org.opencontainers.image.description="Event-sourced CQRS backend for device telemetry, a shop, projects and works" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.revision="$TRIBUTARY_COMMIT"
USER 10001:10001
EXPOSE 8080 9464
# For processes with the role http or --metrics-listen. For others, such as an agent: --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["tributary", "health"]
ENTRYPOINT ["tributary"]
CMD ["serve"]
