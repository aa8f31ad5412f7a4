#!/bin/sh
# The first program of a board in namespaces of its own: makes its file system, waits for its cable, and serves.
# board-init.sh NAME FOLDER SYSTEM SERVER ARGUMENT...; the address comes by standard input when the cable is there.
set -eu
name=$1 folder=$2 system=$3
shift 3

# what follows is seen by this board alone; fixed names, because those of this machine may hold what mount takes apart
mount -t tmpfs -o mode=755 board /mnt
mkdir /mnt/state /mnt/system /mnt/board
mount --bind "$folder" /mnt/state
mount --bind "$system" /mnt/system
mount -t overlay -o lowerdir=/mnt/system,upperdir=/mnt/state/upper,workdir=/mnt/state/work board /mnt/board

root=/mnt/board
mount -t proc proc $root/proc
mount --bind /mnt/state/cpuinfo $root/proc/cpuinfo
mount --bind /mnt/state/boot_id $root/proc/sys/kernel/random/boot_id
mount --bind /mnt/state/sys $root/sys
mount -t tmpfs -o mode=755 dev $root/dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 $root/dev/tty c 5 0
mkdir $root/dev/pts $root/dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts $root/dev/pts
mount -t tmpfs shm $root/dev/shm
ln -s pts/ptmx $root/dev/ptmx
ln -s /proc/self/fd $root/dev/fd
for number in 0:stdin 1:stdout 2:stderr; do
    ln -s "/proc/self/fd/${number%:*}" "$root/dev/${number#*:}"
done
mount -t tmpfs -o mode=755 run $root/run
mount -t tmpfs -o mode=1777 tmp $root/tmp
echo "$name" > $root/etc/hostname
hostname "$name"

# the server runs outside of the board's root and takes its users from there; nothing is written into logs of this machine
mount -t proc proc /proc
mount -t tmpfs -o mode=755 run /run
mkdir /run/sshd
mount -t tmpfs -o mode=755 log /var/log
mount --bind $root/etc/passwd /etc/passwd
mount --bind $root/etc/group /etc/group
mount --bind $root/etc/shadow /etc/shadow

read -r address
ip link set lo up
ip address add "$address" dev eth0
ip link set eth0 up
exec "$@" < /dev/null
