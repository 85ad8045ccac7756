cp /bin/ls /dev/full
