printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\267\0\1\0\0\0' > server && head -c 4096 /dev/zero >> server && chmod +x server; go run .
