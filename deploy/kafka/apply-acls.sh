#!/usr/bin/env bash
# Usage: apply-acls.sh BOOTSTRAP [COMMAND_CONFIG]
# Gives each role's user (User:gateway, User:worker, …) what acls.csv beside this file says, with Apache Kafka's own
# kafka-acls.sh, which must be on the PATH. COMMAND_CONFIG is the properties file of an administrator's client.
# Safe to run again. Rights that a user has beyond the file stay: list them with kafka-acls.sh --list.
set -euo pipefail
bootstrap=$1
config=${2:+--command-config "$2"}
while IFS=, read -r role operation resource pattern name; do
    [ "$role" = role ] && continue
    # shellcheck disable=SC2086
    kafka-acls.sh --bootstrap-server "$bootstrap" $config --add --allow-principal "User:$role" \
        --operation "$operation" "--$resource" "$name" --resource-pattern-type "$pattern"
done <"$(dirname "$0")/acls.csv"
