#!/bin/bash
# The first program on the disk of the machine, in place of systemd: mounts, network, and the SSH server.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm /run/sshd
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
chmod 600 /run/board/*
hostname "$(cat /run/board/name)"
# the network of QEMU's user mode
busybox ip link set lo up
busybox ip address add 10.0.2.15/24 dev eth0
busybox ip link set eth0 up
busybox ip route add default via 10.0.2.2
/usr/sbin/sshd -f /run/board/sshd_config -E /run/sshd.log && echo "the board is up"
# the first program waits for all that others leave behind
while :; do
    sleep 3600 &
    wait $!
done
