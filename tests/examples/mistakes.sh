# What the tests of the example programs share. Sourced with the program as the first argument.
# A test may give a command another limit of seconds, and name the lines on stderr that are no error.
set -uo pipefail
program=$1
limit=300
no_error='^Run with --help'
work=$(mktemp -d)
: >"$work/out" >"$work/err"
failed=0
count=0
trap 'rm -rf "$work"' EXIT

report() {
  echo "FAILED: $1"
  sed 's/^/    /' "$work/out" "$work/err"
  failed=1
}

# accepted NAME ARGUMENTS...: the command succeeds; what it prints is in $work/out.
accepted() {
  local name=$1
  shift
  count=$((count + 1))
  timeout "$limit" "$program" "$@" >"$work/out" 2>"$work/err" || report "$name: exit status $?"
}

# printed NAME PATTERN: the last command's output has it.
printed() {
  grep -qE -- "$2" "$work/out" || report "$1: the output lacks \"$2\""
}

# refused NAME PATTERN ARGUMENTS...: the command ends with a non-zero exit and one clear sentence,
# and leaves no file behind.
refused() {
  local name=$1 pattern=$2
  shift 2
  count=$((count + 1))
  local before status lines
  before=$(all_files)
  timeout "$limit" "$program" "$@" >"$work/out" 2>"$work/err"
  status=$?
  lines=$(grep -cvE "$no_error" "$work/err")
  [ "$status" -ne 0 ] && [ "$status" -lt 124 ] || report "$name: exit status $status"
  [ "$lines" -eq 1 ] || report "$name: $lines lines of error, expected 1"
  grep -qE -- "$pattern" "$work/err" || report "$name: the message lacks \"$pattern\""
  [ "$before" = "$(all_files)" ] || report "$name: files were left or lost"
}

all_files() {
  find "$work" ! -path "$work/out" ! -path "$work/err" | sort
}

# Ends the test, which fails if one command was not as expected.
finish() {
  echo "$count commands run"
  exit "$failed"
}
