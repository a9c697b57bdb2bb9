# An image with the executable only, which runs as an unprivileged user. `docker compose up --build`
# builds it.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Shown by `tributary --version`: docker build --build-arg TRIBUTARY_COMMIT="$(git log -1 --format='%h %cs')"
ARG TRIBUTARY_COMMIT
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tributary && cp target/release/tributary /usr/local/bin/

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* && useradd --system --uid 10001 tributary
COPY --from=build /usr/local/bin/tributary /usr/local/bin/tributary
USER 10001
EXPOSE 8080
ENTRYPOINT ["tributary"]
CMD ["serve"]
