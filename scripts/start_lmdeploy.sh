#!/bin/bash
# Serve a vision model with LMDeploy, here or inside its container. Ends before anything is loaded when driver, memory, model or settings are not fit.
#
#   LMDEPLOY_MODEL=/srv/models/vision-awq scripts/start_lmdeploy.sh
#
# Then: sekisho up --eye remote --eye-url http://127.0.0.1:23333
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lmdeploy_checks.sh
. "$here/lmdeploy_checks.sh"

check_driver
check_memory
check_settings
check_model
command -v lmdeploy >/dev/null 2>&1 || fail "There is no lmdeploy." "pip install lmdeploy, in an environment of its own, or use docker/docker-compose.yml"
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
exec lmdeploy serve api_server "$LMDEPLOY_MODEL" \
  --model-format "$FORMAT" \
  --server-name "${LMDEPLOY_HOST:-127.0.0.1}" \
  --server-port "$LMDEPLOY_PORT" \
  --session-len "$LMDEPLOY_CONTEXT" \
  --quant-policy "$LMDEPLOY_KV_BITS" \
  --cache-max-entry-count "$LMDEPLOY_CACHE_SHARE"
