#!/usr/bin/env bash
# Writes the digest of each image that docker-compose.yml and deploy/Dockerfile name by version behind its name, so
# that what was tried is what runs. It needs Docker and the registry; run it again after a version was changed.
set -euo pipefail
cd "$(dirname "$0")/.."
for image in apache/kafka:4.1.0 clickhouse/clickhouse-server:26.8 python:3.11-slim-bookworm \
    rust:1-slim-bookworm prom/prometheus:v3.16.0 grafana/grafana:12.3.0; do
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
    [[ $digest == sha256:* ]] || { echo "$image: no digest" >&2; exit 1; }
    sed -i -E "s#$image(@sha256:[0-9a-f]{64})?( |\$)#$image@$digest\\2#" docker-compose.yml deploy/Dockerfile
    echo "$image@$digest"
done
