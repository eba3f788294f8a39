#!/usr/bin/env bash
# Usage: apply-acls.sh BOOTSTRAP [COMMAND_CONFIG]
# Gives each role's user (User:gateway, User:worker, …) what acls.csv beside this file says, with Apache Kafka's own
# kafka-acls.sh, which must be on the PATH. COMMAND_CONFIG is the properties file of an administrator's client.
# Safe to run again. Rights that a user has beyond the file stay: list them with kafka-acls.sh --list.
set -euo pipefail
bootstrap=$1
config=${2:+--command-config "$2"}
names=()
apply() { # rows that differ in the name alone, at once: each call starts a JVM
    [ ${#names[@]} -eq 0 ] && return
    # shellcheck disable=SC2086
    kafka-acls.sh --bootstrap-server "$bootstrap" $config --add --allow-principal "User:$role" \
        --operation "$operation" --resource-pattern-type "$pattern" "${names[@]}"
    names=()
}
while IFS=, read -r next_role next_operation next_resource next_pattern name; do
    [ "$next_role" = role ] && continue
    if [ "$next_role,$next_operation,$next_resource,$next_pattern" != "${role-},${operation-},${resource-},${pattern-}" ]; then
        apply
        role=$next_role operation=$next_operation resource=$next_resource pattern=$next_pattern
    fi
    names+=("--$resource" "$name")
done <"$(dirname "$0")/acls.csv"
apply
