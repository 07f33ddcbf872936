#!/bin/sh
# secrets.sh: writes new secrets for compose.yaml, of all its profiles.
#
#     (umask 077 && set -o noclobber && sh deploy/compose/secrets.sh > .env)
set -eu
secret() { od -A n -N 32 -t x1 /dev/urandom | tr -d ' \n'; }
for name in POSTGRES_PASSWORD REDIS_PASSWORD QDRANT_API_KEY RABBITMQ_PASSWORD GRAFANA_PASSWORD \
    LANGFUSE_CLICKHOUSE_PASSWORD LANGFUSE_ENCRYPTION_KEY LANGFUSE_MINIO_PASSWORD LANGFUSE_NEXTAUTH_SECRET \
    LANGFUSE_POSTGRES_PASSWORD LANGFUSE_REDIS_PASSWORD LANGFUSE_SALT LANGFUSE_USER_PASSWORD; do
    echo "$name=$(secret)"
done
echo "LANGFUSE_PUBLIC_KEY=pk-lf-$(secret)"
echo "LANGFUSE_SECRET_KEY=sk-lf-$(secret)"
