#!/bin/sh
# secrets.sh: prints new secrets for compose.yaml, of all its profiles, but for those that ./.env has:
#
#     umask 077; sh deploy/compose/secrets.sh >> .env
set -eu

# secret NAME [PREFIX]: prints a line with 256 random bits, unless .env has one.
secret() {
    if ! [ -f .env ] || ! grep -q "^$1=" .env; then
        echo "$1=${2-}$(od -A n -N 32 -t x1 /dev/urandom | tr -d ' \n')"
    fi
}

for name in POSTGRES_PASSWORD REDIS_PASSWORD QDRANT_API_KEY RABBITMQ_PASSWORD GRAFANA_PASSWORD \
    LANGFUSE_CLICKHOUSE_PASSWORD LANGFUSE_ENCRYPTION_KEY LANGFUSE_MINIO_PASSWORD LANGFUSE_NEXTAUTH_SECRET \
    LANGFUSE_POSTGRES_PASSWORD LANGFUSE_REDIS_PASSWORD LANGFUSE_SALT LANGFUSE_USER_PASSWORD; do
    secret $name
done
secret LANGFUSE_PUBLIC_KEY pk-lf-
secret LANGFUSE_SECRET_KEY sk-lf-
