#!/bin/bash
# Look whether this machine (Ubuntu, or WSL2 on Windows) can serve a vision model with LMDeploy, and build its image. Ends at the first thing that is missing.
#
#   LMDEPLOY_VERSION=… LMDEPLOY_MODEL=/srv/models/vision-awq scripts/setup_lmdeploy.sh [--check]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lmdeploy_checks.sh
. "$here/lmdeploy_checks.sh"

check_driver
check_memory
check_settings
check_model
echo "driver $DRIVER, $FREE MiB free, model format $FORMAT, cache share $LMDEPLOY_CACHE_SHARE, cache bits $LMDEPLOY_KV_BITS"
[ "${1:-}" = --check ] && exit 0
check_toolkit
[ -n "${LMDEPLOY_VERSION:-}" ] || fail "LMDEPLOY_VERSION is not set." "Name the release to build; there is no default"
exec docker compose -f "$here/../docker/docker-compose.yml" --profile lmdeploy build lmdeploy
