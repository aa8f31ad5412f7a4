# A phone's side of an update: POSIX sh, and of programs only what Android's toybox has.
#
#   sh -c SCRIPT sh BASE VERB [ARGUMENT...]
#
# devices/flashing/phone.py says what is done, and in which order; each step here has happened as a whole or not at all.
# What is in the making lies in .new: `mv` into a folder is a rename in every toybox, and `mv -T` is not in all of them.
set -eu
LC_ALL=C
export LC_ALL
busy=10 changed=11 differs=12 missing=13 lacking=14
newline='
x'
base=$1 verb=$2
shift 2

refuse() {
  echo "$2" >&2
  exit "$1"
}

for program in flock sha256sum truncate; do
  command -v "$program" > /dev/null || refuse $lacking "it has no program $program"
done
if [ ! -d "$base/.new" ]; then mkdir -p "$base/parts" "$base/slots" "$base/.new"; fi
cd "$base"

# Whether the lock was had; it ends with this shell. mksh hands a descriptor to a program only where it is told to.
lock() {
  exec 9>> lock
  tries=$1
  until flock -n 9 9>&9; do
    tries=$((tries - 1))
    if [ "$tries" -le 0 ]; then return 1; fi
    sleep 1
  done
}

sha_of() {
  sha=$(sha256sum < "$1")
  sha=${sha%% *}
}

size_of() {
  if [ -f "$1" ]; then wc -c < "$1"; else echo 0; fi
}

link_of() {
  if [ -L current ]; then readlink current; else echo none; fi
}

# What a host must have seen that changes something: two of them never mix their steps.
seen() {
  sha=none
  if [ -f state.json ]; then sha_of state.json; fi
  echo "$sha $(size_of audit.jsonl) $(link_of)"
}

uptime_of() {
  read -r up _ < /proc/uptime
  echo "$up"
}

torn_bytes() {
  if [ -s audit.jsonl ] && [ "$(tail -c 1 audit.jsonl && echo x)" != "$newline" ]; then
    tail -n 1 audit.jsonl | wc -c
  else
    echo 0
  fi
}

last_line() {
  if [ ! -s audit.jsonl ]; then return; fi
  if [ "$1" = 0 ]; then tail -n 1 audit.jsonl; else tail -n 2 audit.jsonl | head -n 1; fi
}

look() {
  if lock 1; then echo "busy no"; else echo "busy yes"; fi
  boot=
  if [ -r /proc/sys/kernel/random/boot_id ]; then read -r boot < /proc/sys/kernel/random/boot_id; fi
  echo "boot $boot"
  echo "uptime $(uptime_of)"
  echo "wall $(date +%s)"
  # shellcheck disable=SC2046 # its lines become one
  echo free $(df -Pk .)
  if [ -n "$1" ] && [ -f "$1" ] && [ -x "$1" ]; then echo "runner yes"; fi
  echo "mark $(seen)"
  torn=$(torn_bytes)
  echo "torn $torn"
  last_line "$torn" | sed 's/^/audit /'
  if [ -f state.json ]; then sed 's/^/state /' state.json; fi
}

# What uploads have left that nobody went on with for some days; toyboxes differ in what a day is.
sweep() {
  find parts .new -type f -mtime +1 -exec rm -f '{}' ';'
}

hashes() {
  for file; do
    if [ -f "$file" ]; then
      sha_of "$file"
      echo "$sha $(size_of "$file")"
    else
      echo "- 0"
    fi
  done
}

# try LIMIT_S PROGRAM [ARGUMENT...]: not by `timeout`, which in some toyboxes loses the exit code. Who kills it for its
# time says so first: its exit code is that of every kill, and the clock, read in hundredths, may show less than the limit.
try() {
  limit=$1 said=.new/said.$$ late=.new/late.$$ code=0 when=in-time
  shift
  rm -f "$late"
  : > "$said"
  "$@" < /dev/null > "$said" 2>&1 9>&- &
  program=$!
  (sleep "$limit" && : > "$late" && kill -9 "$program") < /dev/null > /dev/null 2>&1 9>&- &
  guard=$!
  wait "$program" || code=$?
  kill -9 "$guard" 2> /dev/null || :
  wait "$guard" 2> /dev/null || :
  if [ -e "$late" ]; then when=late; fi
  tail -c 16384 "$said"
  rm -f "$said" "$late"
  echo
  echo "$code $when"
}

# Waits until the disk has some files and folders: all of it, where nothing there waits for less.
settle() {
  if command -v fsync > /dev/null; then fsync "$@"; else sync "$@" 2> /dev/null || sync; fi
}

save() {
  cat > .new/state.json
  sha_of .new/state.json
  if [ "$sha" != "$1" ]; then refuse $differs "the state did not come as it was sent"; fi
  settle .new/state.json
  mv -f .new/state.json .
  settle .
}

note() {
  printf '%s\n' "$1" >> audit.jsonl
  settle audit.jsonl .
}

# A line that a cut has torn is taken out: all behind so many bytes.
mend() {
  truncate -s "$1" audit.jsonl
  settle audit.jsonl
}

serve() {
  rm -f .new/current
  ln -s "$1" .new/current
  settle .new
  mv -f .new/current .
  settle .
}

unserve() {
  rm -f current
  settle .
}

# receive SHA256: parts/SHA256.part becomes parts/SHA256
receive() {
  if [ -f "parts/$1" ]; then
    sha_of "parts/$1"
    if [ "$sha" = "$1" ]; then
      rm -f "parts/$1.part"
      return
    fi
  fi
  if [ ! -f "parts/$1.part" ]; then refuse $missing "nothing has been sent to parts/$1.part"; fi
  sha_of "parts/$1.part"
  if [ "$sha" != "$1" ]; then
    rm -f "parts/$1.part"
    refuse $differs "what has come is not what was sent: sha256 differs"
  fi
  settle "parts/$1.part"
  mv -f "parts/$1.part" "parts/$1"
  settle parts
}

# fill SLOT SHA256 [PATH FROM SIZE SHA256]...: the bundle, and the files in it that an engine loads; FROM counts from 1
fill() {
  slot=slots/$1 bundle=$2
  shift 2
  if [ ! -f "parts/$bundle" ]; then refuse $missing "the bundle $bundle is not on the device"; fi
  rm -rf "$slot"
  mkdir "$slot"
  ln "parts/$bundle" "$slot/app.tin" 2> /dev/null || cp "parts/$bundle" "$slot/app.tin"
  sha_of "$slot/app.tin"
  if [ "$sha" != "$bundle" ]; then
    rm -f "parts/$bundle"
    refuse $differs "the bundle has changed on the device"
  fi
  while [ $# -gt 0 ]; do
    mkdir -p "$slot/$(dirname "$1")"
    tail -c "+$2" "$slot/app.tin" | head -c "$3" > "$slot/$1"
    sha_of "$slot/$1"
    if [ "$sha" != "$4" ]; then refuse $differs "$1 is not what the bundle says: sha256 differs"; fi
    shift 4
  done
  sync
}

empty() {
  rm -rf "slots/$1"
}

forget() {
  rm -f "parts/$1"
}

# change SEEN STEP [ARGUMENT...]
change() {
  lock 5 || refuse $busy "somebody else is updating this device right now"
  if [ "$(seen)" != "$1" ]; then refuse $changed "somebody else has updated this device in the meantime"; fi
  shift
  "$@"
}

case $verb in
look | sweep | hashes | try | change) "$verb" "$@" ;;
*) refuse 2 "there is nothing called $verb here" ;;
esac
