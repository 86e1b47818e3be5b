#!/usr/bin/env bash
# Installs the Debian/Ubuntu packages named as arguments, as far as they are missing. Where that is
# not allowed, prints the command that does it and fails.
set -euo pipefail

missing=()
for package in "$@"; do
  dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ]; then
  sudo=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  sudo=(sudo)
else
  echo "These packages are missing and cannot be installed from here. Run this, then try again:" >&2
  echo "  sudo apt-get update && sudo apt-get install --yes ${missing[*]}" >&2
  exit 1
fi
echo "Installing: ${missing[*]}"
"${sudo[@]}" apt-get update --quiet --quiet
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install --quiet --quiet --yes "${missing[@]}" >/dev/null
