# Sourced by setup_lmdeploy.sh and start_lmdeploy.sh: is this machine fit to serve a vision model? Every check ends the script with what to do (exit code 78).

fail() {
  echo "$1" >&2
  [ -n "${2:-}" ] && echo "  $2" >&2
  exit 78
}

is_wsl() {
  grep -qi microsoft "${PROC_VERSION:-/proc/version}" 2>/dev/null
}

check_driver() {
  command -v nvidia-smi >/dev/null 2>&1 || {
    if is_wsl; then
      fail "There is no nvidia-smi." "On WSL2 install the NVIDIA driver on Windows, not inside Linux, then: wsl --shutdown"
    fi
    fail "There is no nvidia-smi." "On Ubuntu: sudo ubuntu-drivers install, then restart the machine"
  }
  DRIVER=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1 || true)
  case "$DRIVER" in
    [0-9]*) ;;
    *) fail "nvidia-smi does not reach a GPU." "Restart the machine after a driver update; in a container, run it with --gpus" ;;
  esac
  least=${LMDEPLOY_LEAST_DRIVER:-525}
  [ "${DRIVER%%.*}" -ge "$least" ] || fail "The driver is $DRIVER, and CUDA 12 needs $least or newer." "Update the driver"
}

check_memory() {
  needs=${LMDEPLOY_NEEDS_MIB:-8000}
  case "$needs" in '' | *[!0-9]*) fail "LMDEPLOY_NEEDS_MIB is no number: $needs" ;; esac
  FREE=$(nvidia-smi --query-gpu=memory.free --format=csv,noheader,nounits 2>/dev/null | sort -rn | head -n 1 | tr -d ' ' || true)
  case "$FREE" in '' | *[!0-9]*) fail "nvidia-smi does not say how much memory is free." ;; esac
  [ "$FREE" -ge "$needs" ] || fail "$FREE MiB of GPU memory are free, and $needs are needed." "Stop what else runs there, take a smaller model, or set LMDEPLOY_NEEDS_MIB"
}

check_toolkit() {
  command -v docker >/dev/null 2>&1 || fail "There is no docker." "https://docs.docker.com/engine/install/ubuntu/ describes it; a copy of the packages does on a closed network"
  docker info >/dev/null 2>&1 || fail "The docker daemon does not answer." "Start it, or add yourself to the group docker"
  command -v nvidia-ctk >/dev/null 2>&1 || fail "The NVIDIA container toolkit is missing." "Install nvidia-container-toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker"
}

check_model() {
  [ -n "${LMDEPLOY_MODEL:-}" ] || fail "LMDEPLOY_MODEL is not set." "Name a folder with a vision model, AWQ or unquantised"
  [ -f "$LMDEPLOY_MODEL/config.json" ] || fail "$LMDEPLOY_MODEL holds no model." "It needs config.json and weights; nothing is downloaded"
  # One line, so that it does not matter how the file is laid out.
  told=$(tr -d ' \n\t' <"$LMDEPLOY_MODEL/config.json")
  case "$told" in
    *'"quant_method":"gptq"'*) fail "$LMDEPLOY_MODEL is quantised with GPTQ." "Take AWQ weights, for which LMDeploy's kernels are made, or unquantised ones" ;;
    *'"quant_method":"awq"'*) FORMAT=awq ;;
    *'"quant_method"'*) fail "$LMDEPLOY_MODEL is quantised in another way than AWQ." "Take AWQ weights or unquantised ones" ;;
    *) FORMAT=hf ;;
  esac
}

check_settings() {
  case "${LMDEPLOY_KV_BITS:=8}" in 0 | 4 | 8) ;; *) fail "LMDEPLOY_KV_BITS is $LMDEPLOY_KV_BITS." "Use 0 (half precision), 8 or 4" ;; esac
  : "${LMDEPLOY_CACHE_SHARE:=0.5}"
  printf '%s\n' "$LMDEPLOY_CACHE_SHARE" | grep -Eq '^0\.[0-9]*[1-9][0-9]*$' || fail "LMDEPLOY_CACHE_SHARE is $LMDEPLOY_CACHE_SHARE." "Use a share between 0 and 1, such as 0.5"
  case "${LMDEPLOY_CONTEXT:=8192}" in '' | 0* | *[!0-9]*) fail "LMDEPLOY_CONTEXT is $LMDEPLOY_CONTEXT." "Use a number of tokens from 1 on, such as 8192" ;; esac
  case "${LMDEPLOY_PORT:=23333}" in '' | 0* | *[!0-9]*) fail "LMDEPLOY_PORT is $LMDEPLOY_PORT." "Use a number from 1 on, such as 23333" ;; esac
}
