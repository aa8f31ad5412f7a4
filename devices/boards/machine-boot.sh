#!/bin/busybox sh
# /init of the first file system in memory: finds the disk of the machine, and hands over to what is on it.
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for module in $(/bin/busybox cat /modules/order); do
    /bin/busybox insmod "/modules/$module" || echo "the module $module does not load"
done
# replays its journal, as after any cut of the power
/bin/busybox mount -t ext4 -o rw /dev/vda /root || { echo "the disk can't be mounted"; /bin/busybox poweroff -f; }
/bin/busybox mount -t tmpfs -o mode=755 run /root/run
/bin/busybox cp -r /board /root/run/board
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/board-init
